package ingest

import (
	"crypto/sha256"
	"sync"
	"time"

	"belfry/internal/meeting"
)

const (
	// lateFor is how long the events of a client are taken after its attendee was
	// deleted: it tries to send them for some minutes.
	lateFor     = 10 * time.Minute
	maxDeparted = 50_000
)

// departed remembers for a while whose the join tokens of deleted attendees
// were: the last events of a client come after its meeting ended.
type departed struct {
	now func() time.Time

	mu     sync.Mutex
	tokens map[tokenSum]sender
	order  []tokenSum // the oldest first
}

// tokenSum stands for a token: a lookup by the token itself would tell by its
// time how much of a guess is right.
type tokenSum [sha256.Size]byte

func sumOf(token meeting.Secret) tokenSum { return sha256.Sum256([]byte(token.Reveal())) }

// sender is who sent a post.
type sender struct {
	room  Room
	id    string // of the attendee
	until time.Time
}

func (d *departed) add(room Room, gone ...*meeting.Attendee) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for _, a := range gone {
		sum := sumOf(a.JoinToken)
		if _, known := d.tokens[sum]; !known {
			d.order = append(d.order, sum)
		}
		d.tokens[sum] = sender{room: room, id: a.ID, until: now.Add(lateFor)}
	}
	drop := 0
	for drop < len(d.order) && (len(d.order)-drop > maxDeparted || now.After(d.tokens[d.order[drop]].until)) {
		delete(d.tokens, d.order[drop])
		drop++
	}
	d.order = d.order[drop:]
}

func (d *departed) find(token meeting.Secret) (sender, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.tokens[sumOf(token)]
	return s, ok && !d.now().After(s.until)
}
