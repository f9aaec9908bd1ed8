package app

import (
	"context"
	"net/http"

	"belfry/internal/control"
	"belfry/internal/ingest"
	"belfry/internal/meeting"
)

// startClientEvents takes what browser clients report, and keeps it.
func (s *Server) startClientEvents(service *meeting.Service, store meeting.Store) (http.Handler, error) {
	if s.cfg.ClientEvents > 0 {
		archive, err := ingest.OpenArchive(control.ClientEventsDir(s.cfg.DataDir), ingest.Limits{
			MeetingEvents: s.cfg.ClientEvents, MeetingBytes: int64(s.cfg.ClientEventsMiB) << 20,
			Bytes: int64(s.cfg.ClientEventsTotalMiB) << 20, Age: s.cfg.ClientEventsAge,
		}, s.logger, s.registry)
		if err != nil {
			return nil, err
		}
		s.archive = archive
		s.started("client events", archive.Close)
	}
	h := ingest.New(service, s.archive, s.registry)
	unwatch := store.Watch(h.Committed)
	s.started("client events' watch", func(context.Context) error { unwatch(); return nil })
	return h, nil
}
