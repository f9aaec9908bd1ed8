package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/bench/client"
	"belfry/internal/bench/process"
)

// Server is a media server under load.
type Server interface {
	// PID is its process; 0 when it is not on this machine.
	PID() int
	// Open makes a meeting for a load.
	Open(ctx context.Context, l Load) (Room, error)
	// Close ends it.
	Close()
}

// Room is one meeting.
type Room interface {
	// Join takes person n (from 0) in, without media so far. The person's Clients
	// are made from cfg.
	Join(ctx context.Context, n int, cfg client.Config) (Member, error)
}

// Wants is what a person sends and receives; a later Negotiate may want more.
type Wants struct {
	Audio    bool
	SendKbps int // of the camera; 0: it is off
	Receive  int // others' cameras
}

// Member is one person in a meeting.
type Member interface {
	// Negotiate agrees on media and connects.
	Negotiate(ctx context.Context, w Wants) error
	// Clients are the person's connections. The first one sends; a server may have
	// people receive over others.
	Clients() []*client.Client
	// Beat says now and then that the person is alive.
	Beat()
	// SignalBytes is how much signaling the person was sent.
	SignalBytes() SignalBytes
	Leave()
}

// Endpoint is a Belfry server that runs already.
type Endpoint struct {
	URL, KeyID, Secret string
	Process            int // its pid, for the CPU time; 0: unknown
}

// belfry is a Server that speaks the API and the signaling protocol.
type belfry struct {
	url     string
	pid     int
	process *process.Process
	dir     string
	client  *meetings.Client
}

// StartBelfry starts a program of the server with an empty data directory, on
// processor cpu alone when that is not negative. settings, such as BELFRY_X=y,
// win over those of the bench.
func StartBelfry(ctx context.Context, program string, cpu int, settings ...string) (Server, error) {
	dir, err := os.MkdirTemp("", "belfry-bench-")
	if err != nil {
		return nil, fmt.Errorf("make the server's directory: %w", err)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	secret := rand.Text()
	p, err := process.Start(dir, cpu, append([]string{
		"BELFRY_LISTEN=" + addr, "BELFRY_DATA_DIR=" + dir + "/data", "BELFRY_ACCESS_KEY_ID=AKIDBENCH", "BELFRY_SECRET_ACCESS_KEY=" + secret,
		"BELFRY_TURN=never", "BELFRY_REQUEST_RATE=0", "BELFRY_ACTIVE_MEETINGS=0", "BELFRY_MAX_VIDEOS=250", "BELFRY_MAX_REPLICAS=40", "BELFRY_LOG_LEVEL=warn",
		"BELFRY_SHEDDING=off", // what it cannot do shall be seen
	}, settings...), program, "serve")
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	s := &belfry{url: "http://" + addr, pid: p.PID(), process: p, dir: dir}
	s.client = apiClient(Endpoint{URL: "http://" + addr, KeyID: "AKIDBENCH", Secret: secret})
	if err := p.Ready(ctx, "http://"+addr+"/healthz"); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// UseBelfry uses one that runs.
func UseBelfry(e Endpoint) Server { return &belfry{url: e.URL, pid: e.Process, client: apiClient(e)} }

func apiClient(e Endpoint) *meetings.Client {
	return meetings.New(meetings.Options{
		BaseEndpoint: &e.URL, Region: "us-east-1",
		HTTPClient:  &http.Client{Timeout: time.Minute},
		Credentials: credentials.NewStaticCredentialsProvider(e.KeyID, e.Secret, ""),
	})
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// PID implements Server.
func (s *belfry) PID() int { return s.pid }

// Close implements Server.
func (s *belfry) Close() {
	if s.process != nil {
		s.process.Stop()
		_ = os.RemoveAll(s.dir)
	}
}

type belfryRoom struct {
	seats []seat
}

// seat is where one person joins.
type seat struct{ url, token string }

// fullMeeting is how many attendees a meeting has at most. More people hear and
// see it from its replicas.
const fullMeeting = 250

// Open implements Server.
func (s *belfry) Open(ctx context.Context, l Load) (Room, error) {
	r := &belfryRoom{}
	var primary *string
	for left := l.people(); left > 0; left -= fullMeeting {
		id, err := s.meeting(ctx, r, primary, min(left, fullMeeting))
		if err != nil {
			return nil, err
		}
		if primary == nil {
			primary = id
		}
	}
	return r, nil
}

func meetingInput(primary *string) *meetings.CreateMeetingInput {
	return &meetings.CreateMeetingInput{PrimaryMeetingId: primary,
		ClientRequestToken: aws.String(rand.Text()), ExternalMeetingId: aws.String("bench"), MediaRegion: aws.String("us-east-1")}
}

// meeting makes a meeting, or a replica of a primary, with seats for so many.
func (s *belfry) meeting(ctx context.Context, r *belfryRoom, primary *string, people int) (*string, error) {
	out, err := s.client.CreateMeeting(ctx, meetingInput(primary))
	if err != nil {
		return nil, fmt.Errorf("create a meeting: %w", err)
	}
	for done := 0; done < people; done += 100 {
		in := &meetings.BatchCreateAttendeeInput{MeetingId: out.Meeting.MeetingId}
		for range min(100, people-done) {
			in.Attendees = append(in.Attendees, types.CreateAttendeeRequestItem{ExternalUserId: aws.String("person-" + strconv.Itoa(len(r.seats)+len(in.Attendees)))})
		}
		made, err := s.client.BatchCreateAttendee(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("create attendees: %w", err)
		}
		if len(made.Errors) > 0 {
			return nil, fmt.Errorf("create attendees: %s", aws.ToString(made.Errors[0].ErrorMessage))
		}
		for _, a := range made.Attendees {
			r.seats = append(r.seats, seat{*out.Meeting.MediaPlacement.SignalingUrl, *a.JoinToken})
		}
	}
	return out.Meeting.MeetingId, nil
}

// Join implements Room.
func (r *belfryRoom) Join(ctx context.Context, n int, cfg client.Config) (Member, error) {
	if n >= len(r.seats) {
		return nil, errors.New("more people than the meeting was made for")
	}
	l, err := dial(ctx, r.seats[n].url, r.seats[n].token)
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg)
	if err != nil {
		l.close()
		return nil, err
	}
	return &belfryMember{line: l, client: c}, nil
}

type belfryMember struct {
	line   *line
	client *client.Client
	once   sync.Once
	pings  uint32
}

// sections are those of an offer for what is wanted.
func sections(w Wants) (list []client.Section) {
	if w.Audio {
		list = append(list, client.Section{Kind: "audio", MID: "0", Direction: "sendrecv"})
	}
	if w.SendKbps > 0 {
		list = append(list, client.Section{Kind: "video", MID: "1", Direction: "sendonly"})
	}
	for i := range w.Receive {
		list = append(list, client.Section{Kind: "video", MID: strconv.Itoa(2 + i), Direction: "recvonly"})
	}
	return list
}

// Negotiate implements Member.
func (m *belfryMember) Negotiate(ctx context.Context, w Wants) error {
	var receive []uint32
	if w.SendKbps > 0 {
		receive = append(receive, 0)
	}
	if w.Receive > 0 {
		ids, err := m.line.videos(ctx, w.Receive)
		if err != nil {
			return err
		}
		receive = append(receive, ids...)
	}
	answer, err := m.line.subscribe(ctx, m.client.Offer(sections(w)), w.SendKbps, receive)
	if err != nil {
		return err
	}
	return m.client.Connect(ctx, answer)
}

// Clients implements Member.
func (m *belfryMember) Clients() []*client.Client { return []*client.Client{m.client} }

// Beat implements Member.
func (m *belfryMember) Beat() {
	m.pings++
	_ = m.line.ping(m.pings)
}

// SignalBytes implements Member.
func (m *belfryMember) SignalBytes() SignalBytes {
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	return m.line.bytes
}

// Leave implements Member.
func (m *belfryMember) Leave() {
	m.once.Do(func() {
		m.client.Close()
		m.line.close()
	})
}
