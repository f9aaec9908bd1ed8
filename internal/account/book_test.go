package account

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

var operations = []string{"CreateMeeting", "GetMeeting", "GetAttendee", "ListMeetings", "DeleteMeeting", "CreateAttendee"}

var givenKey = Key{ID: "given", Secret: "given secret", Account: "111111111111"}

// office is a Book with a clock that the test sets.
type office struct {
	*Book
	t     *testing.T
	store meeting.Store
	now   time.Time
}

func newOffice(t *testing.T) *office {
	o := &office{t: t, store: memory.New(), now: time.Date(2026, 1, 5, 10, 15, 0, 0, time.UTC)}
	own := Key{ID: "own", Secret: "own secret", Account: "111111111111"}
	var err error
	o.Book, err = NewBook(o.store, operations, func() time.Time { return o.now }, Given{givenKey, Generated}, Given{own, Own})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) add(in New) Key {
	o.t.Helper()
	if in.Account == "" {
		in.Account = "222222222222"
	}
	k, err := o.Add(o.t.Context(), in)
	if err != nil {
		o.t.Fatal(err)
	}
	return k
}

// works says whether a key is let through, by the id and secret that its bearer has.
func (o *office) works(k Key) bool {
	o.t.Helper()
	got, err := o.Lookup(k.ID)
	if err != nil && !errors.Is(err, ErrUnknownKey) {
		o.t.Fatalf("looking up %s: %v", k.ID, err)
	}
	return err == nil && got.Secret == k.Secret && got.SessionToken == k.SessionToken && !got.expired(o.now)
}

func (o *office) expect(k Key, works bool, when string) {
	o.t.Helper()
	if o.works(k) != works {
		o.t.Errorf("%s %s: works is %v", k.ID, when, !works)
	}
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) info(id string) Info {
	o.t.Helper()
	list, err := o.List(o.t.Context())
	o.must(err)
	i := slices.IndexFunc(list, func(i Info) bool { return i.ID == id })
	if i < 0 {
		o.t.Fatalf("%s is not on the list %v", id, list)
	}
	return list[i]
}

func refused(t *testing.T, what string, err error, code meeting.Code, says string) {
	t.Helper()
	if meeting.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), says) {
		t.Errorf("%s: %v, want %s saying %q", what, err, code, says)
	}
}

func TestAddAndLookUp(t *testing.T) {
	o := newOffice(t)
	k := o.add(New{Name: "ci", Actions: []string{"chime:createmeeting", "Get*", "CreateMeeting"}, Regions: []string{"eu-*"}, Lasts: time.Hour})
	other := o.add(New{Account: "333333333333", Actions: []string{"GetMeeting", "chime:*"}, Regions: []string{"us-east-1", "*"}})
	got, err := o.Lookup(k.ID)
	o.must(err)
	want := Key{ID: k.ID, Secret: k.Secret, Account: "222222222222", Name: "ci", Actions: []string{"CreateMeeting", "Get*"}, Regions: []string{"eu-*"}, Expires: o.now.Add(time.Hour)}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b meeting.Secret) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got, _ := o.Lookup(other.ID); got.Actions != nil || got.Regions != nil || got.Account != "333333333333" {
		t.Errorf("a key for everything is %+v", got)
	}
	o.expect(givenKey, true, "given")
	o.expect(Key{ID: "own", Secret: "own secret"}, true, "the server's own")
	if _, err := o.Lookup("nobody"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("nobody: %v", err)
	}
	o.now = o.now.Add(time.Hour)
	o.expect(k, false, "after its hour")

	again, err := NewBook(o.store, operations, nil) // a restart
	o.must(err)
	if got, err := again.Lookup(other.ID); err != nil || got.Secret != other.Secret {
		t.Errorf("after a restart: %v", err)
	}
	o.must(o.store.Close())
	if _, err := o.Lookup(k.ID); errors.Is(err, ErrUnknownKey) || meeting.CodeOf(err) != meeting.CodeUnavailable {
		t.Errorf("when the store is away: %v", err)
	}
}

func TestWhatCannotBeAdded(t *testing.T) {
	o := newOffice(t)
	for name, c := range map[string]struct {
		in   New
		says string
	}{
		"no account":      {New{}, "12 digits"},
		"bad account":     {New{Account: "12345678901x"}, "12 digits"},
		"misspelt action": {New{Account: "222222222222", Actions: []string{"chime:CreateMeting"}}, "near it are CreateMeeting"},
		"part of actions": {New{Account: "222222222222", Actions: []string{"attendee"}}, "CreateAttendee"},
		"unlike any":      {New{Account: "222222222222", Actions: []string{"xyzzyplugh"}}, "there are CreateAttendee, CreateMeeting"},
		"fits none":       {New{Account: "222222222222", Actions: []string{"Put*"}}, "no action"},
		"another service": {New{Account: "222222222222", Actions: []string{"s3:GetMeeting"}}, "no action"},
		"pattern":         {New{Account: "222222222222", Actions: []string{"[a-z]*"}}, "no action"},
		"bad region":      {New{Account: "222222222222", Regions: []string{"EU West"}}, "no region"},
		"bad name":        {New{Account: "222222222222", Name: "two words"}, "name"},
		"negative":        {New{Account: "222222222222", Lasts: -1}, "last"},
		"too long":        {New{Account: "222222222222", Lasts: 200 * 365 * 24 * time.Hour}, "last"},
	} {
		_, err := o.Add(t.Context(), c.in)
		refused(t, name, err, meeting.CodeBadRequest, c.says)
	}
	if list, _ := o.List(t.Context()); len(list) != 1 {
		t.Errorf("there are %v", list)
	}
}

func TestDisableEnableRemove(t *testing.T) {
	o, ctx := newOffice(t), t.Context()
	k := o.add(New{})
	for _, key := range []Key{k, givenKey} {
		session, err := o.Session(ctx, key.ID, time.Hour)
		o.must(err)
		o.must(o.SetDisabled(ctx, key.ID, true))
		o.expect(key, false, "disabled")
		o.expect(session, false, "when its key is disabled")
		if o.info(key.ID).State != "disabled" || o.info(session.ID).State != "disabled" {
			t.Errorf("listed as %+v and %+v", o.info(key.ID), o.info(session.ID))
		}
		_, err = o.Rotate(ctx, key.ID, 0)
		refused(t, "rotating a disabled key", err, meeting.CodeBadRequest, "disabled")
		_, err = o.Session(ctx, key.ID, time.Hour)
		refused(t, "a session of a disabled key", err, meeting.CodeBadRequest, "disabled")
		o.must(o.SetDisabled(ctx, key.ID, false))
		o.expect(key, true, "enabled")
		o.expect(session, true, "when its key is enabled")
		// A session by itself.
		o.must(o.SetDisabled(ctx, session.ID, true))
		o.expect(session, false, "disabled")
		o.expect(key, true, "when its session is disabled")
	}
	session, err := o.Session(ctx, k.ID, time.Hour)
	o.must(err)
	o.must(o.Remove(ctx, k.ID))
	o.expect(k, false, "removed")
	o.expect(session, false, "when its key is removed")
	if _, err := o.Lookup(session.ID); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a session of a removed key: %v", err)
	}
	refused(t, "removing the given", o.Remove(ctx, "given"), meeting.CodeBadRequest, "disable it")
	for _, id := range []string{k.ID, "nobody", "own"} {
		refused(t, "removing", o.Remove(ctx, id), meeting.CodeNotFound, id)
		refused(t, "disabling", o.SetDisabled(ctx, id, true), meeting.CodeNotFound, id)
		_, err := o.Rotate(ctx, id, 0)
		refused(t, "rotating", err, meeting.CodeNotFound, id)
		_, err = o.Session(ctx, id, time.Hour)
		refused(t, "a session", err, meeting.CodeNotFound, id)
	}
	o.expect(Key{ID: "own", Secret: "own secret"}, true, "after all that")
}

func TestRotate(t *testing.T) {
	o, ctx := newOffice(t), t.Context()
	k := o.add(New{Name: "ci", Actions: []string{"Get*"}, Regions: []string{"eu-*"}, Lasts: 48 * time.Hour})
	for _, key := range []Key{k, givenKey} {
		begun := o.now
		o.now = o.now.Add(time.Hour)
		session, err := o.Session(ctx, key.ID, 30*time.Hour)
		o.must(err)
		next, err := o.Rotate(ctx, key.ID, 24*time.Hour)
		o.must(err)
		if next.ID == key.ID || next.Secret == key.Secret || next.Account != key.Account || next.Name != key.Name ||
			!slices.Equal(next.Actions, key.Actions) || !slices.Equal(next.Regions, key.Regions) {
			t.Errorf("%+v follows %+v", next, key)
		}
		if i := o.info(key.ID); i.RotatedTo != next.ID || !i.Expires.Equal(o.now.Add(24*time.Hour)) {
			t.Errorf("the old one is listed as %+v", i)
		}
		if key.ID == k.ID && !next.Expires.Equal(o.now.Add(48*time.Hour)) {
			t.Errorf("a key for two days is followed by one until %v", next.Expires)
		}
		_, err = o.Rotate(ctx, key.ID, time.Hour)
		refused(t, "rotating again", err, meeting.CodeBadRequest, next.ID)
		o.now = o.now.Add(24*time.Hour - time.Second)
		o.expect(key, true, "while it is kept")
		o.expect(next, true, "while the old is kept")
		o.now = o.now.Add(time.Second)
		o.expect(key, false, "after it was kept")
		o.expect(session, false, "after its key was kept")
		o.expect(next, true, "after the old was kept")
		if o.info(key.ID).State != "expired" {
			t.Errorf("listed as %+v", o.info(key.ID))
		}
		now, err := o.Rotate(ctx, next.ID, 0)
		o.must(err)
		o.expect(next, false, "rotated without keeping")
		o.expect(now, true, "after")
		o.now = begun
	}
	_, err := o.Rotate(ctx, k.ID, -1)
	refused(t, "keeping less than nothing", err, meeting.CodeBadRequest, "kept")
	o.now = o.now.Add(1000 * time.Hour)
	old := o.add(New{Lasts: time.Minute})
	o.now = o.now.Add(time.Minute)
	_, err = o.Rotate(ctx, old.ID, time.Hour)
	refused(t, "rotating what expired", err, meeting.CodeBadRequest, "expired")
	_, err = o.Session(ctx, old.ID, time.Hour)
	refused(t, "a session of what expired", err, meeting.CodeBadRequest, "expired")
	refused(t, "enabling what expired", o.SetDisabled(ctx, old.ID, false), meeting.CodeBadRequest, "expired")
	o.must(o.SetDisabled(ctx, old.ID, true))
}

func TestSession(t *testing.T) {
	o, ctx := newOffice(t), t.Context()
	k := o.add(New{Actions: []string{"GetMeeting"}, Regions: []string{"eu-west-1"}, Lasts: 10 * time.Hour})
	session, err := o.Session(ctx, k.ID, time.Hour)
	o.must(err)
	if !strings.HasPrefix(session.ID, "ASIA") || len(session.SessionToken) < 100 || session.Account != k.Account ||
		session.MayCall("DeleteMeeting") || !session.MayCall("GetMeeting") || session.MaySignFor("us-east-1") {
		t.Errorf("session %+v", session)
	}
	o.expect(session, true, "made")
	if i := o.info(session.ID); i.SessionOf != k.ID || i.State != "active" {
		t.Errorf("listed as %+v", i)
	}
	longer, err := o.Session(ctx, k.ID, 20*time.Hour)
	o.must(err)
	if !longer.Expires.Equal(k.Expires) {
		t.Errorf("the session outlives its key until %v", longer.Expires)
	}
	for _, lasts := range []time.Duration{0, -1, MaxSession + 1} {
		_, err = o.Session(ctx, k.ID, lasts)
		refused(t, "lasting", err, meeting.CodeBadRequest, "lasts up to")
	}
	_, err = o.Session(ctx, session.ID, time.Hour)
	refused(t, "a session of a session", err, meeting.CodeBadRequest, k.ID)
	_, err = o.Rotate(ctx, session.ID, time.Hour)
	refused(t, "rotating a session", err, meeting.CodeBadRequest, k.ID)

	o.now = o.now.Add(time.Hour)
	o.expect(session, false, "after its hour")
	if got, err := o.Lookup(session.ID); err != nil || !got.expired(o.now) {
		t.Errorf("the bearer of an expired session is not told so: %v", err)
	}
	o.now = o.now.Add(forgetAfter + time.Second)
	o.add(New{})
	if _, err := o.Lookup(session.ID); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a session of long ago is kept: %v", err)
	}
}

func TestListShowsNoSecret(t *testing.T) {
	o := newOffice(t)
	first := o.add(New{Name: "first"})
	o.now = o.now.Add(time.Second)
	session, err := o.Session(t.Context(), first.ID, time.Hour)
	o.must(err)
	list, err := o.List(t.Context())
	o.must(err)
	text, err := json.Marshal(list)
	o.must(err)
	for _, secret := range []meeting.Secret{givenKey.Secret, first.Secret, session.Secret, session.SessionToken} {
		if bytes.Contains(text, []byte(secret.Reveal())) || strings.Contains(fmt.Sprintf("%+v", list), secret.Reveal()) {
			t.Errorf("the list shows a secret: %s", text)
		}
	}
	var ids []string
	for _, i := range list {
		ids = append(ids, i.ID)
	}
	if d := cmp.Diff([]string{"given", first.ID, session.ID}, ids); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What cannot be read is listed as such, is no key, and can be removed.
func TestStoredKeyThatCannotBeRead(t *testing.T) {
	o := newOffice(t)
	k := o.add(New{})
	o.must(o.store.Update(context.Background(), func(tx meeting.Tx) error {
		tx.PutSetting(entryPrefix+k.ID, []byte(`{"v":1,"id":"`+k.ID+`","secret":"hush"}`))
		return nil
	}))
	if _, err := o.Lookup(k.ID); err == nil || errors.Is(err, ErrUnknownKey) || strings.Contains(err.Error(), "hush") {
		t.Errorf("looked up: %v", err)
	}
	if i := o.info(k.ID); i.State != "unreadable" {
		t.Errorf("listed as %+v", i)
	}
	o.must(o.Remove(t.Context(), k.ID))
	if _, err := o.Lookup(k.ID); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("removed: %v", err)
	}
}

func TestTooManyKeys(t *testing.T) {
	o := newOffice(t)
	o.must(o.store.Update(t.Context(), func(tx meeting.Tx) error {
		for n := range maxStored {
			tx.PutSetting(entryPrefix+fmt.Sprint(n), nil)
		}
		return nil
	}))
	_, err := o.Add(t.Context(), New{Account: "222222222222"})
	refused(t, "one more", err, meeting.CodeLimitExceeded, "remove some")
}

func TestGivenKeyThatCannotWork(t *testing.T) {
	_, err := NewBook(memory.New(), operations, nil, Given{Key{ID: "a/b", Secret: "hush", Account: "1"}, FromSettings})
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("err = %v", err)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	whole := entry{ID: "AKIA", Account: "222222222222", Name: "n", Secret: "s", Token: "t", Parent: "p", Next: "x", Actions: []string{"Get*"},
		Regions: []string{"eu-*"}, Disabled: true, CreatedAt: time.Unix(1, 0).UTC(), Expires: time.Unix(2, 0).UTC()}
	f.Add("AKIA", whole.encode())
	f.Add("given", entry{ID: "given", Disabled: true}.encode())
	f.Add("AKIA", []byte(`{"v":2}`))
	f.Add("AKIA", []byte(`{"v":1,"id":"AKIA","secret":"s","account":"222222222222","actions":["["]}`))
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		e, err := decodeEntry(id, data)
		if err != nil {
			return
		}
		if e.ID != id || e.Secret == "" && (e.Token != "" || e.Parent != "") {
			t.Fatalf("accepted %q as %+v", data, e)
		}
		if e.Secret != "" {
			if err := e.key().check(); err != nil {
				t.Fatal(err)
			}
		}
		again, err := decodeEntry(id, e.encode())
		if err != nil || !cmp.Equal(e, again) {
			t.Fatalf("%+v is read back as %+v, %v", e, again, err)
		}
	})
}
