package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"belfry/internal/signaling/signalpb"
)

type frame = signalpb.SdkSignalFrame

// line is one signaling socket, spoken as the browser client does.
type line struct {
	conn  *websocket.Conn
	done  chan struct{}
	bytes SignalBytes // received

	mu      sync.Mutex
	unread  []*frame
	index   *signalpb.SdkIndexFrame // the last one
	roster  int                     // attendees, as told
	changed chan struct{}
	err     error
}

// SignalBytes is how much signaling somebody was sent, in bytes.
type SignalBytes struct {
	Roster uint64 `json:"roster"` // who is there
	Index  uint64 `json:"index"`  // whose video runs
	Levels uint64 `json:"levels"` // who talks how loud
	Other  uint64 `json:"other"`  // mostly what is negotiated
}

// Sum is all of it.
func (b SignalBytes) Sum() uint64 { return b.Roster + b.Index + b.Levels + b.Other }

func (b *SignalBytes) add(t signalpb.SdkSignalFrame_Type, n int) {
	switch t {
	case signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO:
		b.Roster += uint64(n)
	case signalpb.SdkSignalFrame_INDEX:
		b.Index += uint64(n)
	case signalpb.SdkSignalFrame_AUDIO_METADATA:
		b.Levels += uint64(n)
	default:
		b.Other += uint64(n)
	}
}

// Add adds what another was sent.
func (b *SignalBytes) Add(o SignalBytes) {
	b.Roster += o.Roster
	b.Index += o.Index
	b.Levels += o.Levels
	b.Other += o.Other
}

// dial opens the socket and joins.
func dial(ctx context.Context, url, token string) (*line, error) {
	conn, resp, err := websocket.Dial(ctx, url+"?X-Chime-Control-Protocol-Version=3&X-Amzn-Chime-Send-Close-On-Error=1",
		&websocket.DialOptions{Subprotocols: []string{"_aws_wt_session", token}})
	if err != nil {
		if resp != nil {
			return nil, &refusal{Status: resp.StatusCode, err: err}
		}
		return nil, fmt.Errorf("open signaling: %w", err)
	}
	conn.SetReadLimit(4 << 20)
	l := &line{conn: conn, done: make(chan struct{}), changed: make(chan struct{})}
	go l.read()
	if err := l.join(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// refusal is a socket that was not opened.
type refusal struct {
	Status int // of HTTP
	err    error
}

func (r *refusal) Error() string { return fmt.Sprintf("open signaling (HTTP %d): %v", r.Status, r.err) }

func (r *refusal) Unwrap() error { return r.err }

func (l *line) join(ctx context.Context) error {
	err := l.send(&frame{Type: signalpb.SdkSignalFrame_JOIN.Enum(), Join: &signalpb.SdkJoinFrame{
		ProtocolVersion: proto.Uint32(2), MaxNumOfVideos: proto.Uint32(25), Flags: proto.Uint32(1 | 2 | 8 | 32),
		AudioSessionId: proto.Uint64(rand.Uint64() >> 11),
		ClientDetails:  &signalpb.SdkClientDetails{AppName: proto.String("belfry-bench"), ChimeSdkVersion: proto.String("3.32.0"), ClientSource: proto.String("amazon-chime-sdk-js")},
	}})
	if err != nil {
		return err
	}
	if f, err := l.await(ctx, signalpb.SdkSignalFrame_JOIN_ACK); err != nil {
		return err
	} else if s := f.GetError().GetStatus(); s >= 300 {
		return fmt.Errorf("JOIN is refused with %d: %s", s, f.GetError().GetDescription())
	}
	return l.until(ctx, "INDEX", func() bool { return l.index != nil })
}

// subscribe sends SUBSCRIBE and returns the answer.
func (l *line) subscribe(ctx context.Context, offer string, sendKbps int, receive []uint32) (string, error) {
	sub := &signalpb.SdkSubscribeFrame{Duplex: signalpb.SdkStreamServiceType_DUPLEX.Enum(), SdpOffer: &offer, ReceiveStreamIds: receive}
	if sendKbps > 0 {
		sub.SendStreams = []*signalpb.SdkStreamDescriptor{{MediaType: signalpb.SdkStreamMediaType_VIDEO.Enum(), TrackLabel: proto.String("camera"),
			MaxBitrateKbps: proto.Uint32(uint32(sendKbps)), Framerate: proto.Uint32(30)}}
	}
	if err := l.send(&frame{Type: signalpb.SdkSignalFrame_SUBSCRIBE.Enum(), Sub: sub}); err != nil {
		return "", err
	}
	f, err := l.await(ctx, signalpb.SdkSignalFrame_SUBSCRIBE_ACK)
	if err != nil {
		return "", err
	}
	if s := f.GetError().GetStatus(); s >= 300 || f.GetSuback().GetSdpAnswer() == "" {
		return "", fmt.Errorf("SUBSCRIBE is refused with %d: %s", s, f.GetError().GetDescription())
	}
	return f.GetSuback().GetSdpAnswer(), nil
}

// videos waits until so many streams are listed and returns their ids.
func (l *line) videos(ctx context.Context, n int) ([]uint32, error) {
	var ids []uint32
	err := l.until(ctx, fmt.Sprintf("INDEX with %d videos", n), func() bool {
		ids = ids[:0]
		for _, s := range l.index.GetSources() {
			ids = append(ids, s.GetStreamId())
		}
		return len(ids) >= n
	})
	slices.Sort(ids)
	return ids[:min(n, len(ids))], err
}

func (l *line) send(f *frame) error {
	f.TimestampMs = proto.Uint64(uint64(time.Now().UnixMilli()))
	data, err := proto.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode %v: %w", f.GetType(), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.conn.Write(ctx, websocket.MessageBinary, append([]byte{0x05}, data...)); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.err != nil { // why the socket was closed
			err = l.err
		}
		return fmt.Errorf("send %v: %w", f.GetType(), err)
	}
	return nil
}

func (l *line) ping(id uint32) error {
	return l.send(&frame{Type: signalpb.SdkSignalFrame_PING_PONG.Enum(),
		PingPong: &signalpb.SdkPingPongFrame{Type: signalpb.SdkPingPongFrame_PING.Enum(), PingId: &id}})
}

func (l *line) read() {
	defer close(l.done)
	for {
		kind, data, err := l.conn.Read(context.Background())
		f := &frame{}
		if err == nil {
			if kind != websocket.MessageBinary || len(data) < 2 || data[0] != 0x02 {
				err = errors.New("not a signaling message")
			} else {
				err = proto.Unmarshal(data[1:], f)
			}
		}
		if p := f.GetPingPong(); p.GetType() == signalpb.SdkPingPongFrame_PING && p != nil {
			_ = l.send(&frame{Type: signalpb.SdkSignalFrame_PING_PONG.Enum(),
				PingPong: &signalpb.SdkPingPongFrame{Type: signalpb.SdkPingPongFrame_PONG.Enum(), PingId: p.PingId}})
		}
		l.mu.Lock()
		l.bytes.add(f.GetType(), len(data))
		l.take(f, err)
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			_ = l.conn.CloseNow()
			return
		}
	}
}

func (l *line) take(f *frame, err error) {
	switch {
	case err != nil:
		l.err = err
	case f.GetType() == signalpb.SdkSignalFrame_JOIN_ACK || f.GetType() == signalpb.SdkSignalFrame_SUBSCRIBE_ACK:
		l.unread = append(l.unread, f)
	case f.GetType() == signalpb.SdkSignalFrame_INDEX:
		l.index = f.GetIndex()
	case f.GetType() == signalpb.SdkSignalFrame_AUDIO_STREAM_ID_INFO:
		for _, s := range f.GetAudioStreamIdInfo().GetStreams() {
			switch {
			case s.AttendeeId != nil:
				l.roster++
			case s.Muted == nil:
				l.roster--
			}
		}
	}
}

func (l *line) await(ctx context.Context, t signalpb.SdkSignalFrame_Type) (f *frame, err error) {
	err = l.until(ctx, t.String(), func() bool {
		for i, u := range l.unread {
			if u.GetType() == t {
				f, l.unread = u, slices.Delete(l.unread, i, i+1)
				return true
			}
		}
		return false
	})
	return f, err
}

// until waits for ok, which is asked with the lock held.
func (l *line) until(ctx context.Context, what string, ok func() bool) error {
	for {
		l.mu.Lock()
		good, err, changed := ok(), l.err, l.changed
		l.mu.Unlock()
		if good {
			return nil
		}
		if err != nil {
			return fmt.Errorf("signaling ended while waiting for %s: %w", what, err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

func (l *line) close() {
	_ = l.conn.CloseNow()
	<-l.done
}
