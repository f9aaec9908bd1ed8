package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A segment is a file <meeting>.<number>.jsonl: a line about the meeting, then a
// line for each Post. The newest segment of a meeting is written to; the oldest
// is what goes first when there is too much. A line that was torn by a crash is
// passed over.

// Room is the meeting that events are of.
type Room struct {
	Meeting         string `json:"meeting"` // MeetingId
	ExternalMeeting string `json:"external_meeting_id,omitempty"`
}

// opening is the first line of a segment.
type opening struct {
	Room
	// Dropped is how many events of the meeting are gone from before this segment.
	Dropped int `json:"dropped,omitempty"`
}

// segment is a file as its name and its size tell of it.
type segment struct {
	meeting string
	number  int
	bytes   int64
	at      time.Time // of the last write
}

func (s segment) path(dir string) string {
	return filepath.Join(dir, s.meeting+"."+strconv.Itoa(s.number)+".jsonl")
}

var segmentName = regexp.MustCompile(`^([0-9a-f-]{1,64})\.([1-9][0-9]{0,17})\.jsonl$`)

// listSegments lists the segments that lie in dir, by meeting, the oldest first.
func listSegments(dir string) (map[string][]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list client events: %w", err)
	}
	found := map[string][]segment{}
	for _, entry := range entries {
		parts := segmentName.FindStringSubmatch(entry.Name())
		if parts == nil {
			continue
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // gone meanwhile, or not ours
		}
		number, err := strconv.Atoi(parts[2])
		if err != nil {
			continue
		}
		found[parts[1]] = append(found[parts[1]], segment{meeting: parts[1], number: number, bytes: info.Size(), at: info.ModTime()})
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b segment) int { return a.number - b.number })
	}
	return found, nil
}

// maxLine bounds a line that is read; what is written stays below it.
const maxLine = 2 * maxPostSize

// readSegment gives the lines of a segment to the functions; either may be nil.
// torn is how many lines could not be read.
func readSegment(in io.Reader, open func(opening), post func(Post)) (torn int, err error) {
	r := bufio.NewReaderSize(in, 64<<10)
	var line []byte
	for tooLong := false; ; {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			tooLong, line = true, line[:0]
		}
		if !tooLong {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return torn, fmt.Errorf("read client events: %w", err)
		}
		if tooLong || len(bytes.TrimSpace(line)) > 0 && !readLine(line, open, post) {
			torn++
		}
		line, tooLong = line[:0], false
		if err != nil {
			return torn, nil
		}
	}
}

func readLine(line []byte, open func(opening), post func(Post)) bool {
	var one struct {
		opening
		Post
	}
	if err := json.Unmarshal(line, &one); err != nil {
		return false
	}
	switch {
	case one.Meeting != "":
		if open != nil {
			open(one.opening)
		}
	case one.Attendee != "":
		if post != nil {
			post(one.Post)
		}
	default:
		return false
	}
	return true
}

// count is how many events a segment has, and how many went before it.
func (s segment) count(dir string) (events, dropped int, err error) {
	f, err := os.Open(s.path(dir))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	_, err = readSegment(f, func(o opening) { dropped = o.Dropped }, func(p Post) { events += len(p.Events) })
	return events, dropped, err
}

// Summary is what is kept of one meeting.
type Summary struct {
	Room
	Events    int       `json:"events"`
	Attendees int       `json:"attendees"` // that they are of
	Dropped   int       `json:"dropped"`   // events that were there and had to go, as far as it is known
	Torn      int       `json:"torn"`      // lines that could not be read
	First     time.Time `json:"first"`     // of those counted, when they came
	Last      time.Time `json:"last"`
}

// Filter says which events are looked for; the zero value is all.
type Filter struct {
	Meeting  string // MeetingId, in lower case
	Attendee string // AttendeeId, in lower case
	Name     string
	Since    time.Time // when they came, at the earliest
}

// Read gives the events in dir that pass the filter to fn, one meeting after the
// other, each meeting's in the order in which they came, and answers what there
// is of each meeting with any. The meetings are in the order of their last
// event. fn may be nil. Read needs no Archive, and may run beside one, which
// may drop or add some while it runs.
func Read(dir string, f Filter, fn func(Room, Post, Event)) ([]Summary, error) {
	meetings, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	var order [][]segment
	for id, list := range meetings {
		if f.Meeting != "" && id != f.Meeting || list[len(list)-1].at.Before(f.Since) {
			continue
		}
		order = append(order, list)
	}
	last := func(list []segment) segment { return list[len(list)-1] }
	slices.SortFunc(order, func(a, b []segment) int {
		if c := last(a).at.Compare(last(b).at); c != 0 {
			return c
		}
		return strings.Compare(last(a).meeting, last(b).meeting)
	})
	var out []Summary
	for _, list := range order {
		s, err := readMeeting(dir, list, f, fn)
		if err != nil {
			return out, err
		}
		if s.Events > 0 {
			out = append(out, s)
		}
	}
	return out, nil
}

func readMeeting(dir string, list []segment, f Filter, fn func(Room, Post, Event)) (Summary, error) {
	s := Summary{Room: Room{Meeting: list[0].meeting}}
	attendees := map[string]bool{}
	read := func(p Post) {
		if f.Attendee != "" && p.Attendee != f.Attendee || p.At.Before(f.Since) {
			return
		}
		for _, e := range p.Events {
			if f.Name != "" && e.Name != f.Name {
				continue
			}
			if s.Events == 0 {
				s.First = p.At
			}
			s.Events++
			s.Last = p.At
			attendees[p.Attendee] = true
			if fn != nil {
				fn(s.Room, p, e)
			}
		}
	}
	for _, one := range list {
		file, err := os.Open(one.path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		if err != nil {
			return s, fmt.Errorf("read client events: %w", err)
		}
		torn, err := readSegment(file, func(o opening) {
			if o.ExternalMeeting != "" {
				s.ExternalMeeting = o.ExternalMeeting
			}
			s.Dropped = max(s.Dropped, o.Dropped)
		}, read)
		file.Close()
		s.Torn += torn
		if err != nil {
			return s, err
		}
	}
	s.Attendees = len(attendees)
	return s, nil
}
