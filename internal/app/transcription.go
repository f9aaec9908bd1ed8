package app

import (
	"context"
	"fmt"

	"belfry/internal/media"
	"belfry/internal/meeting"
	"belfry/internal/signaling"
	"belfry/internal/transcribe"
)

// startTranscription has meetings transcribed if there is an engine for it. It
// tells attendees by signaling, so it is started after that and stopped before.
func (s *Server) startTranscription(ctx context.Context, store meeting.Store, service *meeting.Service, conferences *media.Server, sockets *signaling.Server) error {
	if s.cfg.TranscribeEngine == "" {
		return nil
	}
	t, err := transcribe.Start(ctx, transcribe.Config{
		Engine: s.cfg.TranscribeEngine, Store: store, Reports: service, Ears: conferences, Audience: sockets,
		Logger: s.logger, Metrics: s.registry,
	})
	if err != nil {
		return fmt.Errorf("starting transcription: %w", err)
	}
	s.started("transcription", t.Close)
	return nil
}
