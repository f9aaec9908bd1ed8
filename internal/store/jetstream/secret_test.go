package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestURLSecrets opens stores with URLs that fail in every way there is: no
// error and no line of log quotes what is secret.
func TestURLSecrets(t *testing.T) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, Username: "belfry", Password: "other", NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	_, address, _ := strings.Cut(srv.ClientURL(), "://")
	address = address[strings.LastIndexByte(address, '@')+1:]
	for name, c := range map[string]struct{ url, says string }{
		"nobody there":       {"nats://user:hunter2@127.0.0.1:1", "connect to NATS"},
		"refused":            {"nats://user:hunter2@" + address, "Authorization"},
		"refused token":      {"nats://hunter2@" + address, "Authorization"},
		"no scheme":          {"user:hunter2@127.0.0.1:1", "connect to NATS"},
		"second of a list":   {"nats://127.0.0.1:1, nats://user:hunter2%@h:1", "URL 2"},
		"bad escape":         {"nats://user:hunter2%zz@127.0.0.1:1", "percent-encoded"},
		"slash":              {"nats://user:hunter2/x@127.0.0.1:1", "percent-encoded"},
		"slash, looks right": {"nats://hunter2:12/34@127.0.0.1:1", "percent-encoded"},
		"number sign":        {"nats://hunter2:12#34@127.0.0.1:1", "percent-encoded"},
		"question mark":      {"nats://hunter2:12?34@127.0.0.1:1", "percent-encoded"},
		"bad port":           {"nats://user:hunter2@127.0.0.1:port", "percent-encoded"},
		"control":            {"nats://user:hunter2\x7f@127.0.0.1:1", "percent-encoded"},
		"mixed schemes":      {"nats://user:hunter2@127.0.0.1:1,ws://user:hunter2@127.0.0.1:1", "connect to NATS"},
		"unknown scheme":     {"hunter2://user:hunter2@127.0.0.1:1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			log := &logged{t: t}
			s, err := Open(context.Background(), Config{URL: c.url, Logger: log.logger()})
			if err == nil {
				s.Close()
				t.Fatal("it opened")
			}
			text := fmt.Sprintf("%v %+v %s", err, err, log)
			if strings.Contains(text, "hunter2") || !strings.Contains(text, c.says) {
				t.Errorf("the error quotes the secret, or does not say %q: %s", c.says, text)
			}
		})
	}
}

func TestHider(t *testing.T) {
	hide := hider("nats://user:p%40ss@a:1, token@b:2,nats://c:3")
	cause := errors.New(`parse "nats://user:p%40ss@a:1": p@ss, token at b:2 of c:3`)
	want := `parse "nats://[redacted]@a:1": [redacted], [redacted] at b:2 of c:3`
	if got := hide(cause); got.Error() != want || errors.Is(got, cause) {
		t.Errorf("got %v, want %s", got, want)
	}
	if plain := errors.New("no servers"); hide(plain) != plain || hide(nil) != nil {
		t.Error("an error without a secret is changed")
	}
}
