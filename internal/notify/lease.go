package notify

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"belfry/internal/meeting"
)

// leaseName is the Setting that says which node delivers.
const leaseName = "events/owner"

// lease is the value of the Setting. The clocks of nodes are not compared: whoever
// has seen the same lease for its whole length, by its own clock, may take it,
// and the holder stops after two thirds of that without a renewal.
type lease struct {
	Holder string `json:"holder"` // "" when it was given back
	Turn   uint64 `json:"turn"`   // rises with each renewal
}

var errTaken = errors.New("another node has the lease")

func readLease(r meeting.Reader) (l lease) {
	if value, ok := r.Setting(leaseName); ok {
		_ = json.Unmarshal(value, &l) // what cannot be read belongs to nobody
	}
	return l
}

// change writes the lease that follows the one that is there, or fails with
// errTaken when that is not what may be followed.
func (n *Notifier) change(ctx context.Context, holder string, may func(lease) bool) error {
	return n.cfg.Store.Update(ctx, func(tx meeting.Tx) error {
		now := readLease(tx)
		if !may(now) {
			return errTaken
		}
		value, err := json.Marshal(lease{Holder: holder, Turn: now.Turn + 1})
		if err != nil {
			return err
		}
		tx.PutSetting(leaseName, value)
		return nil
	})
}

func (n *Notifier) isMine(l lease) bool { return l.Holder == n.holder }

// hold takes the lease when it is free, and renews it while it delivers. It is
// the goroutine that owns n.term until Close.
func (n *Notifier) hold(ctx context.Context) {
	defer close(n.held)
	var seen lease
	since := time.Now()
	for ctx.Err() == nil {
		if n.term == nil {
			var now lease
			err := n.cfg.Store.View(ctx, func(r meeting.Reader) error { now = readLease(r); return nil })
			if err == nil {
				if now != seen {
					seen, since = now, time.Now()
				}
				if now.Holder == "" || n.isMine(now) || time.Since(since) >= n.cfg.Lease {
					n.take(ctx, now)
				}
			}
		} else {
			n.renew(ctx)
		}
		select {
		case <-time.After(n.cfg.Lease / 6):
		case <-ctx.Done():
		}
	}
}

// valid is how long a lease may be used that was asked for at some time.
func (n *Notifier) valid(asked time.Time) time.Duration {
	return n.cfg.Lease*2/3 - time.Since(asked)
}

// take makes this node the one that delivers, if the lease still is what was
// seen.
func (n *Notifier) take(ctx context.Context, seen lease) {
	asked := time.Now()
	limited, cancel := context.WithTimeout(ctx, n.cfg.Lease/3)
	defer cancel()
	err := n.change(limited, n.holder, func(now lease) bool { return now == seen })
	if err == nil {
		n.term, err = n.begin(ctx, max(n.valid(asked), time.Nanosecond))
	}
	switch {
	case err == nil:
		n.metrics.owner.Set(1)
		n.log.Info("this node delivers events")
	case !errors.Is(err, errTaken) && ctx.Err() == nil:
		n.log.Warn("the delivery of events could not be taken over; it will be tried again", "error", err)
	}
}

// renew puts the end of the term off, or ends it when the lease is lost.
func (n *Notifier) renew(ctx context.Context) {
	asked := time.Now()
	limited, cancel := context.WithTimeout(ctx, n.cfg.Lease/3)
	err := n.change(limited, n.holder, n.isMine)
	cancel()
	if err == nil && n.term.expiry.Stop() {
		n.term.expiry.Reset(max(n.valid(asked), time.Nanosecond))
		return
	}
	if ctx.Err() != nil || n.term.ctx.Err() == nil && !errors.Is(err, errTaken) {
		return // closing, or there is time for another try
	}
	n.log.Warn("this node delivers no events any more: its lease was not renewed in time", "error", err)
	n.metrics.owner.Set(0)
	// What was delivered is delivered, whoever has the lease; but the store may be
	// what is away.
	limited, cancel = context.WithTimeout(ctx, n.cfg.Lease/3)
	defer cancel()
	if err := n.term.end(limited); err != nil && ctx.Err() == nil {
		n.log.Warn("the progress of event delivery could not be written; some events will be sent again", "error", err)
	}
	n.term = nil
}

// release gives the lease back, so that another node need not wait.
func (n *Notifier) release(ctx context.Context) error {
	err := n.change(ctx, "", n.isMine)
	if errors.Is(err, errTaken) {
		return nil
	}
	return err
}
