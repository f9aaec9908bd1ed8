package conformance

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"belfry/internal/app"
	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/internal/observe"
	"belfry/test/kit"
)

const keyID, secret = "AKIDCONFORMANCE", "conformance/secret+key"

// at is an endpoint with the key that all servers of these tests have.
func at(endpoint string) Target {
	return Target{Endpoint: endpoint, Region: "us-east-1", AccessKeyID: keyID, Secret: secret}
}

// start brings up the shipped server on free ports.
func start(t *testing.T) Target {
	t.Helper()
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.TURNListen, cfg.DataDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	cfg.AccessKeyID, cfg.SecretAccessKey = keyID, meeting.Secret(secret)
	cfg.RequestRate = 0 // the clients all at once are faster than one account may be
	server, err := app.Start(t.Context(), cfg, observe.NewLogger(io.Discard, "error", "text"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Shutdown(kit.Within(t)); err != nil {
			t.Error(err)
		}
	})
	return at(server.URL())
}

// Every client gets what it expects, and the document says so.
func TestLifeOfAMeeting(t *testing.T) {
	results, err := Run(t.Context(), ".", start(t), Clients()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, f := range r.Failures {
			t.Errorf("%s: %s", r.Client, f)
		}
	}
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Update(string(document), Table(results))
	if err != nil {
		t.Fatal(err)
	}
	// Debian's clients may be a security update further.
	debian := regexp.MustCompile(`\S+ \(Debian\)`)
	if diff := cmp.Diff(debian.ReplaceAllString(want, ""), debian.ReplaceAllString(string(document), "")); diff != "" {
		t.Errorf("docs/conformance.md is not what this run gives; scripts/conformance -write writes it:\n%s", diff)
	}
}

// each runs the test with every kind of client, several at a time.
func each(t *testing.T, target func(k kind) Target, test func(t *testing.T, k kind, c client)) {
	build, err := newBuilder(".")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(build.remove)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			c, err := k.start(t.Context(), build, k, target(k))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.close(); err != nil {
					t.Error(err)
				}
			}()
			test(t, k, c)
		})
	}
}

// refused calls the operation and reports what was not as the refusal.
func refused(t *testing.T, k kind, c client, operation string, params map[string]any, says string, as ...refusal) {
	t.Helper()
	a, err := c.call(operation, params)
	if err != nil {
		t.Fatal(err)
	}
	l := &life{kind: k, client: c, failed: map[string]bool{}}
	l.note(a, operation, says, as...)
	for _, f := range l.failures {
		t.Error(f)
	}
}

func TestWrongKeysAreRefused(t *testing.T) {
	server := start(t)
	get := map[string]any{"MeetingId": uuid.NewString()}
	for _, wrong := range []struct {
		name string
		id   string
		says string
		as   refusal
	}{
		{"unknown key", "AKIDUNKNOWN", "token", unknownKey},
		{"wrong secret", keyID, "signature", badSignature},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			target := server
			target.AccessKeyID, target.Secret = wrong.id, "wrong"
			each(t, func(kind) Target { return target }, func(t *testing.T, k kind, c client) {
				refused(t, k, c, "GetMeeting", get, wrong.says, wrong.as)
			})
		})
	}
}

// What failed is told in the table, and a failure is one mark.
func TestTableShowsFailures(t *testing.T) {
	table := Table([]Result{{Client: "Go v2 meetings", API: newerAPI, Version: "1", Operations: map[string]Outcome{"GetMeeting": Failed, "DeleteMeeting": Passed},
		Caught: map[string]string{}, Failures: []string{"GetMeeting: answers\n  nothing"}}})
	for _, want := range []string{"| GetMeeting | ✗ |\n", "| DeleteMeeting | ✓ |\n", "| ListMeetings | · |\n", "- Go v2 meetings: GetMeeting: answers nothing\n"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if _, err := Update("no marks", table); err == nil {
		t.Error("a document without marks is taken")
	}
}
