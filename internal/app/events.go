package app

import (
	"context"
	"fmt"
	"os"

	"belfry/internal/meeting"
	"belfry/internal/notify"
	"belfry/internal/signaling"
)

// startEvents begins to deliver the events that are in the store, and to write
// there what signaling sees.
func (s *Server) startEvents(ctx context.Context, store meeting.Store, service *meeting.Service) (signaling.Events, error) {
	own, err := notify.ParseOwn(s.cfg.EventEndpoints)
	if err != nil {
		return nil, fmt.Errorf("event_endpoints: %w", err)
	}
	aws := notify.AWS{
		Credentials: notify.Credentials(os.Getenv),
		Endpoints:   notify.Endpoints{Own: own, Getenv: os.Getenv, AWS: s.cfg.EventAWS == "on"},
	}
	n, err := notify.Start(ctx, notify.Config{
		Store: store, Logger: s.logger, Metrics: s.registry,
		Senders: map[meeting.TargetKind]notify.Sender{
			meeting.TargetSQS:     notify.Queues(aws),
			meeting.TargetSNS:     notify.Topics(aws),
			meeting.TargetLambda:  notify.Functions(aws),
			meeting.TargetWebhook: notify.Webhooks{URLs: s.cfg.EventWebhooks, Secret: s.cfg.EventWebhookSecret}.Sender(),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("starting the delivery of events: %w", err)
	}
	s.started("events", n.Close)
	r := notify.NewRecorder(store, s.logger)
	s.started("presence", r.Close)
	s.startControl(deadLetterCommands(n), s.accountCommands(service))
	return presence{r}, nil
}

// presence is a Recorder as signaling wants it.
type presence struct{ to *notify.Recorder }

// Presence implements signaling.Events.
func (p presence) Presence(e signaling.Presence) { p.to.Record(e.Type, e.At, e.Meeting, e.Attendee) }
