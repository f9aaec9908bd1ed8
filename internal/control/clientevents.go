package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"belfry/internal/ingest"
)

// ClientEventsDir is where a server keeps what browser clients report.
func ClientEventsDir(dataDir string) string { return filepath.Join(dataDir, "client-events") }

// ClientEvents has what was kept in the last moments written for a reader. The
// archive is nil where none is kept.
func ClientEvents(archive *ingest.Archive) Commands {
	return func(mux *http.ServeMux) {
		mux.HandleFunc("POST /client-events/flush", func(w http.ResponseWriter, r *http.Request) {
			if archive == nil {
				return
			}
			if err := archive.Flush(r.Context()); err != nil {
				http.Error(w, "the events of the last moments are not written yet", http.StatusServiceUnavailable)
			}
		})
	}
}

// ClientEventsQuery says which events of browser clients are asked for; the zero
// value asks for a list of all meetings.
type ClientEventsQuery struct {
	Meeting  string // MeetingId, "all" for the events of every meeting, "" for a list of meetings
	Attendee string // AttendeeId
	Name     string
	Since    time.Duration // not older than this; 0 for all
	JSON     bool          // one JSON object a line
}

// ListClientEvents writes what is kept in a data directory of the events of browser
// clients. A server that runs there writes its last events first; none needs to.
func ListClientEvents(ctx context.Context, dataDir string, q ClientEventsQuery, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	_ = ask(ctx, dataDir, http.MethodPost, "/client-events/flush", io.Discard)
	cancel()
	f := ingest.Filter{Attendee: strings.ToLower(q.Attendee), Name: q.Name}
	if q.Meeting != "all" {
		f.Meeting = strings.ToLower(q.Meeting)
	}
	if q.Since > 0 {
		f.Since = time.Now().Add(-q.Since)
	}
	p := clientEventPrinter{json: q.JSON, out: json.NewEncoder(out), table: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	p.out.SetEscapeHTML(false)
	if q.Meeting == "" {
		list, err := ingest.Read(ClientEventsDir(dataDir), f, nil)
		if err != nil {
			return err
		}
		return p.meetings(list)
	}
	list, err := ingest.Read(ClientEventsDir(dataDir), f, p.event)
	if err == nil {
		err = p.err
	}
	if err != nil || q.JSON {
		return err
	}
	return p.end(list)
}

// clientEventPrinter writes events and meetings as text for people, or as JSON.
// What a client wrote may hold anything: text for people has only what prints.
type clientEventPrinter struct {
	json  bool
	out   *json.Encoder
	table *tabwriter.Writer
	err   error // the first
}

func (p *clientEventPrinter) meetings(list []ingest.Summary) error {
	if p.json {
		for _, s := range list {
			if err := p.out.Encode(s); err != nil {
				return err
			}
		}
		return nil
	}
	fmt.Fprintln(p.table, "MEETING\tEVENTS\tATTENDEES\tDROPPED\tFIRST\tLAST\tEXTERNAL ID")
	events := 0
	for _, s := range list {
		fmt.Fprintf(p.table, "%s\t%d\t%d\t%d\t%s\t%s\t%s\n", s.Meeting, s.Events, s.Attendees, s.Dropped,
			s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339), printable(s.ExternalMeeting))
		events += s.Events
	}
	fmt.Fprintf(p.table, "%d events of %d meetings\n", events, len(list))
	return p.table.Flush()
}

func (p *clientEventPrinter) event(room ingest.Room, post ingest.Post, e ingest.Event) {
	if p.err != nil {
		return
	}
	if p.json {
		p.err = p.out.Encode(struct {
			At       time.Time `json:"at"`
			Meeting  string    `json:"meeting"`
			Attendee string    `json:"attendee"`
			Late     bool      `json:"late,omitempty"`
			ingest.Event
			Client json.RawMessage `json:"client,omitempty"`
		}{post.At, room.Meeting, post.Attendee, post.Late, e, post.Client})
		return
	}
	words := []string{happened(post, e).Format("2006-01-02T15:04:05.000Z07:00"), room.Meeting, post.Attendee, e.Name}
	if post.Late {
		words = append(words, "late")
	}
	if e.Cut {
		words = append(words, "cut")
	}
	for _, more := range []string{members(e.Attributes), browser(post.Client)} {
		if more != "" {
			words = append(words, more)
		}
	}
	_, p.err = fmt.Fprintln(p.table, strings.Join(words, "  "))
}

func (p *clientEventPrinter) end(list []ingest.Summary) error {
	events, dropped, torn := 0, 0, 0
	for _, s := range list {
		events, dropped, torn = events+s.Events, dropped+s.Dropped, torn+s.Torn
	}
	fmt.Fprintf(p.table, "%d events of %d meetings", events, len(list))
	if dropped > 0 {
		fmt.Fprintf(p.table, "; %d older ones had to go", dropped)
	}
	if torn > 0 {
		fmt.Fprintf(p.table, "; %d lines could not be read", torn)
	}
	fmt.Fprintln(p.table)
	return p.table.Flush()
}

// happened is when the event was by the client's clock, or when it came if that
// clock is far off.
func happened(post ingest.Post, e ingest.Event) time.Time {
	if ms, err := e.Ts.Int64(); err == nil {
		if at := time.UnixMilli(ms).UTC(); post.At.Sub(at).Abs() < time.Hour {
			return at
		}
	}
	return post.At
}

// members is a JSON object as key=value words.
func members(raw json.RawMessage) string {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return ""
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(object)) {
		value, text := string(object[key]), ""
		if json.Unmarshal(object[key], &text) == nil {
			value = text
		}
		words = append(words, printable(key)+"="+printable(value))
	}
	return strings.Join(words, " ")
}

// browser is what a person wants to know of the client's metadata.
func browser(raw json.RawMessage) string {
	var client struct {
		Browser string `json:"browserName"`
		Version string `json:"browserVersion"`
		OS      string `json:"osName"`
		SDK     string `json:"sdkVersion"`
	}
	if json.Unmarshal(raw, &client) != nil || client.Browser == "" {
		return ""
	}
	return fmt.Sprintf("(%s %s, %s, SDK %s)", printable(client.Browser), printable(client.Version), printable(client.OS), printable(client.SDK))
}

// printable is text as it is, or quoted when it has blanks or would not print.
func printable(text string) string {
	odd := func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }
	if strings.ContainsFunc(text, odd) {
		return strconv.QuoteToGraphic(text)
	}
	return text
}
