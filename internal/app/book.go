package app

import (
	"context"

	"belfry/internal/account"
	"belfry/internal/api"
	"belfry/internal/config"
	"belfry/internal/meeting"
)

// openBook makes the keyring of this server, which has the key of the settings,
// or the generated one, that of the meeting page, and those in the store.
func (s *Server) openBook(ctx context.Context, store meeting.Store) (*account.Book, error) {
	from := account.FromSettings
	if s.key.Generated {
		from = account.Generated
	}
	given := []account.Given{{Key: account.Key{ID: s.key.ID, Secret: s.key.Secret, Account: s.cfg.Account}, From: from}}
	// A public URL says that others reach this server, by a proxy on this machine.
	private := s.cfg.PublicURL == "" && config.OnLoopback(s.listener.Addr().String())
	if s.pageOn = s.cfg.Page == "on" || (s.cfg.Page == "auto" && private); s.pageOn {
		key, err := newPageKey(s.cfg.Account)
		if err != nil {
			return nil, err
		}
		s.pageKey = key
		given = append(given, account.Given{Key: key, From: account.Own})
	}
	book, err := account.NewBook(store, api.Operations(), nil, given...)
	if err != nil {
		return nil, err
	}
	list, err := book.List(ctx)
	if err != nil {
		return nil, err
	}
	s.keyIs = list[0].State // the first that was given
	return book, nil
}
