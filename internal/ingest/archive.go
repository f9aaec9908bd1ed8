package ingest

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// flushEvery is how long events wait for others before they are written: what
	// a crash loses.
	flushEvery = 500 * time.Millisecond
	// tidyEvery is how often it is looked for what is too old.
	tidyEvery = 10 * time.Minute
	// maxWaiting bounds what waits to be written, of all meetings and of one.
	maxWaiting        = 16 << 20
	maxWaitingMeeting = 1 << 20
	// segments is in how many files a full meeting lies, or some more when it is
	// full by its events; one of them goes at a time.
	segments = 4
	// block is what the smallest file takes of a disk.
	block = 4 << 10
)

// Limits bound what an Archive keeps.
type Limits struct {
	MeetingEvents int           // of one meeting, the newest; at least 500, which one post may have
	MeetingBytes  int64         // of one meeting; at least 1 MiB
	Bytes         int64         // of all meetings, in whole blocks; more than MeetingBytes
	Age           time.Duration // since the last event of a meeting
}

// Archive keeps events in files of a directory of its own. What is too much or
// too old is dropped and counted: of a meeting its oldest events, of all the
// meetings the one that was silent for longest. Keep does not wait for the
// disk; one goroutine writes.
type Archive struct {
	dir    string
	limits Limits
	log    *slog.Logger
	now    func() time.Time

	mu       sync.Mutex
	pending  map[string]*batch // by meeting
	waiting  int               // bytes in pending
	keeping  *sync.Cond        // signals that pending changed hands; see Flush
	handed   uint64            // how many times pending was taken
	written  uint64            // and how many of them are in the files
	closed   bool
	meetings int // what the metrics say, written by the writer
	bytes    int64

	wake  chan struct{} // there is something pending
	hurry chan struct{} // somebody waits for it
	end   chan struct{}
	ended chan struct{}

	// Of the writer alone.
	known  map[string]*list.Element // of order, by meeting
	order  *list.List               // of *shelf, silent for longest first
	total  int64                    // bytes of all files, in blocks
	failed bool                     // the last write did

	dropped *prometheus.CounterVec
}

// batch is what waits to be written of one meeting.
type batch struct {
	room  Room
	lines []line
	bytes int
}

type line struct {
	text   []byte // with its end
	events int
}

// shelf is the segments of one meeting.
type shelf struct {
	meeting string
	files   []file // the oldest first; never empty once written to
	counted bool   // the events of files are known
	torn    bool   // the newest may end without a line's end
	dropped int
	last    time.Time
}

type file struct {
	segment
	events int
}

func blocks(bytes int64) int64 { return (bytes + block - 1) / block * block }

// Reasons for which events are not kept, the label of a metric.
const (
	dropMeeting = "meeting_full" // the oldest of a meeting that has too many
	dropAll     = "all_full"     // of a meeting that made room for others
	dropAge     = "old"
	dropPost    = "post" // too many or too large in one post
	dropBusy    = "busy" // faster than the disk takes them
	dropDisk    = "disk" // the disk refused
)

// OpenArchive opens the archive in dir, which is made if it is not there.
// Close ends it.
func OpenArchive(dir string, limits Limits, log *slog.Logger, registry prometheus.Registerer) (*Archive, error) {
	return openArchive(dir, limits, log, registry, time.Now)
}

func openArchive(dir string, limits Limits, log *slog.Logger, registry prometheus.Registerer, now func() time.Time) (*Archive, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep client events: %w", err)
	}
	a := &Archive{
		dir: dir, limits: limits, log: log, now: now,
		pending: map[string]*batch{}, known: map[string]*list.Element{}, order: list.New(),
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_client_events_dropped_total", Help: "Events of browser clients that are not kept, or not any more, by reason.",
		}, []string{"reason"}),
	}
	a.keeping = sync.NewCond(&a.mu)
	if err := a.find(); err != nil {
		return nil, err
	}
	registry.MustRegister(a.dropped,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_client_events_kept_bytes", Help: "Disk space of the kept events of browser clients."},
			func() float64 { a.mu.Lock(); defer a.mu.Unlock(); return float64(a.bytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_client_events_kept_meetings", Help: "Meetings of which events of browser clients are kept."},
			func() float64 { a.mu.Lock(); defer a.mu.Unlock(); return float64(a.meetings) }))
	go a.write()
	return a, nil
}

// find makes the shelves of what lies in the directory.
func (a *Archive) find() error {
	found, err := listSegments(a.dir)
	if err != nil {
		return err
	}
	var shelves []*shelf
	for id, list := range found {
		s := &shelf{meeting: id, torn: true}
		for _, one := range list {
			s.files = append(s.files, file{segment: one})
			a.total += blocks(one.bytes)
			s.last = one.at
		}
		shelves = append(shelves, s)
	}
	slices.SortFunc(shelves, func(a, b *shelf) int { return a.last.Compare(b.last) })
	for _, s := range shelves {
		a.known[s.meeting] = a.order.PushBack(s)
	}
	a.tidy()
	return nil
}

// Keep takes a post to write it soon. It never waits; when it is more than can
// be written, it is dropped and counted.
func (a *Archive) Keep(room Room, p Post, surplus int) {
	a.drop(dropPost, surplus)
	if len(p.Events) == 0 {
		return
	}
	text := encodeLine(p)
	a.mu.Lock()
	b := a.pending[room.Meeting]
	if b == nil {
		b = &batch{room: room}
	}
	if a.closed || a.waiting+len(text) > maxWaiting || b.bytes+len(text) > maxWaitingMeeting {
		a.mu.Unlock()
		a.drop(dropBusy, len(p.Events))
		return
	}
	b.lines = append(b.lines, line{text, len(p.Events)})
	b.bytes += len(text)
	a.waiting += len(text)
	a.pending[room.Meeting] = b
	a.mu.Unlock()
	nudge(a.wake)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (a *Archive) drop(reason string, events int) {
	if events > 0 {
		a.dropped.WithLabelValues(reason).Add(float64(events))
	}
}

// Flush returns when everything that was kept before is in the files, or when
// ctx has ended.
func (a *Archive) Flush(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { a.mu.Lock(); a.keeping.Broadcast(); a.mu.Unlock() })()
	a.mu.Lock()
	defer a.mu.Unlock()
	goal := a.handed
	if len(a.pending) > 0 {
		goal++
		nudge(a.wake)
		nudge(a.hurry)
	}
	for a.written < goal {
		if ctx.Err() != nil {
			return fmt.Errorf("flush client events: %w", ctx.Err())
		}
		a.keeping.Wait()
	}
	return nil
}

// Close writes what waits and ends the Archive. What comes after is dropped.
func (a *Archive) Close(ctx context.Context) error {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.end)
	}
	a.mu.Unlock()
	select {
	case <-a.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close client events: %w", ctx.Err())
	}
}

// write is the writer's goroutine.
func (a *Archive) write() {
	defer close(a.ended)
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	for {
		select {
		case <-a.wake:
			soon := time.NewTimer(flushEvery)
			select {
			case <-soon.C:
			case <-a.hurry:
			case <-a.end:
			}
			soon.Stop()
		case <-tidy.C:
			a.tidy()
			continue
		case <-a.end:
		}
		a.writePending()
		select {
		case <-a.end:
			a.writePending()
			return
		default:
		}
	}
}

func (a *Archive) writePending() {
	a.mu.Lock()
	taken := a.pending
	if len(taken) == 0 {
		a.mu.Unlock()
		return
	}
	a.pending, a.waiting = map[string]*batch{}, 0
	a.handed++
	a.mu.Unlock()
	for _, b := range taken {
		a.writeBatch(b)
	}
	a.tidy()
	a.mu.Lock()
	a.written++
	a.keeping.Broadcast()
	a.mu.Unlock()
}

// writeBatch appends the lines to the meeting's newest segment, and begins
// others when that is full.
func (a *Archive) writeBatch(b *batch) {
	element := a.known[b.room.Meeting]
	if element == nil {
		element = a.order.PushBack(&shelf{meeting: b.room.Meeting, counted: true})
		a.known[b.room.Meeting] = element
	}
	a.order.MoveToBack(element)
	s := element.Value.(*shelf)
	s.last = a.now()
	a.count(s)
	for rest := b.lines; len(rest) > 0; {
		fits := a.room(s, rest)
		if fits == 0 {
			if err := a.begin(s, b.room, rest[0]); err != nil {
				a.refused(err, rest)
				return
			}
			continue
		}
		if err := a.append(s, rest[:fits]); err != nil {
			a.refused(err, rest)
			return
		}
		rest = rest[fits:]
	}
	a.failed = false
}

// room is how many of the lines fit into the newest segment. One always fits
// into a segment that is empty.
func (a *Archive) room(s *shelf, lines []line) (fits int) {
	if len(s.files) == 0 {
		return 0
	}
	newest := s.files[len(s.files)-1]
	bytes, events := newest.bytes, newest.events
	for _, l := range lines {
		bytes += int64(len(l.text))
		events += l.events
		if (bytes > a.limits.MeetingBytes/segments || events > a.limits.MeetingEvents/segments) && (fits > 0 || newest.events > 0) {
			break
		}
		fits++
	}
	return fits
}

// count counts the events of segments that were there before the start.
func (a *Archive) count(s *shelf) {
	if s.counted {
		return
	}
	s.counted = true
	for i := range s.files {
		events, dropped, err := s.files[i].count(a.dir)
		if err != nil {
			a.log.Warn("kept client events cannot be read", "meeting", s.meeting, "error", err)
		}
		s.files[i].events = events
		s.dropped = max(s.dropped, dropped)
	}
}

// begin begins another segment for a line and others, and drops what is then too
// much.
func (a *Archive) begin(s *shelf, room Room, first line) error {
	next := 1
	if n := len(s.files); n > 0 {
		next = s.files[n-1].number + 1
	}
	s.files = append(s.files, file{segment: segment{meeting: s.meeting, number: next}})
	for len(s.files) > 1 && a.over(s, first) {
		oldest := s.files[0]
		if err := a.remove(oldest); err != nil {
			s.files = s.files[:len(s.files)-1]
			return err
		}
		s.files = s.files[1:]
		s.dropped += oldest.events
		a.drop(dropMeeting, oldest.events)
	}
	s.torn = false
	return a.append(s, []line{{text: encodeLine(opening{Room: room, Dropped: s.dropped})}})
}

// over tells whether a meeting would have too much with its newest segment
// full, as it is with its first line already when that is large.
func (a *Archive) over(s *shelf, first line) bool {
	bytes := max(a.limits.MeetingBytes/segments, int64(len(first.text))+block) // a block for what opens it
	events := max(a.limits.MeetingEvents/segments, first.events)
	for _, f := range s.files[:len(s.files)-1] {
		bytes += f.bytes
		events += f.events
	}
	return bytes > a.limits.MeetingBytes || events > a.limits.MeetingEvents
}

// append writes lines to the newest segment. What was torn is ended first, so
// that it takes no good line with it.
func (a *Archive) append(s *shelf, lines []line) error {
	newest := &s.files[len(s.files)-1]
	out, err := os.OpenFile(newest.path(a.dir), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	var text bytes.Buffer
	if s.torn && !endsWhole(out) {
		text.WriteByte('\n')
	}
	events := 0
	for _, l := range lines {
		text.Write(l.text)
		events += l.events
	}
	n, err := out.Write(text.Bytes())
	a.total += blocks(newest.bytes+int64(n)) - blocks(newest.bytes)
	newest.bytes += int64(n)
	newest.at = s.last
	s.torn = err != nil
	if err != nil {
		return err
	}
	newest.events += events
	return nil
}

func endsWhole(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err == nil
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return (err == nil || errors.Is(err, io.EOF)) && last[0] == '\n'
}

func (a *Archive) remove(f file) error {
	if err := os.Remove(f.path(a.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a.total -= blocks(f.bytes)
	return nil
}

// refused says once that the disk takes nothing, and counts what it did not.
func (a *Archive) refused(err error, lines []line) {
	events := 0
	for _, l := range lines {
		events += l.events
	}
	a.drop(dropDisk, events)
	if !a.failed {
		a.log.Warn("client events cannot be kept", "error", err)
	}
	a.failed = true
}

// tidy drops the meetings that are too old, and those that were silent for
// longest while all are too much.
func (a *Archive) tidy() {
	for element := a.order.Front(); element != nil; element = a.order.Front() {
		s, reason := element.Value.(*shelf), ""
		switch {
		case a.now().Sub(s.last) > a.limits.Age:
			reason = dropAge
		case a.total > a.limits.Bytes:
			reason = dropAll
		}
		if reason == "" || !a.forget(s, reason) {
			break
		}
		a.order.Remove(element)
		delete(a.known, s.meeting)
	}
	a.mu.Lock()
	a.meetings, a.bytes = a.order.Len(), a.total
	a.mu.Unlock()
}

// forget drops all of a meeting.
func (a *Archive) forget(s *shelf, reason string) bool {
	a.count(s)
	for len(s.files) > 0 {
		if err := a.remove(s.files[0]); err != nil {
			a.refused(err, nil)
			return false
		}
		a.drop(reason, s.files[0].events)
		s.files = s.files[1:]
	}
	return true
}
