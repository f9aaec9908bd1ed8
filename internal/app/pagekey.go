package app

import "belfry/internal/account"

// newPageKey makes the key that the meeting page signs with while this process
// lives. Whom the page serves it limits itself, so what it calls is not taken
// from the requests of the account's applications.
func newPageKey(accountID string) (account.Key, error) {
	key, err := account.Generate(nil, accountID)
	key.Unthrottled = true
	return key, err
}

// withKey is a keyring with one key more.
type withKey struct {
	account.Keyring
	key account.Key
}

// Lookup implements account.Keyring.
func (w withKey) Lookup(accessKeyID string) (account.Key, bool) {
	if accessKeyID == w.key.ID {
		return w.key, true
	}
	return w.Keyring.Lookup(accessKeyID)
}
