package app

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/smithy-go"

	"belfry/internal/account"
	"belfry/internal/config"
	"belfry/internal/control"
	"belfry/internal/meeting"
	"belfry/internal/store/jetstream"
)

// issued is a key as a person pastes it.
type issued struct{ id, secret, token string }

var exported = regexp.MustCompile(`(?m)^export (AWS_[A-Z_]+)='(.*)'$`)

func readExports(t *testing.T, text string) (k issued) {
	t.Helper()
	for _, m := range exported.FindAllStringSubmatch(text, -1) {
		switch m[1] {
		case "AWS_ACCESS_KEY_ID":
			k.id = m[2]
		case "AWS_SECRET_ACCESS_KEY":
			k.secret = m[2]
		case "AWS_SESSION_TOKEN":
			k.token = m[2]
		}
	}
	if k.id == "" || k.secret == "" || strings.Contains(text, "unset AWS_SESSION_TOKEN") != (k.token == "") {
		t.Fatalf("no key pair in %q", text)
	}
	return k
}

// said is what a command writes.
func said(t *testing.T, fn func(io.Writer) error) string {
	t.Helper()
	var out strings.Builder
	if err := fn(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func addKey(t *testing.T, cfg config.Config, in control.NewKey) issued {
	t.Helper()
	return readExports(t, said(t, func(w io.Writer) error { return control.AddKey(t.Context(), cfg.DataDir, in, w) }))
}

// as is a client that signs with a key in a region.
func as(t *testing.T, s *Server, k issued, region string) *chimesdkmeetings.Client {
	t.Helper()
	idle := &http.Transport{}
	t.Cleanup(idle.CloseIdleConnections)
	return chimesdkmeetings.New(chimesdkmeetings.Options{
		BaseEndpoint: aws.String(s.URL()), Region: region, HTTPClient: &http.Client{Transport: idle},
		Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, k.token),
	})
}

func createMeeting(t *testing.T, client *chimesdkmeetings.Client) (id, arn string, err error) {
	t.Helper()
	m, err := client.CreateMeeting(t.Context(), &chimesdkmeetings.CreateMeetingInput{
		ClientRequestToken: aws.String("room"), ExternalMeetingId: aws.String("room"), MediaRegion: aws.String("us-east-1")})
	if err != nil {
		return "", "", err
	}
	return *m.Meeting.MeetingId, *m.Meeting.MeetingArn, nil
}

// answers is the error name that GetMeeting of a meeting that never was is
// answered with: NotFoundException when the key is good.
func answers(t *testing.T, client *chimesdkmeetings.Client) (name string) {
	t.Helper()
	_, err := client.GetMeeting(t.Context(), &chimesdkmeetings.GetMeetingInput{MeetingId: aws.String("00000000-0000-4000-8000-000000000000")})
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("GetMeeting: %v", err)
	}
	return api.ErrorCode()
}

const (
	good    = "NotFoundException"
	unknown = "UnrecognizedClientException"
	expired = "ExpiredTokenException"
)

// A key is added, limited, disabled, rotated and removed from outside the process
// of the server; each is in effect with the next request, and after a restart.
func TestKeysByCommand(t *testing.T) {
	cfg := settings(t)
	var log logged
	s := start(t, cfg, &log)
	ctx, dir := t.Context(), cfg.DataDir
	expect := func(k issued, want, when string) {
		t.Helper()
		if got := answers(t, as(t, s, k, "eu-central-1")); got != want {
			t.Errorf("%s: answered %s, want %s", when, got, want)
		}
	}

	limited := addKey(t, cfg, control.NewKey{Account: "222222222222", Name: "ci", Actions: []string{"chime:CreateMeeting", "get*"}, Regions: []string{"eu-*"}})
	client := as(t, s, limited, "eu-central-1")
	id, arn, err := createMeeting(t, client)
	if err != nil || arn != "arn:aws:chime:eu-central-1:222222222222:meeting/"+id {
		t.Errorf("MeetingArn %s, %v", arn, err)
	}
	_, err = client.DeleteMeeting(ctx, &chimesdkmeetings.DeleteMeetingInput{MeetingId: &id})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" || api.ErrorMessage() !=
		"User: arn:aws:iam::222222222222:user/ci is not authorized to perform: chime:DeleteMeeting on resource: "+arn {
		t.Errorf("an action that the key has not: %v", err)
	}
	_, _, err = createMeeting(t, as(t, s, limited, "us-east-1"))
	if !errors.As(err, &api) || api.ErrorCode() != "InvalidSignatureException" || !strings.Contains(api.ErrorMessage(), "valid region, not 'us-east-1'.") {
		t.Errorf("a region that the key is not for: %v", err)
	}
	if got := answers(t, as(t, s, issued{s.key.ID, s.key.Secret.Reveal(), ""}, "us-east-1")); got != good {
		t.Errorf("the generated key is answered %s", got)
	}

	k := addKey(t, cfg, control.NewKey{})
	expect(k, good, "a key for everything")
	said(t, func(w io.Writer) error { return control.DisableKey(ctx, dir, k.id, w) })
	expect(k, unknown, "disabled")
	said(t, func(w io.Writer) error { return control.EnableKey(ctx, dir, k.id, w) })
	expect(k, good, "enabled")

	session := readExports(t, said(t, func(w io.Writer) error { return control.SessionKey(ctx, dir, k.id, time.Hour, w) }))
	expect(session, good, "a session")
	expect(issued{session.id, session.secret, ""}, unknown, "a session without its token")
	expect(issued{session.id, session.secret, k.secret}, unknown, "a session with another token")
	expect(issued{k.id, k.secret, session.token}, unknown, "a key with a token")

	next := readExports(t, said(t, func(w io.Writer) error { return control.RotateKey(ctx, dir, k.id, 24*time.Hour, w) }))
	expect(k, good, "the old one while it is kept")
	expect(next, good, "the new one")
	last := readExports(t, said(t, func(w io.Writer) error { return control.RotateKey(ctx, dir, next.id, 0, w) }))
	expect(next, expired, "the old one that is not kept")
	expect(last, good, "the last one")
	said(t, func(w io.Writer) error { return control.RemoveKey(ctx, dir, next.id, w) })
	expect(next, unknown, "removed")
	brief := addKey(t, cfg, control.NewKey{Lasts: time.Nanosecond})
	expect(brief, expired, "a key that lasted a moment")
	// The page has a key of its own, so the generated one can be done without.
	said(t, func(w io.Writer) error { return control.DisableKey(ctx, dir, s.key.ID, w) })
	if got := answers(t, as(t, s, issued{s.key.ID, s.key.Secret.Reveal(), ""}, "us-east-1")); got != unknown {
		t.Errorf("the generated key, disabled, is answered %s", got)
	}

	said(t, func(w io.Writer) error { return control.DisableAccount(ctx, dir, "222222222222", w) })
	expect(limited, "ForbiddenException", "an account that is disabled")
	expect(issued{limited.id, last.secret, ""}, "InvalidSignatureException", "an account that is disabled, to who has not its secret")
	expect(last, good, "another account")
	if list := said(t, func(w io.Writer) error { return control.ListAccounts(ctx, dir, w) }); !strings.Contains(list, "222222222222  1 meetings  disabled\n") {
		t.Errorf("the accounts are\n%s", list)
	}
	said(t, func(w io.Writer) error { return control.EnableAccount(ctx, dir, "222222222222", w) })
	expect(limited, good, "an account that is enabled")

	for what, fn := range map[string]func(io.Writer) error{
		"an account that is none": func(w io.Writer) error { return control.DisableAccount(ctx, dir, "12", w) },
		"an action that is none": func(w io.Writer) error {
			return control.AddKey(ctx, dir, control.NewKey{Actions: []string{"GetMeting"}}, w)
		},
		"no account":         func(w io.Writer) error { return control.AddKey(ctx, dir, control.NewKey{Account: "12"}, w) },
		"a key that is none": func(w io.Writer) error { return control.DisableKey(ctx, dir, "AKIA?x=y#z %", w) },
		"a session too long": func(w io.Writer) error { return control.SessionKey(ctx, dir, last.id, 37*time.Hour, w) },
		"the generated one":  func(w io.Writer) error { return control.RemoveKey(ctx, dir, s.key.ID, w) },
	} {
		var out strings.Builder
		if err := fn(&out); err == nil || out.Len() > 0 || !strings.Contains(err.Error(), "the server answered 40") {
			t.Errorf("%s: %q, %v", what, out.String(), err)
		}
	}

	table := said(t, func(w io.Writer) error { return control.ListKeys(ctx, dir, false, w) })
	text := said(t, func(w io.Writer) error { return control.ListKeys(ctx, dir, true, w) })
	var list []account.Info
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, i := range list {
		states[i.ID] = i.State
	}
	for id, state := range map[string]string{limited.id: "active", k.id: "active", session.id: "active", last.id: "active", brief.id: "expired", s.key.ID: "disabled"} {
		if states[id] != state || !strings.Contains(table, id+" ") {
			t.Errorf("%s is %q on the list, want %s:\n%s", id, states[id], state, table)
		}
	}
	if len(list) != 6 || !regexp.MustCompile(limited.id+` +222222222222 +ci +store +active .* CreateMeeting,get\* +eu-\*\n`).MatchString(table) {
		t.Errorf("the list is\n%s", table)
	}
	for _, secret := range []string{limited.secret, k.secret, session.secret, session.token, last.secret, s.key.Secret.Reveal()} {
		if strings.Contains(table+text+log.String(), secret) {
			t.Error("the list or the log shows a secret")
		}
	}

	stopServer(t, s)
	s = start(t, cfg, io.Discard)
	for _, one := range []issued{limited, k, session, last} {
		expect(one, good, "after a restart")
	}
	expect(next, unknown, "removed, after a restart")
	expect(brief, expired, "over, after a restart")
	expect(issued{s.key.ID, s.key.Secret.Reveal(), ""}, unknown, "disabled, after a restart")
	var banner strings.Builder
	if s.WriteBanner(&banner); strings.Contains(banner.String(), s.key.Secret.Reveal()) || !strings.Contains(banner.String(), s.key.ID+" is disabled") {
		t.Errorf("the banner offers a key that is disabled: %s", banner.String())
	}
	if info, err := os.Stat(control.Socket(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket that keys are made by is open to others: %v, %v", info.Mode(), err)
	}
}

// finds lists where below a directory a secret lies, in any form that it could be
// written in.
func finds(t *testing.T, dir string, secret []byte) (where []string) {
	t.Helper()
	forms := [][]byte{secret, []byte(hex.EncodeToString(secret))}
	for before := range 3 { // base64 of something that it is a part of
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString(append(make([]byte, before), secret...))
			forms = append(forms, []byte(text[4*before/3+1:len(text)-2]))
		}
	}
	if quoted, err := json.Marshal(string(secret)); err == nil {
		forms = append(forms, bytes.Trim(quoted, `"`))
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, form := range forms {
			if bytes.Contains(data, form) {
				where = append(where, path)
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return where
}

// Who steals the data directory of a server with a master key finds no secret in
// it, whether the key was there from the first start or came later.
func TestStolenDataDirectory(t *testing.T) {
	cfg := settings(t)
	start := func(cfg config.Config) *Server {
		t.Helper()
		s, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	masterKey := func(fill string) meeting.Secret { return meeting.Secret(strings.Repeat(fill, 32)) }
	s := start(cfg)
	secrets := map[string][]byte{"the generated secret": []byte(s.key.Secret)}
	// use adds what is secret of a server, and of what it holds.
	use := func(s *Server, when string) issued {
		t.Helper()
		k := addKey(t, cfg, control.NewKey{})
		session := readExports(t, said(t, func(w io.Writer) error { return control.SessionKey(t.Context(), cfg.DataDir, k.id, time.Hour, w) }))
		secrets["the key's secret "+when] = []byte(k.secret)
		secrets["the session's secret "+when] = []byte(session.secret)
		secrets["the session's token "+when] = []byte(session.token)
		client := as(t, s, k, "us-east-1")
		id, _, err := createMeeting(t, client)
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range []string{"ann " + when, "bob " + when} {
			a, err := client.CreateAttendee(t.Context(), &chimesdkmeetings.CreateAttendeeInput{MeetingId: &id, ExternalUserId: &user})
			if err != nil {
				t.Fatal(err)
			}
			secrets["the join token of "+user] = []byte(*a.Attendee.JoinToken)
			secrets["who "+user+" is"] = []byte(user)
		}
		page, err := client.ListAttendees(t.Context(), &chimesdkmeetings.ListAttendeesInput{MeetingId: &id, MaxResults: aws.Int32(1)})
		if err != nil || page.NextToken == nil {
			t.Fatalf("no page token: %v", err)
		}
		return k
	}
	first := use(s, "before")
	stopServer(t, s)
	for _, name := range []string{"turn-secret", "page-token-key"} {
		secrets["the server's "+name] = storedSetting(t, cfg.DataDir, name)
	}
	for what, secret := range secrets {
		if len(finds(t, cfg.DataDir, secret)) == 0 {
			t.Errorf("%s is not found without a master key: the search proves nothing", what)
		}
	}

	left := filepath.Join(cfg.DataDir, credentialsFile+".new") // of a start that was killed
	if err := os.WriteFile(left, secrets["the generated secret"], 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.MasterKey = masterKey("5e")
	s = start(cfg)
	if got := answers(t, as(t, s, first, "us-east-1")); got != good {
		t.Errorf("a key from before the master key is answered %s", got)
	}
	second := use(s, "after")
	stopServer(t, s)
	search := func(when string) {
		t.Helper()
		for what, secret := range secrets {
			if where := finds(t, cfg.DataDir, secret); len(where) > 0 {
				t.Errorf("%s: %s lies in the clear in %v", when, what, where)
			}
		}
		if where := finds(t, cfg.DataDir, bytes.Repeat([]byte{0x5e}, 32)); len(where) > 0 {
			t.Errorf("%s: the master key lies in %v", when, where)
		}
	}
	search("with a master key")

	for name, change := range map[string]func(*config.Config){
		"without": func(c *config.Config) { c.MasterKey = "" },
		"another": func(c *config.Config) { c.MasterKey = masterKey("77") },
	} {
		wrong := cfg
		change(&wrong)
		if _, err := Start(t.Context(), wrong, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "sealed with another master key") ||
			!strings.Contains(err.Error(), "BELFRY_MASTER_KEY") || strings.Contains(err.Error(), "7777") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Another key, from a file, in the place of the old one.
	file := filepath.Join(t.TempDir(), "master")
	if err := os.WriteFile(file, []byte(strings.Repeat("77", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.MasterKey, cfg.MasterKeyFile, cfg.MasterKeyOld = "", file, masterKey("5e")
	s = start(cfg)
	stopServer(t, s)
	cfg.MasterKeyOld = ""
	s = start(cfg)
	for _, k := range []issued{first, second, {s.key.ID, string(secrets["the generated secret"]), ""}} {
		if got := answers(t, as(t, s, k, "us-east-1")); got != good {
			t.Errorf("with another master key %s is answered %s", k.id, got)
		}
	}
	stopServer(t, s)
	search("with another master key")
	// And none.
	cfg.MasterKeyFile, cfg.MasterKeyOld = "", masterKey("77")
	s = start(cfg)
	stopServer(t, s)
	cfg.MasterKeyOld = ""
	s = start(cfg)
	defer stopServer(t, s)
	if got := answers(t, as(t, s, second, "us-east-1")); got != good {
		t.Errorf("without a master key again a key is answered %s", got)
	}
}

// storedSetting reads a setting out of a data directory that no server uses.
func storedSetting(t *testing.T, dir, name string) (value []byte) {
	t.Helper()
	store, err := jetstream.Open(t.Context(), jetstream.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.View(t.Context(), func(r meeting.Reader) error {
		value, _ = r.Setting(name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(value) == 0 {
		t.Fatalf("there is no setting %s", name)
	}
	return value
}

func TestMasterKeysThatCannotBeRead(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"master_key: ":          func(c *config.Config) { c.MasterKey = "hunter2" },
		"master_key_file: ":     func(c *config.Config) { c.MasterKeyFile = "/nowhere" },
		"master_key_old: ":      func(c *config.Config) { c.MasterKeyOld = "hunter2" },
		"master_key_old_file: ": func(c *config.Config) { c.MasterKeyOldFile = os.DevNull },
	} {
		cfg := settings(t)
		change(&cfg)
		if _, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), name) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s %v", name, err)
		}
	}
}
