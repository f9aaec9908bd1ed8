package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"belfry/internal/bench/client"
	"belfry/internal/bench/process"
)

// PlainWord is the first argument with which this program is the plain server of
// package plain, at the address that follows.
const PlainWord = "plain-server"

// plainServer is a server of package plain.
type plainServer struct {
	url     string
	pid     int
	process *process.Process
	dir     string
}

// StartPlain starts this program anew as the plain server.
func StartPlain(ctx context.Context, cpu int) (Server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "belfry-bench-")
	if err != nil {
		return nil, fmt.Errorf("make the server's directory: %w", err)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := process.Start(dir, cpu, nil, self, PlainWord, addr)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	s := &plainServer{url: "http://" + addr, pid: p.PID(), process: p, dir: dir}
	if err := p.Ready(ctx, s.url); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// UsePlain uses one that runs, in process pid.
func UsePlain(url string, pid int) Server { return &plainServer{url: url, pid: pid} }

// PID implements Server.
func (s *plainServer) PID() int { return s.pid }

// Close implements Server.
func (s *plainServer) Close() {
	if s.process != nil {
		s.process.Stop()
		_ = os.RemoveAll(s.dir)
	}
}

type plainRoom struct{ url, name string }

// Open implements Server.
func (s *plainServer) Open(_ context.Context, l Load) (Room, error) {
	if l.Audio && l.people() > 2 {
		return nil, errors.New("the plain server has sound for two people, since it does not mix")
	}
	return plainRoom{s.url, rand.Text()}, nil
}

// Join implements Room.
func (r plainRoom) Join(_ context.Context, n int, cfg client.Config) (Member, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	q := url.Values{"room": {r.name}, "person": {strconv.Itoa(n)}}
	return &plainMember{url: r.url + "/?" + q.Encode(), client: c}, nil
}

type plainMember struct {
	url    string
	client *client.Client
	bytes  uint64
	once   sync.Once
}

// Negotiate implements Member. One who wants cameras must come again until the
// server has them. There is no mix: who wants sound gets that of one other.
func (m *plainMember) Negotiate(ctx context.Context, w Wants) error {
	tracks := w.Receive
	if w.Audio && tracks > 0 {
		tracks++
	}
	for {
		answer, err := m.post(ctx, m.client.Offer(sections(w)))
		if err != nil {
			return err
		}
		if err := m.client.Connect(ctx, answer); err != nil {
			return err
		}
		if strings.Count(answer, "\r\na=msid:") >= tracks {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (m *plainMember) post(ctx context.Context, offer string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, strings.NewReader(offer))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("send the offer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the offer is refused: %s", body)
	}
	m.bytes += uint64(len(body))
	return string(body), err
}

// Clients implements Member.
func (m *plainMember) Clients() []*client.Client { return []*client.Client{m.client} }

// Beat implements Member.
func (m *plainMember) Beat() {}

// SignalBytes implements Member.
func (m *plainMember) SignalBytes() SignalBytes { return SignalBytes{Other: m.bytes} }

// Leave implements Member.
func (m *plainMember) Leave() { m.once.Do(m.client.Close) }
