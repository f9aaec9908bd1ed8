package jetstream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// follow has the writer look when another node has written. What arrives is
// only a hint, without the commit: the writer reads the log itself, in order.
func (s *Store) follow(ctx context.Context) error {
	consumer, err := s.js.OrderedConsumer(ctx, s.names.commits, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverNewPolicy,
		HeadersOnly:   true,
	})
	if err != nil {
		return fmt.Errorf("follow other nodes: %w", err)
	}
	s.following, err = consumer.Consume(func(jetstream.Msg) {
		select {
		case s.remote <- struct{}{}:
		default:
		}
	}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		s.log.Debug("store follows again", "error", err)
	}))
	if err != nil {
		return fmt.Errorf("follow other nodes: %w", err)
	}
	// What was written between loading and following.
	s.remote <- struct{}{}
	return nil
}

func (s *Store) unfollow() {
	if s.following != nil {
		s.following.Stop()
		<-s.following.Closed()
	}
}
