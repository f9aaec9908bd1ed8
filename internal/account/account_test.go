package account

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

const testAccount = "111111111111"

func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		k, err := Generate(nil, testAccount)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(k.ID) {
			t.Errorf("id = %q", k.ID)
		}
		if !regexp.MustCompile(`^[A-Za-z0-9+/]{40}$`).MatchString(k.Secret.Reveal()) {
			t.Errorf("secret has another form, %d characters", len(k.Secret))
		}
		if seen[k.ID] || seen[k.Secret.Reveal()] {
			t.Fatal("the same key twice")
		}
		seen[k.ID], seen[k.Secret.Reveal()] = true, true
		if err := k.check(); err != nil {
			t.Errorf("a generated key is refused: %v", err)
		}
	}
}

func TestGenerateWithoutRandomness(t *testing.T) {
	if _, err := Generate(bytes.NewReader(nil), testAccount); err == nil {
		t.Error("a key from no randomness")
	}
	broken := errors.New("broken")
	if _, err := Generate(reader{broken}, testAccount); !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
}

type reader struct{ err error }

func (r reader) Read([]byte) (int, error) { return 0, r.err }

func TestKeysThatCannotWork(t *testing.T) {
	for name, k := range map[string]Key{
		"no id":            {Secret: "secret", Account: testAccount},
		"slash in id":      {ID: "AKID/X", Secret: "secret", Account: testAccount},
		"no secret":        {ID: "AKIDEXAMPLE", Account: testAccount},
		"short account":    {ID: "AKIDEXAMPLE", Secret: "secret", Account: "123"},
		"account of words": {ID: "AKIDEXAMPLE", Secret: "secret", Account: "twelve-chars"},
	} {
		_, err := NewBook(nil, nil, nil, Given{Key: k, From: FromSettings})
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "secret\"") {
			t.Errorf("%s: error holds the secret: %v", name, err)
		}
	}
}

func TestKeyPrintsNoSecret(t *testing.T) {
	k := Key{ID: "AKIDEXAMPLE", Secret: "hush", SessionToken: "hush"}
	if s := fmt.Sprintf("%v %+v %#v", k, k, k); strings.Contains(s, "hush") {
		t.Errorf("prints as %s", s)
	}
}

func TestRights(t *testing.T) {
	all := Key{}
	some := Key{Actions: []string{"GetMeeting"}, Regions: []string{"us-east-1"}}
	many := Key{Actions: []string{"Get*", "list?eetings"}, Regions: []string{"eu-*", "us-west-?"}}
	for operation, may := range map[string]bool{"GetMeeting": true, "getattendee": true, "ListMeetings": true, "ListAttendees": false, "TargetMeeting": false} {
		if many.MayCall(operation) != may {
			t.Errorf("%s: %v", operation, !may)
		}
	}
	for region, may := range map[string]bool{"eu-west-1": true, "us-west-2": true, "us-east-1": false, "us-west-22": false} {
		if many.MaySignFor(region) != may {
			t.Errorf("%s: %v", region, !may)
		}
	}
	none := Key{Actions: []string{}, Regions: []string{}}
	if !all.MayCall("DeleteMeeting") || !all.MaySignFor("eu-west-1") {
		t.Error("a key without lists may do everything")
	}
	if !some.MayCall("GetMeeting") || some.MayCall("DeleteMeeting") || !some.MaySignFor("us-east-1") || some.MaySignFor("eu-west-1") {
		t.Error("a key with lists may do what is on them")
	}
	if none.MayCall("GetMeeting") || none.MaySignFor("us-east-1") {
		t.Error("a key with empty lists may do nothing")
	}
}
