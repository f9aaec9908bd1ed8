package janus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// message is what goes over the WebSocket, in both directions.
type message struct {
	Janus       string          `json:"janus"`
	Transaction string          `json:"transaction,omitempty"`
	Session     uint64          `json:"session_id,omitempty"`
	Handle      uint64          `json:"handle_id,omitempty"`
	Plugin      string          `json:"plugin,omitempty"`
	Body        any             `json:"body,omitempty"`
	JSEP        *jsep           `json:"jsep,omitempty"`
	Sender      uint64          `json:"sender,omitempty"` // the handle that an event is of
	Data        json.RawMessage `json:"data,omitempty"`
	PluginData  struct {
		Data json.RawMessage `json:"data"`
	} `json:"plugindata,omitzero"`
	Error struct {
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	} `json:"error,omitzero"`
}

type jsep struct {
	Type string `json:"type"` // "offer" or "answer"
	SDP  string `json:"sdp"`
}

// session is one session with its WebSocket; all handles are in it.
type session struct {
	conn *websocket.Conn
	id   uint64
	done chan struct{} // nothing is read any more
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	last    uint64                  // transaction
	waiting map[string]chan message // by transaction
	bytes   map[uint64]*atomic.Uint64
	err     error
}

// open begins a session and keeps it alive until close.
func open(ctx context.Context, url string) (*session, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"janus-protocol"}})
	if err != nil {
		return nil, fmt.Errorf("open Janus' WebSocket: %w", err)
	}
	conn.SetReadLimit(8 << 20)
	life, stop := context.WithCancel(context.Background())
	s := &session{conn: conn, done: make(chan struct{}), stop: stop, waiting: map[string]chan message{}, bytes: map[uint64]*atomic.Uint64{}}
	s.work.Go(func() { s.read(life) })
	created, err := s.ask(ctx, message{Janus: "create"})
	if err == nil {
		s.id, err = id(created.Data)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.work.Go(func() { s.keep(life) })
	return s, nil
}

func id(data json.RawMessage) (uint64, error) {
	var d struct {
		ID uint64 `json:"id"`
	}
	if err := json.Unmarshal(data, &d); err != nil || d.ID == 0 {
		return 0, fmt.Errorf("janus gave no id in %.200s", data)
	}
	return d.ID, nil
}

// keep says that the session is alive.
func (s *session) keep(ctx context.Context) {
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.send(ctx, message{Janus: "keepalive", Transaction: "alive", Session: s.id})
		case <-ctx.Done():
			return
		}
	}
}

func (s *session) send(ctx context.Context, m message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %q: %w", m.Janus, err)
	}
	if err := s.conn.Write(ctx, websocket.MessageText, data); err != nil {
		return fmt.Errorf("send %q to Janus: %w", m.Janus, err)
	}
	return nil
}

// ask sends a request and waits for what it brings: for an asynchronous one the
// event, not the acknowledgement before it.
func (s *session) ask(ctx context.Context, m message) (message, error) {
	reply := make(chan message, 1)
	s.mu.Lock()
	s.last++
	m.Transaction, m.Session = strconv.FormatUint(s.last, 10), s.id
	s.waiting[m.Transaction] = reply
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, m.Transaction)
		s.mu.Unlock()
	}()
	if err := s.send(ctx, m); err != nil {
		return message{}, err
	}
	select {
	case r := <-reply:
		return r, r.failed()
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return message{}, fmt.Errorf("janus' WebSocket ended: %w", s.err)
	case <-ctx.Done():
		return message{}, fmt.Errorf("waiting for Janus to answer %q: %w", m.Janus, ctx.Err())
	}
}

// failed is the error that a reply tells, of the core or of a plugin.
func (m *message) failed() error {
	if m.Janus == "error" {
		return fmt.Errorf("janus refuses (%d): %s", m.Error.Code, m.Error.Reason)
	}
	var p struct {
		Code  int    `json:"error_code"`
		Error string `json:"error"`
	}
	if len(m.PluginData.Data) > 0 && json.Unmarshal(m.PluginData.Data, &p) == nil && p.Code != 0 {
		return fmt.Errorf("janus' plugin refuses (%d): %s", p.Code, p.Error)
	}
	return nil
}

func (s *session) read(ctx context.Context) {
	defer close(s.done)
	for {
		_, data, err := s.conn.Read(ctx)
		var m message
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		s.mu.Lock()
		if err != nil {
			s.err = err
			s.mu.Unlock()
			return
		}
		to := s.waiting[m.Transaction]
		if n := s.bytes[m.Sender]; n != nil {
			n.Add(uint64(len(data)))
		}
		s.mu.Unlock()
		if to != nil && m.Janus != "ack" {
			select {
			case to <- m:
			default: // it has its answer
			}
		}
	}
}

func (s *session) close() {
	s.stop()
	_ = s.conn.CloseNow()
	s.work.Wait()
}

// Handle is one attachment to a plugin, which is at most one peer connection.
type Handle struct {
	session *session
	id      uint64
	bytes   *atomic.Uint64
}

func (s *session) attach(ctx context.Context, plugin string) (*Handle, error) {
	r, err := s.ask(ctx, message{Janus: "attach", Plugin: plugin})
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", plugin, err)
	}
	h := &Handle{session: s, bytes: &atomic.Uint64{}}
	if h.id, err = id(r.Data); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.bytes[h.id] = h.bytes
	s.mu.Unlock()
	return h, nil
}

// ask sends a plugin a message and decodes its answer's data into data, when that
// is not nil. The SDP of the answer is returned, if there is one.
func (h *Handle) ask(ctx context.Context, body any, sdp *jsep, data any) (string, error) {
	r, err := h.session.ask(ctx, message{Janus: "message", Handle: h.id, Body: body, JSEP: sdp})
	if err != nil {
		return "", err
	}
	if data != nil {
		if err := json.Unmarshal(r.PluginData.Data, data); err != nil {
			return "", fmt.Errorf("read what Janus' plugin says: %w", err)
		}
	}
	if r.JSEP == nil {
		return "", nil
	}
	return r.JSEP.SDP, nil
}

// Answer gives Janus the answer to an offer that it made.
func (h *Handle) Answer(ctx context.Context, room uint64, sdp string) error {
	_, err := h.ask(ctx, map[string]any{"request": "start", "room": room}, &jsep{"answer", sdp}, nil)
	return err
}

// Bytes is how much the handle was told over the WebSocket.
func (h *Handle) Bytes() uint64 { return h.bytes.Load() }

// Detach ends the handle and its peer connection.
func (h *Handle) Detach(ctx context.Context) error {
	_, err := h.session.ask(ctx, message{Janus: "detach", Handle: h.id})
	h.session.mu.Lock()
	delete(h.session.bytes, h.id)
	h.session.mu.Unlock()
	return err
}

var errNoSDP = errors.New("janus answered without an SDP")
