package app

import (
	"context"
	"crypto/rand"
	"fmt"

	"belfry/internal/meeting"
)

// serverSecret returns a random value that the server keeps for itself, making
// it at the first start. All nodes of a cluster share it through the store.
func serverSecret(ctx context.Context, store meeting.Store, name string) (secret []byte, err error) {
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails: it ends the program instead
	err = store.Update(ctx, func(tx meeting.Tx) error {
		if value, ok := tx.Setting(name); ok {
			secret = value
			return nil
		}
		tx.PutSetting(name, fresh)
		secret = fresh
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keeping the server's %s: %w", name, err)
	}
	return secret, nil
}
