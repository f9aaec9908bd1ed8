package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"belfry/internal/meeting"
)

// ErrNoDeadLetter says that there is no dead letter with this Seq (any more).
var ErrNoDeadLetter = errors.New("there is no such dead letter")

// DeadLetters lists what targets did not take in time, oldest first, after a
// Seq.
func (n *Notifier) DeadLetters(ctx context.Context, after uint64, limit int) (list []meeting.DeadLetter, err error) {
	err = n.cfg.Store.View(ctx, func(r meeting.Reader) error {
		list = r.DeadLetters(after, limit)
		return nil
	})
	return list, err
}

// Replay sends a dead letter again, once and out of its order, and forgets it
// when the target took it.
func (n *Notifier) Replay(ctx context.Context, seq uint64) error {
	if seq == 0 {
		return ErrNoDeadLetter
	}
	list, err := n.DeadLetters(ctx, seq-1, 1)
	if err != nil {
		return err
	}
	if len(list) == 0 || list[0].Seq != seq {
		return ErrNoDeadLetter
	}
	try, cancel := context.WithTimeout(ctx, n.cfg.Attempt)
	defer cancel()
	if err := n.cfg.send(try, list[0].Target, list[0].Event); err != nil {
		n.metrics.failed(list[0].Target.Kind)
		return errors.New(reasonOf(err, list[0].Target))
	}
	err = n.cfg.Store.Update(ctx, func(tx meeting.Tx) error {
		tx.DeleteDeadLetter(seq)
		return nil
	})
	if err != nil {
		return fmt.Errorf("it was sent, and is kept all the same: %w", err)
	}
	return nil
}

// Discard forgets dead letters, some thousand in a step. Those that are not there
// are passed over.
func (n *Notifier) Discard(ctx context.Context, seqs []uint64) error {
	for chunk := range slices.Chunk(seqs, discardStep) {
		err := n.cfg.Store.Update(ctx, func(tx meeting.Tx) error {
			for _, seq := range chunk {
				tx.DeleteDeadLetter(seq)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// discardStep is how many dead letters one commit forgets.
const discardStep = 1000

// Describe names a target for the operator: by its ARN, or a webhook's host.
func Describe(t meeting.Target) string {
	if t.Kind == meeting.TargetWebhook {
		return label(t)
	}
	return t.Address
}
