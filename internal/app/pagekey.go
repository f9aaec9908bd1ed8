package app

import "belfry/internal/account"

// newPageKey makes the key that the meeting page signs with while this process
// lives, so that the page goes on whatever is done to the keys of applications.
// Whom the page serves it limits itself, so what it calls is not taken from the
// requests of the account's applications.
func newPageKey(accountID string) (account.Key, error) {
	key, err := account.Generate(nil, accountID)
	key.Unthrottled = true
	return key, err
}
