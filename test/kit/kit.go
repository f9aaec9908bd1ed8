// Package kit is what the tests of many packages share: waiting for a state, looking
// for goroutines that are left, a process to be killed, an address of one's own. Its
// one deadline is so generous that a machine that is ten times slower, or stands
// still for seconds, does not reach it; a test that passes never sees it.
package kit

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Patience is how long a test waits for what must come.
const Patience = 2 * time.Minute

// Eventually polls until ok says true. It must ask for the state itself: a count of
// what was told can be reached by what was on its way before.
func Eventually(t testing.TB, missing string, ok func() bool) {
	t.Helper()
	EventuallyNone(t, func() string {
		if ok() {
			return ""
		}
		return missing
	})
}

// EventuallyNone polls until check answers "", and else says what is missing.
func EventuallyNone(t testing.TB, check func() (missing string)) {
	t.Helper()
	begun := time.Now()
	for {
		over := time.Since(begun) > Patience // the last look comes after the end
		missing := check()
		if missing == "" {
			return
		}
		if over {
			t.Fatalf("still missing after %v: %s", Patience, missing)
		}
		// What comes at once is seen at once, and a long wait takes little of the machine.
		time.Sleep(min(time.Millisecond+time.Since(begun)/20, 20*time.Millisecond))
	}
}

// Await receives from ch.
func Await[T any](t testing.TB, ch <-chan T, missing string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Patience):
		t.Fatalf("still missing after %v: %s", Patience, missing)
		panic("not reached")
	}
}

// Within is a context that ends with the patience or the test.
func Within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Main runs a package's tests, and fails when goroutines are left that do not end.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		for begun := time.Now(); ; {
			over := time.Since(begun) > Patience
			err := goleak.Find() // which looks for half a second
			if err == nil {
				break
			}
			if over {
				fmt.Fprintf(os.Stderr, "kit: the tests passed, but left goroutines: %v\n", err)
				code = 1
				break
			}
		}
	}
	os.Exit(code)
}

// Host is a loopback address that other test programs do not listen on, so that a
// port of it that was let go can be bound again: nobody has it meanwhile.
func Host() netip.Addr {
	pid := os.Getpid()
	return netip.AddrFrom4([4]byte{127, byte(64 + pid>>16&63), byte(pid >> 8), byte(pid)})
}
