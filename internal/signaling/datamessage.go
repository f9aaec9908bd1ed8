package signaling

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"belfry/internal/meeting"
	"belfry/internal/signaling/signalpb"
)

// Limits of data messages, other than how many there may be.
const (
	maxTopic    = 36
	maxData     = 2048
	maxLifetime = 300_000 // milliseconds; more is cut

	maxStored      = 2048    // messages kept for one meeting
	maxStoredBytes = 4 << 20 // and their size
	maxReplayFrame = 48 << 10
	maxReceipts    = 4096
)

// messageStore keeps a meeting's data messages until they expire, oldest first.
// room.mu guards it, Server.mu while it is parked.
type messageStore struct {
	kept     []keptMessage
	bytes    int
	last     int64              // ingest time of the newest message ever
	receipts map[string]receipt // by full attendee id, of connections that are gone
}

// receipt is up to which ingest time a client is known to have the messages.
type receipt struct {
	audioSession uint64
	upTo         int64
}

type keptMessage struct {
	payload *signalpb.SdkDataMessagePayload
	expires time.Time
}

// stamp gives the next ingest time: Unix nanoseconds, always growing.
func (m *messageStore) stamp(now time.Time) int64 {
	m.last = max(now.UnixNano(), m.last+1)
	return m.last
}

func (m *messageStore) keep(payload *signalpb.SdkDataMessagePayload, expires time.Time) {
	m.kept = append(m.kept, keptMessage{payload, expires})
	m.bytes += storedSize(payload)
	for len(m.kept) > maxStored || m.bytes > maxStoredBytes {
		m.bytes -= storedSize(m.kept[0].payload)
		m.kept[0] = keptMessage{}
		m.kept = m.kept[1:]
	}
}

func storedSize(p *signalpb.SdkDataMessagePayload) int {
	return len(p.GetData()) + len(p.GetTopic()) + len(p.GetSenderAttendeeId()) + len(p.GetSenderExternalUserId())
}

// expire forgets what has had its time. Lifetimes differ, so all are looked at.
func (m *messageStore) expire(now time.Time) {
	if m == nil || len(m.kept) == 0 {
		return
	}
	live := m.kept[:0]
	for _, k := range m.kept {
		if k.expires.After(now) {
			live = append(live, k)
		} else {
			m.bytes -= storedSize(k.payload)
		}
	}
	clear(m.kept[len(live):])
	m.kept = live
	if len(live) == 0 {
		m.receipts = nil
	}
}

// remember keeps what a connection that ends has received, for its next one.
func (m *messageStore) remember(p *participant) {
	if p.audioSession == 0 || p.confirmedNs == 0 || m.empty() || len(m.receipts) >= maxReceipts {
		return
	}
	if m.receipts == nil {
		m.receipts = map[string]receipt{}
	}
	m.receipts[p.ownID] = receipt{p.audioSession, p.confirmedNs}
}

// received is the other end of remember.
func (m *messageStore) received(p *participant) int64 {
	if r, ok := m.receipts[p.ownID]; ok && r.audioSession == p.audioSession {
		return r.upTo
	}
	return 0
}

func (m *messageStore) empty() bool { return m == nil || len(m.kept) == 0 }

// badMessage says what is wrong with a message, "" for nothing.
func badMessage(m *signalpb.SdkDataMessagePayload) string {
	topic := m.GetTopic()
	switch {
	case strings.HasPrefix(topic, "aws:"):
		return "data message topics that begin with aws: are reserved"
	case topic == "" || len(topic) > maxTopic:
		return fmt.Sprintf("data message topic must have 1 to %d characters", maxTopic)
	case strings.IndexFunc(topic, notInTopic) >= 0:
		return "data message topic may hold letters, digits, _ and - only"
	case len(m.GetData()) > maxData:
		return fmt.Sprintf("data message has %d bytes, %d are allowed", len(m.GetData()), maxData)
	}
	return ""
}

func notInTopic(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// handleDataMessages takes what a client sends. A message that breaks a rule is
// refused by itself.
func (s *session) handleDataMessages(messages []*signalpb.SdkDataMessagePayload) {
	var good, throttled []*signalpb.SdkDataMessagePayload
	from, may := s.member.room.speaker(s.member)
	s.data.follow(s.srv.quotas(s.meeting.Account), s.frames, s.srv.now())
	count := func(outcome string) { s.srv.metrics.data.WithLabelValues(outcome).Inc() }
	for _, m := range messages {
		now := s.srv.now()
		if !s.data.hard.AllowN(now, 1) {
			count("over_hard_limit")
			s.abuse("too many data messages")
			return
		}
		problem := badMessage(m)
		if !may {
			problem = "an attendee of a replica sends no data messages unless it is promoted"
		}
		if problem != "" {
			count("refused")
			s.complain("data_message", problem)
			continue
		}
		// Only these members are the client's to set.
		clean := &signalpb.SdkDataMessagePayload{
			Topic:                m.Topic,
			Data:                 m.Data,
			SenderAttendeeId:     proto.String(from.id),
			SenderExternalUserId: proto.String(from.externalUserID),
		}
		if m.GetLifetimeMs() > 0 {
			clean.LifetimeMs = proto.Uint32(min(m.GetLifetimeMs(), maxLifetime))
		}
		if !s.data.soft.AllowN(now, 1) {
			count("throttled")
			clean.IngestTimeNs = proto.Int64(0)
			throttled = append(throttled, clean)
			continue
		}
		count("delivered")
		good = append(good, clean)
	}
	if len(throttled) > 0 {
		s.sendFrame(dataFrame(throttled))
	}
	if len(good) > 0 {
		s.member.room.post(s.member, from.id, good)
	}
}

func dataFrame(messages []*signalpb.SdkDataMessagePayload) *signalpb.SdkSignalFrame {
	return &signalpb.SdkSignalFrame{
		Type:        signalpb.SdkSignalFrame_DATA_MESSAGE.Enum(),
		DataMessage: &signalpb.SdkDataMessageFrame{Messages: messages},
	}
}

// speaker is who sends by a connection now; may is false for the audience.
func (r *room) speaker(p *participant) (who speaker, may bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return speaker{p.id, p.attendee.ExternalUserID}, !p.hidden()
}

type speaker struct{ id, externalUserID string }

// post delivers messages to every base session but the sender's, who sends them
// as id, and keeps those that have a lifetime.
func (r *room) post(from *participant, id string, messages []*signalpb.SdkDataMessagePayload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if from.gone || from.id != id {
		return
	}
	now := r.srv.now()
	lasting := false
	for _, m := range messages {
		m.IngestTimeNs = proto.Int64(r.messages.stamp(now))
		if m.LifetimeMs != nil {
			lasting = true
			r.messages.keep(m, now.Add(time.Duration(m.GetLifetimeMs())*time.Millisecond))
		}
	}
	data := encode(dataFrame(messages), now)
	for p := range r.everybody() {
		if p.sess == nil || p.content || p.base == from.base {
			continue
		}
		p.sess.send(data)
		if lasting {
			r.askReceipt(p)
		}
	}
}

// replay sends the messages that have not expired to someone who (re)joins,
// without its own and those that it is known to have.
func (r *room) replay(p *participant) {
	if p.content {
		return
	}
	now := r.srv.now()
	r.messages.expire(now)
	p.confirmedNs = r.messages.received(p)
	var batch []*signalpb.SdkDataMessagePayload
	size := 0
	flush := func() {
		if len(batch) > 0 {
			p.sess.sendFrame(dataFrame(batch))
			batch, size = nil, 0
		}
	}
	any := false
	for _, k := range r.messages.kept {
		sender, _ := strings.CutSuffix(k.payload.GetSenderAttendeeId(), meeting.ContentSuffix)
		if k.payload.GetIngestTimeNs() <= p.confirmedNs || sender == p.base {
			continue
		}
		any = true
		batch = append(batch, k.payload)
		if size += storedSize(k.payload); size >= maxReplayFrame {
			flush()
		}
	}
	flush()
	if any {
		r.askReceipt(p)
	}
}

// pings are the server's own, one at a time. The pong proves that everything
// sent before has arrived, which a write to a socket does not: what was written
// to one that had stalled must come again on the next, and only that.
type pings struct {
	id      uint32
	waiting bool  // for the pong to id
	upTo    int64 // what that pong will prove
	sent    int64 // ingest time of the last message sent
}

// askReceipt notes that messages up to the newest were sent. The caller holds mu.
func (r *room) askReceipt(p *participant) {
	p.pings.sent = r.messages.last
	if p.native {
		// It has no such frames; what is sent counts as received.
		p.confirmedNs = p.pings.sent
		return
	}
	if p.pings.waiting {
		return
	}
	p.pings.id++
	p.pings.waiting, p.pings.upTo = true, p.pings.sent
	p.sess.sendFrame(&signalpb.SdkSignalFrame{
		Type: signalpb.SdkSignalFrame_PING_PONG.Enum(),
		PingPong: &signalpb.SdkPingPongFrame{
			Type:   signalpb.SdkPingPongFrame_PING.Enum(),
			PingId: proto.Uint32(p.pings.id),
		},
	})
}

// confirmed takes a pong.
func (r *room) confirmed(p *participant, id uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !p.pings.waiting || id != p.pings.id {
		return
	}
	p.pings.waiting = false
	p.confirmedNs = max(p.confirmedNs, p.pings.upTo)
	if p.pings.sent > p.pings.upTo && p.sess != nil && !p.gone {
		r.askReceipt(p)
	}
}
