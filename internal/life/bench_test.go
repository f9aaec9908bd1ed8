package life

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/store/memory"
)

// crowded is a store of many meetings, which nobody is in.
func crowded(b *testing.B, n int, created time.Time) (meeting.Store, *meeting.Service) {
	b.Helper()
	store := memory.New()
	err := store.Update(b.Context(), func(tx meeting.Tx) error {
		for i := range n {
			id := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
			tx.PutMeeting(&meeting.Meeting{ID: id, Account: account, CreatedAt: created})
			tx.PutAttendee(&meeting.Attendee{ID: "a" + id[1:], MeetingID: id, ExternalUserID: "u", CreatedAt: created})
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return store, meeting.NewService(store, meeting.ServiceOptions{})
}

const many = 100_000

// BenchmarkKeeper has 100,000 meetings: what it takes to begin with them, what
// one joining and leaving costs, and how fast all end that are overdue.
func BenchmarkKeeper(b *testing.B) {
	ctx := context.Background()
	start := func(b *testing.B, store meeting.Store, service *meeting.Service, rules meeting.Lifetime) *Keeper {
		k, err := NewKeeper(ctx, KeeperConfig{Store: store, Service: service, Rules: rules})
		if err != nil {
			b.Fatal(err)
		}
		return k
	}
	b.Run("start", func(b *testing.B) {
		store, service := crowded(b, many, time.Now())
		var before, after runtime.MemStats
		for b.Loop() {
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&before)
			b.StartTimer()
			k := start(b, store, service, rules)
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&after)
			if n := k.watched.Load(); n != many {
				b.Fatalf("%d meetings are watched", n)
			}
			_ = k.Close(ctx)
			b.StartTimer()
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/many, "B/meeting")
	})
	b.Run("join and leave", func(b *testing.B) {
		store, service := crowded(b, many, time.Now())
		k := start(b, store, service, rules)
		for n := 0; b.Loop(); n++ {
			id := fmt.Sprintf("00000000-0000-4000-8000-%012d", n%many)
			one := meeting.Sighting{Type: meeting.EventAttendeeJoined, At: time.Now(), MeetingID: id, AttendeeID: "a" + id[1:]}
			two := one
			two.Type = meeting.EventAttendeeLeft
			if err := service.Sight(ctx, "", []meeting.Sighting{one, two}); err != nil {
				b.Fatal(err)
			}
		}
		_ = k.Close(ctx)
	})
	b.Run("all overdue", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			store, service := crowded(b, many, time.Now().Add(-25*time.Hour))
			b.StartTimer()
			k := start(b, store, service, rules)
			for left := 1; left > 0; time.Sleep(time.Millisecond) {
				_ = store.View(ctx, func(r meeting.Reader) error { left = r.MeetingCount(account); return nil })
			}
			b.StopTimer()
			_ = k.Close(ctx)
			b.StartTimer()
		}
		b.ReportMetric(float64(b.N)*many/b.Elapsed().Seconds(), "meetings/s")
	})
}
