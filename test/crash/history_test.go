package crash

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/internal/store/storetest"
)

const (
	historyVariable = "BELFRY_CRASH_HISTORY" // set: this process says each step of its callers, to be killed
	historyRounds   = 6
	historyCallers  = 6
	// stepsPerRound bounds a history, since judging it takes its time.
	stepsPerRound = 200
)

// word is one line of what the process says: it is open; a step begins; it has
// ended.
type word struct {
	Open bool
	Call string
	In   *storetest.Step
	Out  *storetest.Outcome
}

// tell is the process to be killed: callers of one store, which say what they
// are about to do before they do it.
func tell(dir string) error {
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	if err := storetest.MakeRoom(s); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(w word) {
		text, err := json.Marshal(w)
		if err != nil {
			panic(err)
		}
		mu.Lock()
		defer mu.Unlock()
		os.Stdout.Write(append(text, '\n')) // in one piece, at once
	}
	say(word{Open: true})
	failed := make(chan error)
	for c := range historyCallers {
		rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
		go func() {
			for k := range stepsPerRound / historyCallers {
				call, in := fmt.Sprint(os.Getpid(), "/", c, "/", k), storetest.RandomStep(rnd)
				say(word{Call: call, In: &in})
				out, err := storetest.Do(s, in, true)
				if err != nil {
					failed <- err
					return
				}
				say(word{Call: call, Out: &out})
			}
		}()
	}
	go func() {
		os.Stdin.Read(make([]byte, 1))
		failed <- fmt.Errorf("nobody listens")
	}()
	return <-failed
}

// One history over several processes, of which all but the last were killed, is
// explained by single steps in some order: what was acknowledged before a kill
// is seen after it, and what was not acknowledged is wholly there or not at all.
func TestHistoryOverKillsIsLinearizable(t *testing.T) {
	dir := t.TempDir()
	var h storetest.History
	for round := range historyRounds {
		steps := rand.IntN(stepsPerRound - historyCallers)
		listen(t, dir, &h, steps)
		t.Logf("round %d: killed after %d steps", round+1, steps)
	}
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h.Restarted()
	rnd := rand.New(rand.NewPCG(1, 1))
	for k := range 50 { // what is there in the end has to fit too
		in := storetest.RandomStep(rnd)
		in.Kind = "read"
		h.Call(fmt.Sprint("last/", k), in)
		out, err := storetest.Do(s, in, true)
		if err != nil {
			t.Fatal(err)
		}
		h.Return(fmt.Sprint("last/", k), &out)
	}
	h.Check(t)
}

// listen runs the process until it has said the end of so many steps, kills it,
// and takes down what it said. Lines are in the order in which they were said.
func listen(t *testing.T, dir string, h *storetest.History, steps int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dirVariable+"="+dir, historyVariable+"=1")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { cmd.Process.Kill() }
	defer time.AfterFunc(5*time.Minute, kill).Stop()
	ended := 0
	for lines := bufio.NewReader(stdout); ; {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			break // a line without its end was not said
		}
		var w word
		if err := json.Unmarshal(text, &w); err != nil {
			t.Fatalf("the process said %q: %v", text, err)
		}
		switch {
		case w.Open:
			h.Restarted()
		case w.In != nil:
			h.Call(w.Call, *w.In)
		default:
			h.Return(w.Call, w.Out)
			ended++
		}
		if ended == steps {
			kill()
		}
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the process ended before it was killed: %v: %s", err, &complaint)
	}
}
