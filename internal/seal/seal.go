// Package seal makes what Belfry writes to a disk unreadable to whoever has the
// disk and not the operator's master key. It seals whole pieces of data, such as
// one message of the log; what is in them is not its concern.
//
// A sealed piece is AES-256-GCM under a key of its own, which HKDF-SHA256 (RFC
// 5869) makes of the master key and a random salt of 32 bytes: so no number of
// pieces makes it likely that a key and a nonce are used twice. The piece names
// the master key by eight bytes that do not give it away, so that a wrong key is
// told from damage:
//
//	00 "BL1"  | id of the master key, 8 | salt, 32 | ciphertext and tag
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// KeyLen is the length of a master key in bytes.
const KeyLen = 32

const (
	magic    = "\x00BL1" // no text that Belfry writes begins with a zero byte
	idLen    = 8
	saltLen  = 32
	tagLen   = 16
	headLen  = len(magic) + idLen + saltLen
	Overhead = headLen + tagLen // what a sealed piece is longer than the plain one
)

var (
	// ErrKey says that a piece was sealed with a master key that is not at hand.
	ErrKey = errors.New("it is sealed with another master key")
	// ErrDamaged says that a piece is not as it was sealed.
	ErrDamaged = errors.New("what was sealed is damaged")
)

// Key is a master key. It prints as "[redacted]".
type Key struct {
	secret [KeyLen]byte
	id     [idLen]byte
}

// ParseKey reads a master key: 32 bytes in hex or in base64, of either alphabet,
// with or without padding; white space around it is passed over. The error does
// not quote it.
func ParseKey(text string) (*Key, error) {
	text = strings.TrimSpace(text)
	if len(text) == hex.EncodedLen(KeyLen) {
		if raw, err := hex.DecodeString(text); err == nil {
			return newKey(raw), nil
		}
	}
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	raw, err := base64.RawStdEncoding.Strict().DecodeString(plain)
	switch {
	case err != nil || strings.ContainsAny(text, "\r\n"):
		return nil, errors.New("a master key is 32 random bytes in base64 or hex, as `openssl rand -base64 32` prints them; this is neither")
	case len(raw) != KeyLen:
		return nil, fmt.Errorf("a master key is 32 random bytes in base64 or hex, as `openssl rand -base64 32` prints them; this has %d bytes", len(raw))
	}
	return newKey(raw), nil
}

func newKey(secret []byte) *Key {
	k := &Key{}
	copy(k.secret[:], secret)
	copy(k.id[:], k.derive(nil, "belfry master key id", idLen))
	return k
}

// ID names the key without giving it away: 16 hex digits. The ID of no key is "".
func (k *Key) ID() string {
	if k == nil {
		return ""
	}
	return hex.EncodeToString(k.id[:])
}

// String implements fmt.Stringer.
func (k *Key) String() string { return "[redacted]" }

// GoString implements fmt.GoStringer.
func (k *Key) GoString() string { return "[redacted]" }

// LogValue implements slog.LogValuer.
func (k *Key) LogValue() slog.Value { return slog.StringValue("[redacted]") }

func (k *Key) derive(salt []byte, info string, length int) []byte {
	out, err := hkdf.Key(sha256.New, k.secret[:], salt, info, length)
	if err != nil {
		panic("seal: " + err.Error()) // only for lengths that are not used here
	}
	return out
}

func (k *Key) aead(salt []byte) cipher.AEAD {
	block, err := aes.NewCipher(k.derive(salt, "belfry sealed piece", 32))
	if err != nil {
		panic("seal: " + err.Error()) // only for keys of another length
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("seal: " + err.Error())
	}
	return gcm
}

// Ring is the master keys of a server: one that seals, and others that were in
// use before. A nil Ring has none.
type Ring struct {
	current *Key
	old     []*Key
}

// NewRing returns a Ring that seals with current, or not at all when that is nil,
// and opens what it or one of the old keys sealed. Old keys may be nil.
func NewRing(current *Key, old ...*Key) *Ring {
	r := &Ring{current: current}
	for _, k := range old {
		if k != nil {
			r.old = append(r.old, k)
		}
	}
	return r
}

// ID is the Key.ID of the key that seals, "" when there is none.
func (r *Ring) ID() string {
	if r == nil {
		return ""
	}
	return r.current.ID()
}

// Seal seals a piece; without a key the piece stays as it is. Only as the same
// kind, a word such as "commit", can it be opened again.
func (r *Ring) Seal(kind string, plain []byte) []byte {
	if r.ID() == "" {
		return plain
	}
	k := r.current
	out := make([]byte, headLen, Overhead+len(plain))
	copy(out, magic)
	copy(out[len(magic):], k.id[:])
	salt := out[len(magic)+idLen:]
	rand.Read(salt) // never fails
	return k.aead(salt).Seal(out, nonce[:], plain, context(out, kind))
}

// nonce can be the same for all, since no key is used twice.
var nonce [12]byte

func context(head []byte, kind string) []byte {
	return append(bytes.Clone(head[:len(magic)+idLen]), kind...)
}

// Sealed reports whether data looks like something that Seal sealed.
func Sealed(data []byte) bool { return bytes.HasPrefix(data, []byte(magic)) }

// SealedBy is the Key.ID of the key that sealed data, "" when data is plain.
func SealedBy(data []byte) string {
	if !Sealed(data) || len(data) < headLen {
		return ""
	}
	return hex.EncodeToString(data[len(magic) : len(magic)+idLen])
}

// Open is the reverse of Seal. Plain data is given back as it is. The error is
// ErrKey, with the ids of the keys, or ErrDamaged.
func (r *Ring) Open(kind string, data []byte) ([]byte, error) {
	if !Sealed(data) {
		return data, nil
	}
	if len(data) < Overhead {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrDamaged, len(data))
	}
	by := SealedBy(data)
	k, have := r.find(by)
	if k == nil {
		return nil, fmt.Errorf("%w: %s, and %s", ErrKey, by, have)
	}
	salt := data[len(magic)+idLen : headLen]
	plain, err := k.aead(salt).Open(nil, nonce[:], data[headLen:], context(data, kind))
	if err != nil {
		return nil, fmt.Errorf("%w, or is no %s", ErrDamaged, kind)
	}
	return plain, nil
}

// find looks a key up, and says which there are.
func (r *Ring) find(id string) (k *Key, have string) {
	var ids []string
	if r != nil {
		for _, k := range append([]*Key{r.current}, r.old...) {
			if k.ID() == id {
				return k, ""
			}
			if k != nil {
				ids = append(ids, k.ID())
			}
		}
	}
	if len(ids) == 0 {
		return nil, "none is set"
	}
	return nil, "the one that is set is " + strings.Join(ids, " or ")
}
