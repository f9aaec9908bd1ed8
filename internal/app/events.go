package app

import (
	"context"
	"fmt"
	"os"

	"belfry/internal/meeting"
	"belfry/internal/notify"
)

// startEvents begins to deliver the events that are in the store.
func (s *Server) startEvents(ctx context.Context, store meeting.Store) (*notify.Notifier, error) {
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
		Shared: s.cfg.StoreURL != "", // the embedded one is locked to this process
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
	return n, nil
}
