package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"belfry/internal/meeting"
	"belfry/internal/notify"
)

const (
	// deadPage is how many dead letters are read at a time.
	deadPage = 500
	// replayPatience is after how many failures in a row nothing more is sent to a
	// target: each may take as long as a try may.
	replayPatience = 3
)

// DeadLetterFilter says which dead letters are meant; what is "" does not count.
type DeadLetterFilter struct {
	Target    string // an ARN, or a part of it; of a webhook the host
	MeetingID string
}

func (f DeadLetterFilter) query() url.Values {
	q := url.Values{}
	if f.Target != "" {
		q.Set("target", f.Target)
	}
	if f.MeetingID != "" {
		q.Set("meeting", f.MeetingID)
	}
	return q
}

func filterOf(q url.Values) DeadLetterFilter {
	return DeadLetterFilter{Target: q.Get("target"), MeetingID: strings.ToLower(q.Get("meeting"))}
}

func (f DeadLetterFilter) fits(d meeting.DeadLetter) bool {
	return strings.Contains(notify.Describe(d.Target), f.Target) && (f.MeetingID == "" || d.Event.MeetingID == f.MeetingID)
}

// ListDeadLetters lists what could not be delivered, sends it again or forgets it.
func DeadLetters(events *notify.Notifier) Commands {
	return func(mux *http.ServeMux) {
		mux.HandleFunc("GET /events/dead", func(w http.ResponseWriter, r *http.Request) { listDead(w, r, events) })
		mux.HandleFunc("POST /events/replay", func(w http.ResponseWriter, r *http.Request) { replay(w, r, events) })
		mux.HandleFunc("POST /events/discard", func(w http.ResponseWriter, r *http.Request) { discard(w, r, events) })
	}
}

// eachDead calls fn for the dead letters that a filter lets pass, oldest first.
func eachDead(ctx context.Context, events *notify.Notifier, f DeadLetterFilter, fn func(meeting.DeadLetter)) error {
	for after := uint64(0); ; {
		list, err := events.DeadLetters(ctx, after, deadPage)
		if err != nil {
			return err
		}
		for _, d := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			if f.fits(d) {
				fn(d)
			}
			after = d.Seq
		}
		if len(list) < deadPage {
			return nil
		}
	}
}

// deadLetterJSON is a dead letter as --json has it, one a line.
type deadLetterJSON struct {
	Number   uint64          `json:"number"` // for replay
	Kind     string          `json:"targetKind"`
	Target   string          `json:"target"`
	GivenUp  time.Time       `json:"givenUpAt"`
	Attempts int             `json:"attempts"`
	Reason   string          `json:"reason"`
	Place    uint64          `json:"eventNumber"` // within its meeting
	Event    json.RawMessage `json:"event"`
}

func listDead(w http.ResponseWriter, r *http.Request, events *notify.Notifier) {
	mayBeUndone(w)
	count, asJSON := 0, r.URL.Query().Has("json")
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	err := eachDead(r.Context(), events, filterOf(r.URL.Query()), func(d meeting.DeadLetter) {
		count++
		if !asJSON {
			fmt.Fprintf(w, "%d  %s  %s  meeting %s event %d (%s)  %s  given up %s: %s\n", d.Seq, d.Event.At.Format(time.RFC3339), d.Event.Type,
				d.Event.MeetingID, d.Event.Number, d.Event.ID, notify.Describe(d.Target), d.At.Format(time.RFC3339), d.Reason)
			return
		}
		body, err := notify.Envelope(d.Event)
		if err != nil {
			body = []byte("null")
		}
		_ = lines.Encode(deadLetterJSON{d.Seq, string(d.Target.Kind), notify.Describe(d.Target), d.At.UTC(), d.Attempts, d.Reason, d.Event.Number, body})
	})
	switch {
	case err != nil:
		fmt.Fprintln(w, err)
		markUndone(w)
	case !asJSON:
		fmt.Fprintf(w, "%d dead letters\n", count)
	}
}

// chosen calls fn for the dead letters that a request names, or all that its
// filter lets pass. unknown is called for numbers that are none.
func chosen(r *http.Request, events *notify.Notifier, fn func(meeting.DeadLetter), unknown func(text string, err error)) error {
	q := r.URL.Query()
	for _, text := range q["seq"] {
		seq, err := strconv.ParseUint(text, 10, 64)
		if err != nil || seq == 0 {
			unknown(fmt.Sprintf("%q", text), errors.New("is not the number of a dead letter"))
			continue
		}
		list, err := events.DeadLetters(r.Context(), seq-1, 1)
		if err != nil {
			return err
		}
		if len(list) == 0 || list[0].Seq != seq {
			unknown(text+":", notify.ErrNoDeadLetter)
			continue
		}
		fn(list[0])
	}
	if !q.Has("all") {
		return nil
	}
	return eachDead(r.Context(), events, filterOf(q), fn)
}

// replay sends those that were chosen, oldest first.
func replay(w http.ResponseWriter, r *http.Request, events *notify.Notifier) {
	mayBeUndone(w)
	sent, failed, passed := 0, 0, 0
	inARow := map[meeting.Target]int{}
	err := chosen(r, events, func(d meeting.DeadLetter) {
		if inARow[d.Target] >= replayPatience {
			passed++
			return
		}
		if err := events.Replay(r.Context(), d.Seq); err != nil {
			fmt.Fprintf(w, "%d: %v\n", d.Seq, err)
			failed++
			if inARow[d.Target]++; inARow[d.Target] == replayPatience {
				fmt.Fprintf(w, "nothing more is sent to %s now\n", notify.Describe(d.Target))
			}
			return
		}
		inARow[d.Target] = 0
		sent++
	}, func(text string, err error) { fmt.Fprintln(w, text, err); failed++ })
	if err != nil {
		fmt.Fprintln(w, err)
	}
	if err != nil || failed+passed > 0 {
		markUndone(w)
	}
	fmt.Fprintf(w, "%d sent, %d not\n", sent, failed+passed)
}

// discard forgets those that were chosen.
func discard(w http.ResponseWriter, r *http.Request, events *notify.Notifier) {
	mayBeUndone(w)
	var list []uint64
	err := chosen(r, events, func(d meeting.DeadLetter) { list = append(list, d.Seq) },
		func(text string, err error) { fmt.Fprintln(w, text, err); markUndone(w) })
	if err == nil {
		err = events.Discard(r.Context(), list)
	}
	if err != nil {
		fmt.Fprintln(w, err)
		markUndone(w)
		return
	}
	fmt.Fprintf(w, "%d forgotten\n", len(list))
}

// DeadLetters has the server that runs on a data directory list its dead
// letters, one a line, asJSON for programs.
func ListDeadLetters(ctx context.Context, dataDir string, f DeadLetterFilter, asJSON bool, out io.Writer) error {
	q := f.query()
	if asJSON {
		q.Set("json", "")
	}
	return ask(ctx, dataDir, http.MethodGet, "/events/dead?"+q.Encode(), out)
}

// ReplayDeadLetters has it send dead letters again: those with these numbers, or
// when there is the word "all" those that the filter lets pass.
func ReplayDeadLetters(ctx context.Context, dataDir string, which []string, f DeadLetterFilter, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, "/events/replay?"+choice(which, f).Encode(), out)
}

// DiscardDeadLetters has it forget dead letters, chosen as by ReplayDeadLetters.
func DiscardDeadLetters(ctx context.Context, dataDir string, which []string, f DeadLetterFilter, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, "/events/discard?"+choice(which, f).Encode(), out)
}

func choice(which []string, f DeadLetterFilter) url.Values {
	q := f.query()
	for _, one := range which {
		if one == "all" {
			q.Set("all", "")
		} else {
			q.Add("seq", one)
		}
	}
	return q
}
