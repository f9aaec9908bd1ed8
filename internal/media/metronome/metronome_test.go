package metronome

import (
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func started(t *testing.T, every time.Duration) *Metronome {
	t.Helper()
	m, err := New(every)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func (m *Metronome) wait(t *testing.T) time.Time {
	t.Helper()
	due, err := m.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return due
}

// phase is where between two beats a moment is, on the system's clock.
func (m *Metronome) phase(at time.Time) time.Duration {
	return (m.at + at.Sub(m.start)) % m.every
}

// No Wait comes back before its beat, beats are those of the system's clock, and none comes twice.
func TestWait(t *testing.T) {
	m := started(t, 5*time.Millisecond)
	last := time.Time{}
	for range 20 {
		due := m.wait(t)
		if now := time.Now(); now.Before(due) {
			t.Fatalf("%v too early", due.Sub(now))
		}
		if m.phase(due) != 0 {
			t.Fatalf("a beat was due %v after one", m.phase(due))
		}
		if !last.IsZero() && due.Sub(last) < m.every {
			t.Fatalf("%v after the beat before", due.Sub(last))
		}
		last = due
	}
}

// Who comes late has the first beat that passed at once, and no other that did.
func TestLate(t *testing.T) {
	m := started(t, 10*time.Millisecond)
	first := m.wait(t)
	time.Sleep(35 * time.Millisecond)
	if due := m.wait(t); due.Sub(first) != m.every {
		t.Errorf("the beat due was %v after the one before, not %v", due.Sub(first), m.every)
	}
	before := time.Now()
	if due := m.wait(t); due.Before(before.Add(-m.every)) {
		t.Errorf("a beat that had passed %v ago was waited for", before.Sub(due))
	}
	time.Sleep(25 * time.Millisecond)
	m.Skip()
	before = time.Now()
	if due := m.wait(t); due.Before(before) && time.Since(before) < m.every/2 && before.Sub(due) > m.every/2 {
		t.Errorf("after Skip the beat of %v ago was there", before.Sub(due))
	}
}

// Close ends a Wait, and those after it.
func TestClose(t *testing.T) {
	m, err := New(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := m.Wait()
		ended <- err
	}()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Wait ended with %v", err)
	}
	if _, err := m.Wait(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the next Wait ended with %v", err)
	}
}

func TestWaitAllocatesNothing(t *testing.T) {
	m := started(t, time.Millisecond)
	if n := testing.AllocsPerRun(50, func() { _, _ = m.Wait() }); n > 0 {
		t.Errorf("%v allocations for each beat", n)
	}
}
