package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

var secret = []byte("0123456789abcdefghijklmnopqrst\xfb\xff")

func TestParseKey(t *testing.T) {
	want := newKey(secret)
	for name, text := range map[string]string{
		"hex":                 hex.EncodeToString(secret),
		"upper hex":           strings.ToUpper(hex.EncodeToString(secret)),
		"base64":              base64.StdEncoding.EncodeToString(secret),
		"no padding":          base64.RawStdEncoding.EncodeToString(secret),
		"of URLs":             base64.URLEncoding.EncodeToString(secret),
		"as a file has it":    "  " + base64.StdEncoding.EncodeToString(secret) + "\r\n",
		"hex as a file holds": hex.EncodeToString(secret) + "\n",
	} {
		if k, err := ParseKey(text); err != nil || *k != *want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "a word": "hunter2", "too short": base64.StdEncoding.EncodeToString(secret[1:]),
		"too long": base64.StdEncoding.EncodeToString(append(secret, 1)), "odd hex": hex.EncodeToString(secret)[1:],
		"not the alphabet": "hunter2" + base64.StdEncoding.EncodeToString(secret)[7:40] + "!!!",
		"two lines":        base64.StdEncoding.EncodeToString(secret)[:20] + "\n" + base64.StdEncoding.EncodeToString(secret)[20:],
	} {
		k, err := ParseKey(text)
		if err == nil {
			t.Errorf("%s: accepted as %s", name, k.ID())
		} else if !strings.Contains(err.Error(), "openssl rand") || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyPrintsNothing(t *testing.T) {
	k := newKey(secret)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "ring", NewRing(k, k))
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %v", k, k, k, k, NewRing(k, k)), log.String()} {
		for _, leak := range []string{string(secret), hex.EncodeToString(secret), "48 49 50", "0x30"} {
			if strings.Contains(text, leak) {
				t.Errorf("prints as %s", text)
			}
		}
	}
}

func TestSeal(t *testing.T) {
	k, other := newKey(secret), newKey(append([]byte{1}, secret[1:]...))
	r := NewRing(k)
	plain := []byte("the secret of the key")
	sealed := r.Seal("commit", plain)
	again := r.Seal("commit", plain)
	if bytes.Contains(sealed, plain[:8]) || bytes.Equal(sealed, again) || len(sealed) != len(plain)+Overhead {
		t.Errorf("sealed as %q", sealed)
	}
	if SealedBy(sealed) != k.ID() || len(k.ID()) != 16 || SealedBy(plain) != "" {
		t.Errorf("sealed by %q, want %q", SealedBy(sealed), k.ID())
	}
	for name, ring := range map[string]*Ring{"the same": r, "as an old key": NewRing(other, k), "not sealing any more": NewRing(nil, other, k)} {
		if got, err := ring.Open("commit", sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, c := range map[string]struct {
		ring *Ring
		says string
	}{
		"no keys":     {nil, "none is set"},
		"no key":      {NewRing(nil), "none is set"},
		"another key": {NewRing(other), other.ID()},
	} {
		if got, err := c.ring.Open("commit", sealed); !errors.Is(err, ErrKey) || got != nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), k.ID()) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := r.Open("snapshot", sealed); !errors.Is(err, ErrDamaged) {
		t.Errorf("opened as another kind: %v", err)
	}
	for i := len(magic) + idLen; i < len(sealed); i++ {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := r.Open("commit", bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for n := len(magic); n < len(sealed); n++ {
		if _, err := r.Open("commit", sealed[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
	}
}

func TestWithoutKey(t *testing.T) {
	for name, r := range map[string]*Ring{"nil": nil, "empty": NewRing(nil), "old alone": NewRing(nil, newKey(secret))} {
		if got := r.Seal("commit", []byte("{}")); string(got) != "{}" || r.ID() != "" {
			t.Errorf("%s: sealed as %q", name, got)
		}
		if got, err := r.Open("commit", []byte("{}")); err != nil || string(got) != "{}" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(hex.EncodeToString(secret))
	f.Add(base64.StdEncoding.EncodeToString(secret))
	f.Add(base64.RawURLEncoding.EncodeToString(secret) + "==")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKey(text)
		if (k == nil) == (err == nil) {
			t.Fatalf("key %v, error %v", k, err)
		}
		if err != nil && len(text) > 4 && strings.Contains(err.Error(), text) && !strings.Contains("a master key is 32 random bytes in base64 or hex, as `openssl rand -base64 32` prints them; this is neither; this has bytes", text) {
			t.Fatalf("the error quotes the key: %v", err)
		}
		if err == nil {
			again, err := ParseKey(hex.EncodeToString(k.secret[:]))
			if err != nil || *again != *k {
				t.Fatalf("%q is another key in hex: %v", text, err)
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	r := NewRing(newKey(secret))
	f.Add(r.Seal("commit", []byte("{}")))
	f.Add([]byte(magic))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := r.Open("commit", data)
		switch {
		case !Sealed(data):
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("plain data is changed: %v", err)
			}
		case err == nil && len(got) != len(data)-Overhead:
			t.Fatalf("%d bytes of %d", len(got), len(data))
		case err != nil && !errors.Is(err, ErrKey) && !errors.Is(err, ErrDamaged):
			t.Fatal(err)
		}
	})
}
