package app

import (
	"fmt"
	"os"

	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/internal/seal"
)

// masterKeys reads the master keys of the settings: the one that seals what is
// written, none if there is none, and the one that it takes over from.
func masterKeys(cfg config.Config) (*seal.Ring, error) {
	current, err := masterKey("master_key", cfg.MasterKey, cfg.MasterKeyFile)
	if err != nil {
		return nil, err
	}
	old, err := masterKey("master_key_old", cfg.MasterKeyOld, cfg.MasterKeyOldFile)
	if err != nil {
		return nil, err
	}
	return seal.NewRing(current, old), nil
}

func masterKey(setting string, text meeting.Secret, file string) (*seal.Key, error) {
	if file != "" {
		setting += "_file"
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", setting, err)
		}
		text = meeting.Secret(data)
	} else if text == "" {
		return nil, nil
	}
	key, err := seal.ParseKey(text.Reveal())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return key, nil
}
