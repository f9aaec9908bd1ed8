package bench

import (
	"context"
	"time"

	"belfry/internal/bench/client"
)

// Guest is one more in a meeting of Belfry, muted and without a camera: by it a browser
// there is not one of two, for whom clients leave simulcast off. It comes back when the
// guest hears; leave takes it out again.
func Guest(ctx context.Context, signaling, token, ip string) (leave func(), err error) {
	identity, err := client.NewIdentity()
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{IP: ip, Identity: identity})
	if err != nil {
		return nil, err
	}
	l, err := dial(ctx, signaling, token)
	if err != nil {
		c.Close()
		return nil, err
	}
	m := &belfryMember{line: l, client: c}
	if err := m.Negotiate(ctx, Wants{Audio: true}); err != nil {
		m.Leave()
		return nil, err
	}
	pace := client.NewPace()
	pace.Add(c, true)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		beat := time.NewTicker(5 * time.Second)
		defer beat.Stop()
		for {
			select {
			case <-quit:
				return
			case <-beat.C:
				m.Beat()
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		pace.Stop()
		m.Leave()
	}, nil
}
