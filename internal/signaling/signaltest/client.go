// Package signaltest has a signaling client for tests: it dials the WebSocket as
// the browser client does, joins, subscribes, reads frames and keeps what it
// has not been asked for. Beside it are fakes of the media and the relays. It
// has its own reading of the wire, so that a test is a second opinion.
package signaltest

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"belfry/internal/signaling/signalpb"
)

// Short names for the frame type, which every test needs.
type (
	// Frame is one signaling frame.
	Frame = signalpb.SdkSignalFrame
	// Type is a frame's type.
	Type = signalpb.SdkSignalFrame_Type
)

// Options say how to dial. The zero value dials as the browser client does.
type Options struct {
	HTTPClient   *http.Client // nil: http.DefaultClient
	Native       bool         // as the C++ client: token in a cookie
	Subprotocols []string     // instead of the usual ones
	NoPong       bool         // leave the server's pings unanswered
	// NoRead reads nothing at all, as a client that hangs.
	NoRead bool
}

// Client is one signaling socket. Its methods may be called from any goroutine.
type Client struct {
	conn *websocket.Conn
	opt  Options
	done chan struct{}

	mu      sync.Mutex
	unread  []*Frame
	raw     [][]byte
	changed chan struct{}
	err     error // why reading ended
	pings   uint32

	answer string // the last one, for unpacking the next
	offer  string
}

// Dial opens a socket at url, which is ws:// or http:// with the path
// /control/{meetingId}. token may have the suffix "#content".
func Dial(ctx context.Context, url, token string, opt Options) (*Client, error) {
	dial := &websocket.DialOptions{HTTPClient: opt.HTTPClient, Subprotocols: opt.Subprotocols}
	if dial.Subprotocols == nil {
		dial.Subprotocols = []string{"_aws_wt_session", token}
	}
	if opt.Native {
		dial.Subprotocols = []string{"Signaling-SDK"}
		dial.HTTPHeader = http.Header{"Cookie": {"_aws_wt_session=" + token}}
	}
	conn, resp, err := websocket.Dial(ctx, url+"?X-Chime-Control-Protocol-Version=3&X-Amzn-Chime-Send-Close-On-Error=1", dial)
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("dial: HTTP %d: %w", resp.StatusCode, err)
		}
		return nil, fmt.Errorf("dial: %w", err)
	}
	conn.SetReadLimit(4 << 20)
	c := &Client{conn: conn, opt: opt, done: make(chan struct{}), changed: make(chan struct{})}
	if opt.NoRead {
		close(c.done)
		return c, nil
	}
	go c.read()
	return c, nil
}

// Subprotocol is the one the server chose.
func (c *Client) Subprotocol() string { return c.conn.Subprotocol() }

func (c *Client) read() {
	defer close(c.done)
	for {
		kind, data, err := c.conn.Read(context.Background())
		if err == nil && (kind != websocket.MessageBinary || len(data) < 2 || data[0] != 0x02) {
			err = fmt.Errorf("not a signaling message: type %v, %d bytes", kind, len(data))
		}
		f := &Frame{}
		if err == nil {
			err = proto.Unmarshal(data[1:], f)
		}
		c.mu.Lock()
		if err != nil {
			c.err = err
		} else {
			c.unread = append(c.unread, f)
			c.raw = append(c.raw, data)
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			_ = c.conn.CloseNow()
			return
		}
		if p := f.GetPingPong(); p != nil && p.GetType() == signalpb.SdkPingPongFrame_PING && !c.opt.NoPong {
			_ = c.Send(&Frame{
				Type: signalpb.SdkSignalFrame_PING_PONG.Enum(),
				PingPong: &signalpb.SdkPingPongFrame{
					Type: signalpb.SdkPingPongFrame_PONG.Enum(), PingId: proto.Uint32(p.GetPingId()),
				},
			})
		}
	}
}

// Send stamps and sends one frame.
func (c *Client) Send(f *Frame) error {
	f.TimestampMs = proto.Uint64(uint64(time.Now().UnixMilli()))
	data, err := proto.Marshal(f)
	if err != nil {
		return err
	}
	return c.SendRaw(append([]byte{0x05}, data...))
}

// SendRaw sends one binary message as it is.
func (c *Client) SendRaw(data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageBinary, data)
}

// SendText sends one text message, which the protocol does not have.
func (c *Client) SendText(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, []byte(text))
}

// Await takes the first unread frame that matches, waiting for one to come.
// Frames that do not match stay for later.
func (c *Client) Await(ctx context.Context, match func(*Frame) bool) (*Frame, error) {
	for {
		c.mu.Lock()
		for i, f := range c.unread {
			if match(f) {
				c.unread = append(c.unread[:i:i], c.unread[i+1:]...)
				c.mu.Unlock()
				return f, nil
			}
		}
		err, changed := c.err, c.changed
		c.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("the socket ended: %w", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no such frame came (unread: %v): %w", c.Unread(), ctx.Err())
		}
	}
}

// AwaitType takes the first unread frame of a type.
func (c *Client) AwaitType(ctx context.Context, t Type) (*Frame, error) {
	f, err := c.Await(ctx, func(f *Frame) bool { return f.GetType() == t })
	if err != nil {
		return nil, fmt.Errorf("awaiting %v: %w", t, err)
	}
	return f, nil
}

// Take removes and returns the unread frames of a type without waiting.
func (c *Client) Take(t Type) []*Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out, rest []*Frame
	for _, f := range c.unread {
		if f.GetType() == t {
			out = append(out, f)
		} else {
			rest = append(rest, f)
		}
	}
	c.unread = rest
	return out
}

// TakeAll removes and returns all unread frames, oldest first, without waiting.
func (c *Client) TakeAll() []*Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.unread
	c.unread = nil
	return out
}

// Unread lists the types of the frames that nobody has asked for, oldest first.
func (c *Client) Unread() []Type {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Type
	for _, f := range c.unread {
		out = append(out, f.GetType())
	}
	return out
}

// Raw returns every message that came, prefix byte included.
func (c *Client) Raw() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([][]byte(nil), c.raw...)
}

// Join sends JOIN and waits for JOIN_ACK and the first INDEX. A zero
// audioSession is left out.
func (c *Client) Join(ctx context.Context, audioSession uint64) (ack, index *Frame, err error) {
	join := &signalpb.SdkJoinFrame{
		ProtocolVersion:    proto.Uint32(2),
		Flags:              proto.Uint32(2),
		WantsCompressedSdp: proto.Bool(true),
		ClientDetails: &signalpb.SdkClientDetails{
			ClientSource: proto.String("amazon-chime-sdk-js"), ChimeSdkVersion: proto.String("3.32.0"),
		},
	}
	if audioSession != 0 {
		join.AudioSessionId = proto.Uint64(audioSession)
	}
	return c.JoinWith(ctx, join)
}

// JoinWith is Join with a frame of one's own.
func (c *Client) JoinWith(ctx context.Context, join *signalpb.SdkJoinFrame) (ack, index *Frame, err error) {
	if err := c.Send(&Frame{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: join}); err != nil {
		return nil, nil, err
	}
	if ack, err = c.AwaitType(ctx, signalpb.SdkSignalFrame_JOIN_ACK); err != nil {
		return nil, nil, err
	}
	if ack.GetError().GetStatus() != 0 {
		return ack, nil, fmt.Errorf("JOIN_ACK with error %d: %s", ack.GetError().GetStatus(), ack.GetError().GetDescription())
	}
	index, err = c.AwaitType(ctx, signalpb.SdkSignalFrame_INDEX)
	return ack, index, err
}

// Subscribe sends SUBSCRIBE and waits for its answer, unpacking it into
// sdp_answer if it was compressed.
func (c *Client) Subscribe(ctx context.Context, sub *signalpb.SdkSubscribeFrame) (*Frame, error) {
	if err := c.Send(&Frame{Type: signalpb.SdkSignalFrame_SUBSCRIBE.Enum(), Sub: sub}); err != nil {
		return nil, err
	}
	f, err := c.AwaitType(ctx, signalpb.SdkSignalFrame_SUBSCRIBE_ACK)
	if err != nil {
		return nil, err
	}
	if f.Suback == nil {
		return nil, errors.New("SUBSCRIBE_ACK without payload")
	}
	if packed := f.GetSuback().GetCompressedSdpAnswer(); len(packed) > 0 {
		text, err := io.ReadAll(flate.NewReaderDict(bytes.NewReader(packed), head(c.answer)))
		if err != nil {
			return nil, fmt.Errorf("unpack answer: %w", err)
		}
		c.answer = string(text)
		f.Suback.SdpAnswer = proto.String(c.answer)
	}
	return f, nil
}

// Compress packs an offer. With dictionary it refers to the offer before, as
// clients from 3.0 to 3.18 do; later ones do not.
func (c *Client) Compress(offer string, dictionary bool) []byte {
	var dict []byte
	if dictionary {
		dict = head(c.offer)
	}
	var out bytes.Buffer
	w, err := flate.NewWriterDict(&out, flate.BestCompression, dict)
	if err == nil {
		_, err = io.WriteString(w, offer)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		panic(err) // memory does not fail
	}
	c.offer = offer
	return out.Bytes()
}

func head(text string) []byte { return []byte(text[:min(len(text), 31_744)]) }

// Ping sends the next PING and waits for its PONG.
func (c *Client) Ping(ctx context.Context) error {
	c.mu.Lock()
	c.pings++
	id := c.pings
	c.mu.Unlock()
	err := c.Send(&Frame{
		Type:     signalpb.SdkSignalFrame_PING_PONG.Enum(),
		PingPong: &signalpb.SdkPingPongFrame{Type: signalpb.SdkPingPongFrame_PING.Enum(), PingId: proto.Uint32(id)},
	})
	if err != nil {
		return err
	}
	_, err = c.Await(ctx, func(f *Frame) bool {
		p := f.GetPingPong()
		return p != nil && p.GetType() == signalpb.SdkPingPongFrame_PONG && p.GetPingId() == id
	})
	return err
}

// Mute sends AUDIO_CONTROL.
func (c *Client) Mute(muted bool) error {
	return c.Send(&Frame{
		Type:         signalpb.SdkSignalFrame_AUDIO_CONTROL.Enum(),
		AudioControl: &signalpb.SdkAudioControlFrame{Muted: proto.Bool(muted)},
	})
}

// Message sends one data message; a zero lifetime is left out.
func (c *Client) Message(topic, data string, lifetimeMs uint32) error {
	m := &signalpb.SdkDataMessagePayload{Topic: proto.String(topic), Data: []byte(data)}
	if lifetimeMs != 0 {
		m.LifetimeMs = proto.Uint32(lifetimeMs)
	}
	return c.Send(&Frame{
		Type:        signalpb.SdkSignalFrame_DATA_MESSAGE.Enum(),
		DataMessage: &signalpb.SdkDataMessageFrame{Messages: []*signalpb.SdkDataMessagePayload{m}},
	})
}

// Promote sends PRIMARY_MEETING_JOIN and waits for its answer.
func (c *Client) Promote(ctx context.Context, credentials *signalpb.SdkMeetingSessionCredentials) (*Frame, error) {
	err := c.Send(&Frame{
		Type:               signalpb.SdkSignalFrame_PRIMARY_MEETING_JOIN.Enum(),
		PrimaryMeetingJoin: &signalpb.SdkPrimaryMeetingJoinFrame{Credentials: credentials},
	})
	if err != nil {
		return nil, err
	}
	return c.AwaitType(ctx, signalpb.SdkSignalFrame_PRIMARY_MEETING_JOIN_ACK)
}

// Demote sends PRIMARY_MEETING_LEAVE, which has no answer.
func (c *Client) Demote() error {
	return c.Send(&Frame{
		Type:                signalpb.SdkSignalFrame_PRIMARY_MEETING_LEAVE.Enum(),
		PrimaryMeetingLeave: &signalpb.SdkPrimaryMeetingLeaveFrame{},
	})
}

// Leave sends LEAVE and waits for LEAVE_ACK.
func (c *Client) Leave(ctx context.Context) error {
	if err := c.Send(&Frame{Type: signalpb.SdkSignalFrame_LEAVE.Enum(), Leave: &signalpb.SdkLeaveFrame{}}); err != nil {
		return err
	}
	_, err := c.AwaitType(ctx, signalpb.SdkSignalFrame_LEAVE_ACK)
	return err
}

// Closed waits for the end of the socket and returns the server's close code and
// reason; 1006 when there was no close frame.
func (c *Client) Closed(ctx context.Context) (code int, reason string, err error) {
	select {
	case <-c.done:
	case <-ctx.Done():
		return 0, "", fmt.Errorf("the socket is still open (unread: %v): %w", c.Unread(), ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var ce websocket.CloseError
	if errors.As(c.err, &ce) {
		return int(ce.Code), ce.Reason, nil
	}
	return 1006, "", nil
}

// Close closes as a browser does: without a code.
func (c *Client) Close() {
	_ = c.conn.Close(websocket.StatusNoStatusRcvd, "")
	<-c.done
}

// Cut ends the connection without a close frame.
func (c *Client) Cut() {
	_ = c.conn.CloseNow()
	<-c.done
}

// PipeListener is a net.Listener in memory; with HTTPClient it lets a server and
// its clients live in a testing/synctest bubble.
type PipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// NewPipeListener returns an open PipeListener.
func NewPipeListener() *PipeListener {
	return &PipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *PipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *PipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *PipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// HTTPClient dials the listener whatever the address is.
func (l *PipeListener) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case l.conns <- there:
				return here, nil
			case <-l.done:
				return nil, net.ErrClosed
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}}
}
