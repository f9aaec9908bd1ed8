package app

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"belfry/internal/account"
	"belfry/internal/config"
	"belfry/internal/meeting"
)

// keyPair is what AWS clients sign with.
type keyPair struct {
	ID        string
	Secret    meeting.Secret
	Generated bool // made by Belfry, so shown once at each start
}

// credentialsFile is in the form of AWS's shared credentials file, so a client
// can be pointed at it with AWS_SHARED_CREDENTIALS_FILE.
const credentialsFile = "credentials"

// loadKeyPair takes the key pair of the configuration, else the one that was
// generated at an earlier start, else makes one and keeps it.
func loadKeyPair(cfg config.Config) (keyPair, error) {
	if cfg.AccessKeyID != "" {
		return keyPair{ID: cfg.AccessKeyID, Secret: cfg.SecretAccessKey}, nil
	}
	path := filepath.Join(cfg.DataDir, credentialsFile)
	key, err := readKeyPair(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	made, err := account.Generate(rand.Reader, cfg.Account)
	if err != nil {
		return keyPair{}, err
	}
	key = keyPair{ID: made.ID, Secret: made.Secret, Generated: true}
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key.ID, key.Secret.Reveal())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return keyPair{}, fmt.Errorf("keeping the generated key pair: %w", err)
	}
	return key, nil
}

func readKeyPair(path string) (keyPair, error) {
	f, err := os.Open(path)
	if err != nil {
		return keyPair{}, err
	}
	defer f.Close()
	key := keyPair{Generated: true}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			key.ID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			key.Secret = meeting.Secret(strings.TrimSpace(value))
		}
	}
	if key.ID == "" || key.Secret == "" {
		return keyPair{}, fmt.Errorf("%s holds no key pair; delete it to have a new one made", path)
	}
	return key, nil
}
