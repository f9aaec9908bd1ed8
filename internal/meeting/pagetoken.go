package meeting

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// A page token is the Seq of the last item of the page, sealed together with
// what the list was of, so that it can be used for the same list alone. Its
// bytes are the Seq and a MAC, in base64url.
const (
	pageKeySetting = "page-token-key"
	pageMACLen     = 16
	pageTokenLen   = 32 // in characters, of 8 + pageMACLen bytes
)

// pageScope is what a list is of.
type pageScope struct{ operation, account, meetingID string }

// openPage reads what page asks for: the Seq to go on after, and how many items.
func (s *Service) openPage(ctx context.Context, scope pageScope, page Page) (after uint64, limit int, err error) {
	limit = page.Max
	if limit == 0 {
		limit = maxPage
	}
	if limit < 1 || limit > maxPage {
		return 0, 0, Errorf(CodeBadRequest, "MaxResults must be between 1 and %d", maxPage)
	}
	if page.Token == "" {
		return 0, limit, nil
	}
	key, err := s.loadPageKey(ctx)
	if err != nil {
		return 0, 0, err
	}
	if len(page.Token) == pageTokenLen {
		raw, err := base64.RawURLEncoding.DecodeString(page.Token)
		if err == nil && len(raw) == 8+pageMACLen {
			seq := binary.BigEndian.Uint64(raw)
			if hmac.Equal(raw[8:], scope.mac(key, seq)) {
				return seq, limit, nil
			}
		}
	}
	return 0, 0, Errorf(CodeBadRequest, "NextToken is not one that this list gave out")
}

// nextPage is the token of the page that begins after seq.
func (s *Service) nextPage(ctx context.Context, scope pageScope, seq uint64) (string, error) {
	key, err := s.loadPageKey(ctx)
	if err != nil {
		return "", err
	}
	raw := binary.BigEndian.AppendUint64(nil, seq)
	return base64.RawURLEncoding.EncodeToString(append(raw, scope.mac(key, seq)...)), nil
}

func (p pageScope) mac(key []byte, seq uint64) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range []string{p.operation, p.account, p.meetingID} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	h.Write(binary.BigEndian.AppendUint64(nil, seq))
	return h.Sum(nil)[:pageMACLen]
}

// loadPageKey returns the key of all page tokens. The first who needs it makes
// it; it is kept, so tokens outlive a restart.
func (s *Service) loadPageKey(ctx context.Context) ([]byte, error) {
	s.pageKeyMu.Lock()
	defer s.pageKeyMu.Unlock()
	if s.pageKey != nil {
		return s.pageKey, nil
	}
	var key []byte
	err := s.store.View(ctx, func(r Reader) error {
		key, _ = r.Setting(pageKeySetting)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if key == nil {
		fresh := make([]byte, sha256.Size)
		rand.Read(fresh) // never fails
		err = s.store.Update(ctx, func(tx Tx) error {
			var ok bool
			if key, ok = tx.Setting(pageKeySetting); !ok {
				key = fresh
				tx.PutSetting(pageKeySetting, fresh)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	s.pageKey = key
	return key, nil
}
