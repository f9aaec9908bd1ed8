package storetest

import (
	"context"
	"sync"
	"testing"

	"belfry/internal/meeting"
)

// testConcurrent has many writers at once, some of which fail, and readers that
// look for anything half done.
func testConcurrent(t *testing.T, o Opener) {
	s := open(t, o)
	const writers, each = 16, 20
	update(t, s, func(tx meeting.Tx) { tx.PutMeeting(newMeeting(0)) })
	var mu sync.Mutex
	var order []uint64 // Seqs as the watcher saw them
	defer s.Watch(func(c meeting.Commit) {
		mu.Lock()
		defer mu.Unlock()
		for _, ch := range c.Changes {
			if ch.AttendeePut != nil {
				order = append(order, ch.AttendeePut.Seq)
			}
		}
	})()
	stop := make(chan struct{})
	var readers, all sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			view(t, s, func(r meeting.Reader) {
				list := r.Attendees(id('m', 0), 0, writers*each*2)
				if len(list)%2 != 0 || len(list) != r.AttendeeCount(id('m', 0)) {
					t.Errorf("half a commit is visible: %d attendees, count %d", len(list), r.AttendeeCount(id('m', 0)))
				}
			})
		}
	})
	for w := range writers {
		all.Go(func() {
			for k := range each {
				n := (w*each + k) * 2
				err := s.Update(context.Background(), func(tx meeting.Tx) error {
					tx.PutAttendee(newAttendee(0, n))
					if k%5 == 4 {
						return errRefused
					}
					tx.PutAttendee(newAttendee(0, n+1))
					return nil
				})
				if (k%5 == 4) != (err == errRefused) || k%5 != 4 && err != nil {
					t.Errorf("writer %d, update %d: %v", w, k, err)
				}
				if err == nil {
					view(t, s, func(r meeting.Reader) {
						if !has(r.Attendee(id('m', 0), id('a', n))) {
							t.Error("Update returned before its write was visible")
						}
					})
				}
			}
		})
	}
	all.Wait()
	close(stop)
	readers.Wait()
	view(t, s, func(r meeting.Reader) {
		list := r.Attendees(id('m', 0), 0, writers*each*2)
		equal(t, "attendees", len(list), writers*each/5*4*2)
		var seqs []uint64
		for i, a := range list {
			seqs = append(seqs, a.Seq)
			if i > 0 && a.Seq <= list[i-1].Seq {
				t.Fatalf("not in order: Seq %d after %d", a.Seq, list[i-1].Seq)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		equal(t, "order of the watcher's calls", order, seqs)
	})
}

// testOneToken races 50 callers that each make the meeting of one token.
func testOneToken(t *testing.T, o Opener) {
	s := open(t, o)
	made := make([]string, 50)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			err := s.Update(context.Background(), func(tx meeting.Tx) error {
				if m, ok := tx.MeetingByToken(account, "one"); ok {
					made[i] = m.ID
					return nil
				}
				m := newMeeting(i)
				m.ClientRequestToken = "one"
				made[i] = tx.PutMeeting(m).ID
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, got := range made {
		if got != made[0] || got == "" {
			t.Fatalf("meetings made: %q", made)
		}
	}
	view(t, s, func(r meeting.Reader) { equal(t, "count", r.MeetingCount(account), 1) })
}
