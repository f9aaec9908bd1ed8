package jetstream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"belfry/internal/meeting"
)

// singleSyncs measures how many single writes a second the disk under dir syncs,
// one after the other: what a store that syncs each write by itself could do.
func singleSyncs(tb testing.TB, dir string) float64 {
	f, err := os.OpenFile(filepath.Join(dir, "syncs"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 512)
	begun, n := time.Now(), 0
	for ; time.Since(begun) < 500*time.Millisecond; n++ {
		if _, err := f.Write(block); err != nil {
			tb.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			tb.Fatal(err)
		}
	}
	return float64(n) / time.Since(begun).Seconds()
}

// benchDir is on a real disk: a temporary directory in memory would have no
// syncs to share. BELFRY_BENCH_DIR names another.
func benchDir(b *testing.B) string {
	parent := os.Getenv("BELFRY_BENCH_DIR")
	dir, err := os.MkdirTemp(parent, "belfry-bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func benchService(b *testing.B) (*meeting.Service, *Store, string) {
	dir := benchDir(b)
	s, err := Open(context.Background(), Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return meeting.NewService(s, meeting.ServiceOptions{}), s, dir
}

const benchAccount = "123456789012"

// BenchmarkWrites makes attendees from so many clients at once and reports the
// rate as a multiple of the disk's single syncs.
func BenchmarkWrites(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			svc, s, dir := benchService(b)
			ctx := context.Background()
			meetings := make([]string, clients)
			for i := range meetings {
				m, err := svc.CreateMeeting(ctx, benchAccount, meeting.NewMeeting{ClientRequestToken: fmt.Sprint(i)})
				if err != nil {
					b.Fatal(err)
				}
				meetings[i] = m.ID
			}
			syncs := singleSyncs(b, dir)
			before := s.messages()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range clients {
				wg.Go(func() {
					for k := 0; next.Add(1) <= int64(b.N); k++ {
						user := fmt.Sprint(k)
						a, err := svc.CreateAttendee(ctx, benchAccount, meetings[c], meeting.NewAttendee{ExternalUserID: user})
						if meeting.CodeOf(err) == meeting.CodeLimitExceeded {
							m, err := svc.CreateMeeting(ctx, benchAccount, meeting.NewMeeting{ClientRequestToken: fmt.Sprint(c, k)})
							if err != nil {
								b.Error(err)
								return
							}
							meetings[c] = m.ID
							continue
						}
						if err != nil || a.ExternalUserID != user {
							b.Error(a, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			rate := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate, "writes/s")
			b.ReportMetric(syncs, "disk-syncs/s")
			b.ReportMetric(rate/syncs, "x-disk")
			b.ReportMetric(float64(b.N)/float64(s.messages()-before), "writes/message")
		})
	}
}

// messages is how many messages were ever appended to the log.
func (s *Store) messages() uint64 {
	info, err := s.commits.Info(context.Background())
	if err != nil {
		return 0
	}
	return info.State.LastSeq
}

// BenchmarkBatch makes 100 attendees with one call.
func BenchmarkBatch(b *testing.B) {
	svc, s, _ := benchService(b)
	ctx := context.Background()
	var in []meeting.NewAttendee
	for i := range 100 {
		in = append(in, meeting.NewAttendee{ExternalUserID: fmt.Sprint("user-", i)})
	}
	before := s.messages()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		m, err := svc.CreateMeeting(ctx, benchAccount, meeting.NewMeeting{ClientRequestToken: fmt.Sprint(i)})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if made, failed, err := svc.BatchCreateAttendee(ctx, benchAccount, m.ID, in); err != nil || len(made) != 100 {
			b.Fatal(failed, err)
		}
	}
	b.ReportMetric(float64(s.messages()-before)/float64(b.N)-1, "messages/batch")
}

// BenchmarkReads reads with 100,000 attendees there.
func BenchmarkReads(b *testing.B) {
	svc, _, _ := benchService(b)
	ctx := context.Background()
	var in []meeting.NewAttendee
	for i := range 100 {
		in = append(in, meeting.NewAttendee{ExternalUserID: fmt.Sprint("user-", i)})
	}
	var someone *meeting.Attendee
	for i := range 1000 {
		m, err := svc.CreateMeeting(ctx, benchAccount, meeting.NewMeeting{ClientRequestToken: fmt.Sprint(i)})
		if err != nil {
			b.Fatal(err)
		}
		made, _, err := svc.BatchCreateAttendee(ctx, benchAccount, m.ID, in)
		if err != nil {
			b.Fatal(err)
		}
		someone = made[50]
	}
	b.Run("GetAttendee", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := svc.GetAttendee(ctx, benchAccount, someone.MeetingID, someone.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ListAttendees", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if items, _, err := svc.ListAttendees(ctx, benchAccount, someone.MeetingID, meeting.Page{}); err != nil || len(items) != 100 {
				b.Fatal(len(items), err)
			}
		}
	})
	b.Run("Authenticate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := svc.Authenticate(ctx, someone.JoinToken); err != nil {
				b.Fatal(err)
			}
		}
	})
}
