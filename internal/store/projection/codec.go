package projection

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"belfry/internal/meeting"
)

// Version is the encoding that this package writes, and the newest it reads.
// Members may be added to it; a change of meaning needs a new number.
const Version = 1

// ErrNewer says that data was written by a newer version of the program.
var ErrNewer = errors.New("the data was written by a newer version")

// Record is what one message of the log holds: the commits that were made with
// one sync. ID tells the message from any other.
type Record struct {
	ID      string
	Commits [][]Op
}

// The types below are the encoding: JSON with short names. They repeat the
// domain's types because join tokens must be written as they are, and so that a
// name of the domain can change without a change on disk.
type wireRecord struct {
	Version int        `json:"v"`
	ID      string     `json:"id"`
	Commits [][]wireOp `json:"c"`
}

// wireOp has exactly one member set.
type wireOp struct {
	Meeting         *wireMeeting  `json:"m,omitempty"`
	MeetingDeleted  string        `json:"md,omitempty"`
	Attendee        *wireAttendee `json:"a,omitempty"`
	AttendeeDeleted *wireGone     `json:"ad,omitempty"`
	Presence        *wirePresence `json:"p,omitempty"`
	PresenceDeleted *wireLeft     `json:"pd,omitempty"`
	Event           *wireEvent    `json:"e,omitempty"`
	Setting         *wireSetting  `json:"s,omitempty"`
	SettingGone     string        `json:"sd,omitempty"`
	Delivered       *wireProgress `json:"dl,omitempty"`
	DeadLetter      *wireDead     `json:"x,omitempty"`
	DeadRemoved     uint64        `json:"xd,omitempty"`

	// In snapshots alone.
	Journal    *wireJournal    `json:"j,omitempty"`
	Attendance *wireAttendance `json:"n,omitempty"`
	LastSeq    uint64          `json:"q,omitempty"`
}

type wireMeeting struct {
	ID        string        `json:"id"`
	Seq       uint64        `json:"n"`
	Account   string        `json:"ac"`
	Region    string        `json:"cr,omitempty"`
	Token     string        `json:"ct,omitempty"`
	External  string        `json:"x,omitempty"`
	Host      string        `json:"h,omitempty"`
	Media     string        `json:"mr,omitempty"`
	Primary   string        `json:"p,omitempty"`
	Tenants   []string      `json:"tn,omitempty"`
	Network   string        `json:"nt,omitempty"`
	Features  *wireFeatures `json:"f,omitempty"`
	SNS       string        `json:"sns,omitempty"`
	SQS       string        `json:"sqs,omitempty"`
	Lambda    string        `json:"lam,omitempty"`
	Webhooks  []string      `json:"wh,omitempty"`
	Tags      []wireTag     `json:"t,omitempty"`
	CreatedAt time.Time     `json:"at"`

	Transcribing *wireTranscribing `json:"ts,omitempty"`
}

type wireTranscribing struct {
	ID            string    `json:"id"`
	Region        string    `json:"r,omitempty"`
	Configuration string    `json:"c"`
	Status        string    `json:"s,omitempty"`
	At            time.Time `json:"at"`
}

type wireFeatures struct {
	Echo    string `json:"e,omitempty"`
	Video   string `json:"v,omitempty"`
	Content string `json:"c,omitempty"`
	Max     int    `json:"m,omitempty"`
}

type wireTag struct {
	Key   string `json:"k"`
	Value string `json:"v"`
}

type wireAttendee struct {
	ID        string    `json:"id"`
	Seq       uint64    `json:"n"`
	Meeting   string    `json:"m"`
	User      string    `json:"u,omitempty"`
	Token     string    `json:"jt"`
	Audio     string    `json:"ca,omitempty"`
	Video     string    `json:"cv,omitempty"`
	Content   string    `json:"cc,omitempty"`
	Tags      []wireTag `json:"t,omitempty"`
	CreatedAt time.Time `json:"at"`
}

type wireGone struct {
	Meeting  string `json:"m"`
	Attendee string `json:"a"`
}

type wirePresence struct {
	Meeting  string    `json:"m"`
	Attendee string    `json:"a"`
	Since    time.Time `json:"at"`
	Video    bool      `json:"v,omitempty"`
	Node     string    `json:"o,omitempty"`
}

type wireLeft struct {
	Meeting  string    `json:"m"`
	Attendee string    `json:"a"`
	At       time.Time `json:"at"`
}

// wireAttendance is since when too few are in a meeting; how many follows from
// the presences before it.
type wireAttendance struct {
	Meeting string    `json:"m"`
	Empty   time.Time `json:"e,omitzero"`
	Lone    time.Time `json:"l,omitzero"`
}

type wireEvent struct {
	ID       string    `json:"id"`
	Number   uint64    `json:"n"`
	Type     string    `json:"t"`
	At       time.Time `json:"at"`
	Account  string    `json:"ac,omitempty"`
	Region   string    `json:"cr,omitempty"`
	Meeting  string    `json:"m"`
	External string    `json:"x,omitempty"`
	Media    string    `json:"mr,omitempty"`
	Attendee string    `json:"a,omitempty"`
	User     string    `json:"u,omitempty"`
	Network  string    `json:"nt,omitempty"`
	Audio    string    `json:"ca,omitempty"` // capabilities: all three or none
	Video    string    `json:"cv,omitempty"`
	Content  string    `json:"cc,omitempty"`

	Transcription *wireTranscription `json:"tr,omitempty"`
}

type wireTranscription struct {
	Region        string `json:"r,omitempty"`
	Configuration string `json:"c,omitempty"`
	Message       string `json:"m,omitempty"`
}

type wireSetting struct {
	Name  string `json:"k"`
	Value []byte `json:"v"`
}

type wireJournal struct {
	Meeting string         `json:"m"`
	Last    uint64         `json:"n"`
	At      time.Time      `json:"at"`
	Targets []wireProgress `json:"t,omitempty"`
	Keep    bool           `json:"k,omitempty"` // what was there before Targets: the meeting's are meant
}

type wireProgress struct {
	Meeting string `json:"m,omitempty"`
	Kind    string `json:"k"`
	Address string `json:"a"`
	Through uint64 `json:"n,omitempty"`
}

type wireDead struct {
	Seq      uint64     `json:"n"`
	Kind     string     `json:"k"`
	Address  string     `json:"a"`
	Event    *wireEvent `json:"e"`
	At       time.Time  `json:"at"`
	Attempts int        `json:"t,omitempty"`
	Reason   string     `json:"r,omitempty"`
}

// EncodeOps encodes one commit, to be joined with others by EncodeRecord.
func EncodeOps(ops []Op) (json.RawMessage, error) {
	wire := make([]wireOp, len(ops))
	for i, op := range ops {
		wire[i] = toWire(op)
	}
	return json.Marshal(wire)
}

// EncodeRecord encodes a Record from its ID and its commits, encoded. It joins
// them as they are: json.Marshal would read every byte of them again.
func EncodeRecord(id string, commits []json.RawMessage) ([]byte, error) {
	head, err := json.Marshal(struct {
		Version int    `json:"v"`
		ID      string `json:"id"`
	}{Version, id})
	if err != nil {
		return nil, err
	}
	const list, end = `,"c":[`, `]}`
	size := len(head) + len(list) + len(end)
	for _, c := range commits {
		size += len(c) + 1
	}
	out := append(make([]byte, 0, size), head[:len(head)-1]...)
	out = append(out, list...)
	for i, c := range commits {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, c...)
	}
	return append(out, end...), nil
}

// DecodeRecord is the reverse of EncodeRecord. Of what was deleted only the ids
// are known; State.Apply fills in the rest.
func DecodeRecord(data []byte) (Record, error) {
	var wire wireRecord
	if err := decode(data, &wire); err != nil {
		return Record{}, err
	}
	r := Record{ID: wire.ID}
	for _, commit := range wire.Commits {
		ops := make([]Op, 0, len(commit))
		for _, w := range commit {
			ops = append(ops, fromWire(w))
		}
		r.Commits = append(r.Commits, ops)
	}
	return r, nil
}

// decode looks at the version before it believes the rest.
func decode(data []byte, into any) error {
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("decode store record: %w", err)
	}
	if head.Version > Version {
		return fmt.Errorf("decode store record of version %d: %w", head.Version, ErrNewer)
	}
	if head.Version < 1 {
		return fmt.Errorf("decode store record: no version")
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode store record: %w", err)
	}
	return nil
}

func toWire(op Op) (w wireOp) {
	switch ch := op.Change; {
	case ch.MeetingPut != nil:
		w.Meeting = wireFromMeeting(ch.MeetingPut)
	case ch.MeetingDeleted != nil:
		w.MeetingDeleted = ch.MeetingDeleted.ID
	case ch.AttendeePut != nil:
		w.Attendee = wireFromAttendee(ch.AttendeePut)
	case ch.AttendeeDeleted != nil:
		w.AttendeeDeleted = &wireGone{Meeting: ch.AttendeeDeleted.MeetingID, Attendee: ch.AttendeeDeleted.ID}
	case ch.PresencePut != nil:
		w.Presence = wireFromPresence(ch.PresencePut)
	case ch.PresenceDeleted != nil:
		w.PresenceDeleted = &wireLeft{Meeting: ch.PresenceDeleted.MeetingID, Attendee: ch.PresenceDeleted.AttendeeID, At: op.Gone}
	case ch.Event != nil:
		w.Event = wireFromEvent(ch.Event)
	case op.Setting != nil:
		w.Setting = &wireSetting{Name: op.Setting.Name, Value: op.Setting.Value}
	case op.SettingGone != "":
		w.SettingGone = op.SettingGone
	case op.Delivered != nil:
		p := wireFromDelivery(op.Delivered.Delivery)
		p.Meeting = op.Delivered.MeetingID
		w.Delivered = &p
	case op.DeadLetter != nil:
		w.DeadLetter = wireFromDead(op.DeadLetter)
	case op.DeadRemoved != 0:
		w.DeadRemoved = op.DeadRemoved
	}
	return w
}

// fromWire makes an Op that may be empty, when a later version wrote a member
// that is not known here.
func fromWire(w wireOp) (op Op) {
	switch {
	case w.Meeting != nil:
		op.MeetingPut = w.Meeting.meeting()
	case w.MeetingDeleted != "":
		op.MeetingDeleted = &meeting.Meeting{ID: w.MeetingDeleted}
	case w.Attendee != nil:
		op.AttendeePut = w.Attendee.attendee()
	case w.AttendeeDeleted != nil:
		op.AttendeeDeleted = &meeting.Attendee{MeetingID: w.AttendeeDeleted.Meeting, ID: w.AttendeeDeleted.Attendee}
	case w.Presence != nil:
		op.PresencePut = w.Presence.presence()
	case w.PresenceDeleted != nil:
		op.PresenceDeleted = &meeting.Presence{MeetingID: w.PresenceDeleted.Meeting, AttendeeID: w.PresenceDeleted.Attendee}
		op.Gone = w.PresenceDeleted.At.UTC()
	case w.Event != nil:
		e := w.Event.event()
		op.Event = &e
	case w.Setting != nil:
		value := w.Setting.Value
		if value == nil {
			value = []byte{}
		}
		op.Setting = &Setting{Name: w.Setting.Name, Value: value}
	case w.SettingGone != "":
		op.SettingGone = w.SettingGone
	case w.Delivered != nil:
		op.Delivered = &Delivered{MeetingID: w.Delivered.Meeting, Delivery: w.Delivered.delivery()}
	case w.DeadLetter != nil && w.DeadLetter.Event != nil:
		op.DeadLetter = w.DeadLetter.deadLetter()
	case w.DeadRemoved != 0:
		op.DeadRemoved = w.DeadRemoved
	}
	return op
}

func wireFromMeeting(m *meeting.Meeting) *wireMeeting {
	w := &wireMeeting{
		ID: m.ID, Seq: m.Seq, Account: m.Account, Region: m.ControlRegion, Token: m.ClientRequestToken,
		External: m.ExternalMeetingID, Host: m.HostID, Media: m.MediaRegion, Primary: m.PrimaryMeetingID,
		Tenants: m.TenantIDs, Network: m.NetworkType, Tags: wireTags(m.Tags), CreatedAt: m.CreatedAt,
		SNS: m.Notifications.SNSTopicARN, SQS: m.Notifications.SQSQueueARN, Lambda: m.Notifications.LambdaFunctionARN,
		Webhooks: m.Notifications.Webhooks,
	}
	if f := m.Features; f != nil {
		w.Features = &wireFeatures{Echo: f.AudioEchoReduction, Video: f.VideoMaxResolution,
			Content: f.ContentMaxResolution, Max: f.AttendeeMaxCount}
	}
	if t := m.Transcribing; t != nil {
		w.Transcribing = &wireTranscribing{ID: t.ID, Region: t.Region, Configuration: t.Configuration, Status: string(t.Status), At: t.At}
	}
	return w
}

func (w *wireMeeting) meeting() *meeting.Meeting {
	m := &meeting.Meeting{
		ID: w.ID, Seq: w.Seq, Account: w.Account, ControlRegion: w.Region, ClientRequestToken: w.Token,
		ExternalMeetingID: w.External, HostID: w.Host, MediaRegion: w.Media, PrimaryMeetingID: w.Primary,
		TenantIDs: cloneList(w.Tenants), NetworkType: w.Network, Tags: tagsOf(w.Tags), CreatedAt: w.CreatedAt.UTC(),
		Notifications: meeting.Notifications{SNSTopicARN: w.SNS, SQSQueueARN: w.SQS, LambdaFunctionARN: w.Lambda, Webhooks: cloneList(w.Webhooks)},
	}
	if f := w.Features; f != nil {
		m.Features = &meeting.Features{AudioEchoReduction: f.Echo, VideoMaxResolution: f.Video,
			ContentMaxResolution: f.Content, AttendeeMaxCount: f.Max}
	}
	if t := w.Transcribing; t != nil {
		m.Transcribing = &meeting.Transcribing{
			ID: t.ID, Region: t.Region, Configuration: t.Configuration, Status: meeting.TranscribingStatus(t.Status), At: t.At.UTC(),
		}
	}
	return m
}

func wireFromAttendee(a *meeting.Attendee) *wireAttendee {
	return &wireAttendee{
		ID: a.ID, Seq: a.Seq, Meeting: a.MeetingID, User: a.ExternalUserID, Token: a.JoinToken.Reveal(),
		Audio: string(a.Capabilities.Audio), Video: string(a.Capabilities.Video), Content: string(a.Capabilities.Content),
		Tags: wireTags(a.Tags), CreatedAt: a.CreatedAt,
	}
}

func (w *wireAttendee) attendee() *meeting.Attendee {
	return &meeting.Attendee{
		ID: w.ID, Seq: w.Seq, MeetingID: w.Meeting, ExternalUserID: w.User, JoinToken: meeting.Secret(w.Token),
		Capabilities: meeting.Capabilities{Audio: meeting.Capability(w.Audio),
			Video: meeting.Capability(w.Video), Content: meeting.Capability(w.Content)},
		Tags: tagsOf(w.Tags), CreatedAt: w.CreatedAt.UTC(),
	}
}

func wireFromPresence(p *meeting.Presence) *wirePresence {
	return &wirePresence{Meeting: p.MeetingID, Attendee: p.AttendeeID, Since: p.Since, Video: p.Video, Node: p.Node}
}

func (w *wirePresence) presence() *meeting.Presence {
	return &meeting.Presence{MeetingID: w.Meeting, AttendeeID: w.Attendee, Since: w.Since.UTC(), Video: w.Video, Node: w.Node}
}

func wireFromEvent(e *meeting.Event) *wireEvent {
	w := &wireEvent{
		ID: e.ID, Number: e.Number, Type: string(e.Type), At: e.At, Account: e.Account, Region: e.Region,
		Meeting: e.MeetingID, External: e.ExternalMeetingID, Media: e.MediaRegion,
		Attendee: e.AttendeeID, User: e.ExternalUserID, Network: e.NetworkType,
	}
	if c := e.Capabilities; c != nil {
		w.Audio, w.Video, w.Content = string(c.Audio), string(c.Video), string(c.Content)
	}
	if t := e.Transcription; t != nil {
		w.Transcription = &wireTranscription{Region: t.Region, Configuration: t.Configuration, Message: t.Message}
	}
	return w
}

func (w *wireEvent) event() meeting.Event {
	e := meeting.Event{
		ID: w.ID, Number: w.Number, Type: meeting.EventType(w.Type), At: w.At.UTC(), Account: w.Account, Region: w.Region,
		MeetingID: w.Meeting, ExternalMeetingID: w.External, MediaRegion: w.Media,
		AttendeeID: w.Attendee, ExternalUserID: w.User, NetworkType: w.Network,
	}
	if w.Audio != "" || w.Video != "" || w.Content != "" {
		e.Capabilities = &meeting.Capabilities{Audio: meeting.Capability(w.Audio),
			Video: meeting.Capability(w.Video), Content: meeting.Capability(w.Content)}
	}
	if t := w.Transcription; t != nil {
		e.Transcription = &meeting.TranscriptionEvent{Region: t.Region, Configuration: t.Configuration, Message: t.Message}
	}
	return e
}

func wireFromJournal(id string, j *journal) wireJournal {
	w := wireJournal{Meeting: id, Last: j.last, At: j.at}
	for _, d := range j.targets {
		w.Targets = append(w.Targets, wireFromDelivery(d))
	}
	return w
}

// journal makes the journal of a meeting, whose room is nil when it is gone.
func (w *wireJournal) journal(r *room) *journal {
	j := &journal{last: w.Last, at: w.At.UTC()}
	for _, p := range w.Targets {
		j.targets = append(j.targets, p.delivery())
	}
	if w.Keep && r != nil {
		j.targets = undelivered(r.meeting, 0)
	}
	return j
}

func wireFromDelivery(d meeting.Delivery) wireProgress {
	return wireProgress{Kind: string(d.Target.Kind), Address: d.Target.Address, Through: d.Through}
}

func (w *wireProgress) delivery() meeting.Delivery {
	return meeting.Delivery{Target: meeting.Target{Kind: meeting.TargetKind(w.Kind), Address: w.Address}, Through: w.Through}
}

func wireFromDead(d *meeting.DeadLetter) *wireDead {
	return &wireDead{Seq: d.Seq, Kind: string(d.Target.Kind), Address: d.Target.Address,
		Event: wireFromEvent(&d.Event), At: d.At, Attempts: d.Attempts, Reason: d.Reason}
}

func (w *wireDead) deadLetter() *meeting.DeadLetter {
	return &meeting.DeadLetter{Seq: w.Seq, Target: meeting.Target{Kind: meeting.TargetKind(w.Kind), Address: w.Address},
		Event: w.Event.event(), At: w.At.UTC(), Attempts: w.Attempts, Reason: w.Reason}
}

func wireTags(in []meeting.Tag) (out []wireTag) {
	for _, t := range in {
		out = append(out, wireTag{Key: t.Key, Value: t.Value})
	}
	return out
}

func tagsOf(in []wireTag) (out []meeting.Tag) {
	for _, t := range in {
		out = append(out, meeting.Tag{Key: t.Key, Value: t.Value})
	}
	return out
}
