package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"belfry/internal/life"
	"belfry/internal/meeting"
	"belfry/internal/signaling"
)

// startRecorder begins to write what signaling sees.
func (s *Server) startRecorder(ctx context.Context, store meeting.Store, service *meeting.Service) (*life.Recorder, error) {
	node := ""
	if s.cfg.StoreURL != "" {
		var err error
		if node, err = nodeID(s.cfg.DataDir); err != nil {
			return nil, err
		}
	}
	r, err := life.NewRecorder(ctx, life.RecorderConfig{Store: store, Service: service, Node: node, Logger: s.logger})
	if err != nil {
		return nil, fmt.Errorf("looking for who was joined: %w", err)
	}
	s.started("presence", r.Close)
	return r, nil
}

// presence is a Recorder as signaling wants it.
type presence struct{ to *life.Recorder }

// Presence implements signaling.Events.
func (p presence) Presence(e signaling.Presence) {
	one := meeting.Sighting{Type: e.Type, At: e.At, MeetingID: e.Attendee.MeetingID, AttendeeID: e.Attendee.ID}
	if e.Type.Content() {
		one.AttendeeID += meeting.ContentSuffix
	}
	p.to.Record(one)
}

// startKeeper begins to end meetings whose time has come. It is started after
// signaling, which tells their clients.
func (s *Server) startKeeper(ctx context.Context, store meeting.Store, service *meeting.Service, seen *life.Recorder) error {
	k, err := life.NewKeeper(ctx, life.KeeperConfig{
		Store: store, Service: service, Spare: seen.Waits, Logger: s.logger, Metrics: s.registry,
		Rules: meeting.Lifetime{Idle: s.cfg.MeetingIdleTimeout, Lone: s.cfg.MeetingLoneTimeout, Max: s.cfg.MeetingMaxDuration},
	})
	if err != nil {
		return fmt.Errorf("looking for meetings to end: %w", err)
	}
	s.started("life", k.Close)
	return nil
}

// nodeFile keeps the name of a server among those that share a store.
const nodeFile = "node"

// nodeID takes the name from the data directory, or makes one and keeps it.
func nodeID(dir string) (string, error) {
	path := filepath.Join(dir, nodeFile)
	text, err := os.ReadFile(path)
	if err == nil {
		if id := strings.TrimSpace(string(text)); id != "" {
			return id, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := rand.Text()
	if err := os.WriteFile(path, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keeping the name of this server: %w", err)
	}
	return id, nil
}
