package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"belfry/internal/app"
	"belfry/internal/config"
)

// The words of the keys command against a server that runs.
func TestKeysCommand(t *testing.T) {
	dir, err := os.MkdirTemp("", "b") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := config.Default()
	cfg.Listen, cfg.TURNListen, cfg.DataDir, cfg.Page = "127.0.0.1:0", "127.0.0.1:0", dir, "off"
	s, err := app.Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Shutdown(context.Background()) }()
	keys := func(args string, code int) string {
		t.Helper()
		var out, errs strings.Builder
		if got := run(t.Context(), append([]string{"keys"}, strings.Fields(args)...), &out, &errs); got != code {
			t.Errorf("keys %s: exit code %d, want %d: %s", args, got, code, errs.String())
		}
		if code == 0 && errs.Len() > 0 || code != 0 && out.Len() > 0 {
			t.Errorf("keys %s: standard output %q, standard error %q", args, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	in := " --data-dir=" + dir
	idOf := func(text string) string {
		t.Helper()
		_, rest, ok := strings.Cut(text, "export AWS_ACCESS_KEY_ID='")
		id, _, closed := strings.Cut(rest, "'")
		if !ok || !closed {
			t.Fatalf("no key in %q", text)
		}
		return id
	}
	id := idOf(keys("add --account 222222222222 --action chime:Create*,GetMeeting --region=eu-central-1 --region us-* --expires-in 720h --name ci"+in, 0))
	next := idOf(keys("rotate "+id+" --keep 1h"+in, 0))
	session := idOf(keys("session --for 30m "+next+in, 0))
	keys("disable"+in+" "+session, 0)
	list := keys("list"+in, 0)
	for _, line := range []string{id + "  222222222222  ci    store", "active, rotated to " + next, session, "Create*,GetMeeting  eu-central-1,us-*", "generated"} {
		if !strings.Contains(list, line) {
			t.Errorf("the list lacks %q:\n%s", line, list)
		}
	}
	if text := keys("list --json"+in, 0); !strings.HasPrefix(text, "[") || !strings.Contains(text, `"state": "disabled"`) {
		t.Errorf("as JSON: %s", text)
	}
	keys("enable "+session+in, 0)
	keys("remove "+session+in, 0)
	for args, says := range map[string]string{
		"remove " + session + in:                             "there is no access key",
		"rotate " + id + in:                                  next,
		"add --action GetMeting --account 222222222222" + in: "near it are GetMeeting",
		"list --data-dir=/nowhere":                           "no server answers",
	} {
		if got := keys(args, 1); !strings.Contains(got, says) {
			t.Errorf("keys %s says %q, want %q", args, got, says)
		}
	}
	for _, args := range []string{"", "list all", "disable", "disable a b", "rotate", "add x", "add --keep 1h", "add --action ,", "list --jason", "rotate x --keep soon", "session"} {
		if got := keys(args+in, 2); !strings.Contains(got, "usage: belfry keys") {
			t.Errorf("keys %s says %q", args, got)
		}
	}
	for command, says := range map[string]string{"disable": "Account 222222222222 is disabled\n", "enable": "Account 222222222222 is enabled\n"} {
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"accounts", command, "222222222222", "--data-dir", dir}, &out, &errs); code != 0 || out.String() != says {
			t.Errorf("accounts %s: exit code %d, %q, %q", command, code, out.String(), errs.String())
		}
	}
	if got := keys("add -h", 0); !strings.Contains(got, "usage: belfry keys") {
		t.Errorf("-h says %q", got)
	}
}
