package meeting

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strings"
)

// quotaSettings is before the account in the name of the Setting that keeps
// what was set for it: a JSON object of quota names and values. What it lacks is
// as the server's settings say, also when they change.
const quotaSettings = "quotas/"

// ownQuotas is a Setting, decoded.
type ownQuotas struct {
	raw    []byte
	quotas Quotas
}

// Quotas returns what an account may use now. It answers from memory: requests
// and data messages are held to it.
func (s *Service) Quotas(account string) Quotas {
	q := s.opt.Quotas // also while the store cannot be read
	_ = s.store.View(context.Background(), func(r Reader) error {
		q = s.quotasOf(r, account)
		return nil
	})
	return q
}

func (s *Service) quotasOf(r Reader, account string) Quotas {
	raw, ok := r.Setting(quotaSettings + account)
	if !ok {
		return s.opt.Quotas
	}
	if known, ok := s.decoded.Load(account); ok && bytes.Equal(known.(*ownQuotas).raw, raw) {
		return known.(*ownQuotas).quotas
	}
	q := s.opt.Quotas.with(decodeQuotas(raw))
	s.decoded.Store(account, &ownQuotas{bytes.Clone(raw), q})
	return q
}

func decodeQuotas(raw []byte) map[string]int {
	own := map[string]int{}
	_ = json.Unmarshal(raw, &own) // only setQuotas writes it
	return own
}

// AccountQuotas is what an account may use and uses.
type AccountQuotas struct {
	Account  string
	Quotas   Quotas
	Own      map[string]int // what of Quotas was set for this account, by name
	Meetings int            // that it has now
}

// AccountQuotas tells of one account, known or not.
func (s *Service) AccountQuotas(ctx context.Context, account string) (AccountQuotas, error) {
	out := AccountQuotas{Account: account}
	err := s.store.View(ctx, func(r Reader) error {
		raw, _ := r.Setting(quotaSettings + account)
		out.Quotas, out.Own, out.Meetings = s.quotasOf(r, account), decodeQuotas(raw), r.MeetingCount(account)
		return nil
	})
	return out, err
}

// AccountsWithQuotas lists the accounts that have quotas of their own, sorted.
func (s *Service) AccountsWithQuotas(ctx context.Context) (accounts []string, err error) {
	err = s.store.View(ctx, func(r Reader) error {
		for _, name := range r.SettingNames(quotaSettings) {
			accounts = append(accounts, strings.TrimPrefix(name, quotaSettings))
		}
		return nil
	})
	return accounts, err
}

// SetQuotas gives an account quotas of its own, by name; what it has of others
// stays. They hold from the next request on, for nodes that share the store too.
// One that does not exist or is out of bounds is CodeBadRequest.
func (s *Service) SetQuotas(ctx context.Context, account string, values map[string]int) error {
	for name, v := range values {
		k, err := FindQuota(name)
		if err == nil {
			err = k.Check(v)
		}
		if err != nil {
			return err
		}
	}
	return s.changeQuotas(ctx, account, func(own map[string]int) { maps.Copy(own, values) })
}

// ResetQuotas takes quotas of its own from an account, all when none is named.
func (s *Service) ResetQuotas(ctx context.Context, account string, names ...string) error {
	for _, name := range names {
		if _, err := FindQuota(name); err != nil {
			return err
		}
	}
	return s.changeQuotas(ctx, account, func(own map[string]int) {
		for _, name := range names {
			delete(own, name)
		}
		if len(names) == 0 {
			clear(own)
		}
	})
}

func (s *Service) changeQuotas(ctx context.Context, account string, change func(own map[string]int)) error {
	return s.store.Update(ctx, func(tx Tx) error {
		raw, _ := tx.Setting(quotaSettings + account)
		own := decodeQuotas(raw)
		change(own)
		if len(own) == 0 {
			tx.DeleteSetting(quotaSettings + account)
			return nil
		}
		value, err := json.Marshal(own)
		if err != nil {
			return err
		}
		tx.PutSetting(quotaSettings+account, value)
		return nil
	})
}
