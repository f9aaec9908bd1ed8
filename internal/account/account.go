// Package account knows the access keys: which secret signs for which account,
// and what the bearer of a key may do. The front door looks a key up for every
// request, so a Keyring answers from memory. Book is one: keys that the server was
// given at its start, and keys in the store that are added, rotated, disabled and
// removed while it runs.
package account

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"belfry/internal/meeting"
)

// Key is one access key: a pair of id and secret, and who and what it is for.
type Key struct {
	ID      string         // access key id: 1–128 visible ASCII characters without slash and comma
	Secret  meeting.Secret // secret access key
	Account string         // 12 digits
	// Name is what a person calls the key, "" for nothing: 1–64 of the characters
	// of an IAM user's name, which it stands for in ARNs.
	Name string

	// SessionToken is what a temporary key must be presented with
	// (X-Amz-Security-Token); "" for a key that lasts.
	SessionToken meeting.Secret
	// Expires is when a temporary key stops working; zero: never.
	Expires time.Time

	// Actions lists the operations that the key may call, such as "CreateMeeting"
	// or, with the wildcards of IAM, "Get*"; nil: all of them.
	Actions []string
	// Regions lists the regions that the key may sign for, such as "us-east-1" or
	// "eu-*"; nil: any.
	Regions []string

	// Unthrottled: the account's quota of requests does not count what the key
	// signs. Only for the server's own parts, which have limits of their own.
	Unthrottled bool

	// AccountDisabled: the account may do nothing, whichever of its keys signs.
	AccountDisabled bool
}

// MayCall reports whether the key may call the operation.
func (k Key) MayCall(operation string) bool {
	return k.Actions == nil || slices.ContainsFunc(k.Actions, func(a string) bool { return matches(a, operation) })
}

// MaySignFor reports whether the key may be used in the region.
func (k Key) MaySignFor(region string) bool {
	return k.Regions == nil || slices.ContainsFunc(k.Regions, func(r string) bool { return matches(r, region) })
}

// User is the ARN of who signs with the key, as refusals name it.
func (k Key) User() string {
	name := k.Name
	if name == "" {
		name = k.ID
	}
	return "arn:aws:iam::" + k.Account + ":user/" + name
}

// matches compares as IAM does: without regard to case, * for any characters and
// ? for one.
func matches(pattern, s string) bool {
	ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(s))
	return ok && err == nil
}

// ErrUnknownKey says that no key has the id that was looked for, or that the key
// is disabled.
var ErrUnknownKey = errors.New("there is no such access key")

// Keyring finds the key with an access key id. It must be safe for concurrent
// use and must not block. The error is ErrUnknownKey, or why it cannot be known
// whether there is such a key.
type Keyring interface {
	Lookup(accessKeyID string) (Key, error)
}

// check says what is wrong with a key that could never be used.
func (k Key) check() error {
	switch {
	case !validID(k.ID):
		return fmt.Errorf("access key id must be 1 to 128 visible ASCII characters without slash and comma, got %d bytes", len(k.ID))
	case k.Secret == "":
		return fmt.Errorf("access key %s has no secret", k.ID)
	case !ValidAccount(k.Account):
		return fmt.Errorf("access key %s: account %.20q is not 12 digits", k.ID, k.Account)
	}
	return nil
}

const (
	idAlphabet     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // base32, as AWS's ids
	secretAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)

// Generate makes a new lasting key for an account: an id of 20 characters that
// begins with AKIA (80 random bits) and a secret of 40 characters (240 random
// bits). random is the source of randomness; nil: crypto/rand.
func Generate(random io.Reader, account string) (Key, error) {
	id, err := randomText(random, idAlphabet, 16)
	if err != nil {
		return Key{}, err
	}
	secret, err := randomText(random, secretAlphabet, 40)
	if err != nil {
		return Key{}, err
	}
	return Key{ID: "AKIA" + id, Secret: meeting.Secret(secret), Account: account}, nil
}

// generateSession is Generate for a temporary key: its id begins with ASIA, and it
// has a token of 120 characters.
func generateSession(random io.Reader, account string) (Key, error) {
	k, err := Generate(random, account)
	if err != nil {
		return Key{}, err
	}
	token, err := randomText(random, secretAlphabet, 120)
	if err != nil {
		return Key{}, err
	}
	k.ID, k.SessionToken = "ASIA"+k.ID[4:], meeting.Secret(token)
	return k, nil
}

// randomText needs an alphabet of 2, 4, 8 … characters.
func randomText(random io.Reader, alphabet string, length int) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(random, text); err != nil {
		return "", fmt.Errorf("generating an access key: %w", err)
	}
	for i := range text {
		text[i] = alphabet[int(text[i])%len(alphabet)]
	}
	return string(text), nil
}

// ValidAccount reports whether s has the form of an account id: 12 digits.
func ValidAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// validID reports whether s can stand in a credential scope, where slash, comma
// and white space end it.
func validID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '/' || c == ',' {
			return false
		}
	}
	return true
}
