package app

import (
	"bufio"
	"bytes"
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
	"belfry/internal/seal"
)

// keyPair is what AWS clients sign with.
type keyPair struct {
	ID        string
	Secret    meeting.Secret
	Generated bool // made by Belfry, so shown once at each start
}

// credentialsFile is in the form of AWS's shared credentials file, so a client
// can be pointed at it with AWS_SHARED_CREDENTIALS_FILE. With a master key the
// file is sealed, and so for nobody but the server.
const credentialsFile = "credentials"

// loadKeyPair takes the key pair of the configuration, else the one that was
// generated at an earlier start, else makes one and keeps it.
func loadKeyPair(cfg config.Config, keys *seal.Ring) (keyPair, error) {
	// A start that was killed may have left it, in a form that is not wanted now.
	if err := os.Remove(filepath.Join(cfg.DataDir, credentialsFile+".new")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return keyPair{}, fmt.Errorf("removing what is left of an earlier start: %w", err)
	}
	if cfg.AccessKeyID != "" {
		return keyPair{ID: cfg.AccessKeyID, Secret: cfg.SecretAccessKey}, sealKeyPair(cfg, keys)
	}
	path := filepath.Join(cfg.DataDir, credentialsFile)
	key, sealedBy, err := readKeyPair(path, keys)
	if err == nil && sealedBy == keys.ID() {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return keyPair{}, err
	}
	if err != nil {
		made, err := account.Generate(rand.Reader, cfg.Account)
		if err != nil {
			return keyPair{}, err
		}
		key = keyPair{ID: made.ID, Secret: made.Secret, Generated: true}
	}
	return key, writeKeyPair(path, key, keys)
}

// sealKeyPair does for a key pair that was generated once, and is not used now,
// what loadKeyPair does for one that is.
func sealKeyPair(cfg config.Config, keys *seal.Ring) error {
	path := filepath.Join(cfg.DataDir, credentialsFile)
	key, sealedBy, err := readKeyPair(path, keys)
	if err != nil || sealedBy == keys.ID() {
		return nil // nothing there, or nothing that will be read
	}
	return writeKeyPair(path, key, keys)
}

func writeKeyPair(path string, key keyPair, keys *seal.Ring) error {
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key.ID, key.Secret.Reveal())
	if err := replaceFile(path, keys.Seal(credentialsFile, []byte(text))); err != nil {
		return fmt.Errorf("keeping the generated key pair: %w", err)
	}
	return nil
}

// replaceFile writes a file such that there never is half of it in the place of
// what was there.
func replaceFile(path string, data []byte) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return os.Rename(next, path)
}

// readKeyPair also says which master key the file is sealed with, "" for none.
func readKeyPair(path string, keys *seal.Ring) (key keyPair, sealedBy string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return keyPair{}, "", err
	}
	sealedBy = seal.SealedBy(data)
	if data, err = keys.Open(credentialsFile, data); err != nil {
		return keyPair{}, "", fmt.Errorf("reading %s: %w", path, err)
	}
	key.Generated = true
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			key.ID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			key.Secret = meeting.Secret(strings.TrimSpace(value))
		}
	}
	if key.ID == "" || key.Secret == "" {
		return keyPair{}, "", fmt.Errorf("%s holds no key pair; delete it to have a new one made", path)
	}
	return key, sealedBy, nil
}
