package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"belfry/internal/meeting"
)

// Bounds of what is kept of one post. The browser client sends a handful of
// events of less than a KiB each.
const (
	maxEvents    = 500
	maxEventSize = 16 << 10  // of the attributes of one event, as JSON
	maxPostSize  = 256 << 10 // of all, as JSON
)

// Event is one event as a browser client told it.
type Event struct {
	Name string `json:"name"`
	// Ts is the client's own clock, milliseconds since 1970, as it was sent.
	Ts json.Number `json:"ts,omitempty"`
	// Attributes is a JSON object of the other members; empty for none.
	Attributes json.RawMessage `json:"attributes,omitempty"`
	// Cut says that the attributes were too many to keep.
	Cut bool `json:"cut,omitempty"`
}

// Post is the events that a client sent together.
type Post struct {
	At       time.Time `json:"at"` // when they came
	Attendee string    `json:"attendee"`
	// Late says that the attendee or its meeting was gone when they came.
	Late bool `json:"late,omitempty"`
	// Client is what the client says of its browser, device and version: a JSON
	// object; empty for none.
	Client json.RawMessage `json:"client,omitempty"`
	Events []Event         `json:"events"`
}

// envelope is the body of a client's request, as far as must be read before it
// is known who sends it.
type envelope struct {
	// Authorization stands here when the browser posts by sendBeacon, which
	// cannot set a header.
	Authorization meeting.Secret  `json:"authorization"`
	Metadata      json.RawMessage `json:"metadata"`
	Events        []struct {
		Payloads []json.RawMessage `json:"payloads"`
	} `json:"events"`
}

func parseEnvelope(body []byte) (e envelope, err error) {
	if err = json.Unmarshal(body, &e); err != nil {
		return envelope{}, fmt.Errorf("read the envelope of client events: %w", err)
	}
	return e, nil
}

// token is the join token in a header or else in the envelope.
func (e envelope) token(header string) meeting.Secret {
	token := strings.TrimPrefix(header, "Bearer ")
	if token == "" {
		token = strings.TrimPrefix(e.Authorization.Reveal(), "Bearer ")
	}
	return meeting.Secret(strings.TrimSuffix(token, meeting.ContentSuffix))
}

// post reads the events, at most as many as are kept of one post, and says how
// many more there were. Payloads that are no objects count as events too many.
// The token is taken out of whatever is said in them.
func (e envelope) post(token meeting.Secret) (p Post, surplus int) {
	size := 0
	if len(e.Metadata) > 0 {
		if raw, ok := object(e.Metadata, token); ok && len(raw) <= maxEventSize {
			p.Client, size = raw, len(raw)
		}
	}
	for _, record := range e.Events {
		for _, payload := range record.Payloads {
			if len(p.Events) == maxEvents || size > maxPostSize {
				surplus++
				continue
			}
			event, ok := parseEvent(payload, token)
			size += len(event.Name) + len(event.Ts) + len(event.Attributes)
			if !ok || size > maxPostSize {
				surplus++
				continue
			}
			p.Events = append(p.Events, event)
		}
	}
	return p, surplus
}

func parseEvent(payload []byte, token meeting.Secret) (e Event, ok bool) {
	members, ok := decodeObject(payload)
	if !ok {
		return Event{}, false
	}
	e.Name, _ = members["name"].(string)
	if !eventName.MatchString(e.Name) {
		e.Name = otherName
	} else {
		delete(members, "name")
	}
	if ts, isNumber := members["ts"].(json.Number); isNumber && len(ts) <= 32 {
		e.Ts = ts
		delete(members, "ts")
	}
	if len(members) > 0 {
		e.Attributes = encode(members, token)
	}
	if len(e.Attributes) > maxEventSize {
		e.Attributes, e.Cut = nil, true
	}
	return e, true
}

// object is raw again, if it is a JSON object: compact, of valid UTF-8 and
// without the token.
func object(raw []byte, token meeting.Secret) (json.RawMessage, bool) {
	members, ok := decodeObject(raw)
	if !ok || len(members) == 0 {
		return nil, false
	}
	return encode(members, token), true
}

func decodeObject(raw []byte) (members map[string]any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return members, d.Decode(&members) == nil && members != nil
}

func encode(members map[string]any, token meeting.Secret) json.RawMessage {
	raw := bytes.TrimSpace(encodeLine(members))
	if token != "" {
		raw = bytes.ReplaceAll(raw, []byte(token.Reveal()), []byte("[redacted]"))
	}
	return raw
}

// encodeLine is v as one line of JSON, with its end. Unlike json.Marshal it does
// not make six characters of a "<".
func encodeLine(v any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // what is given here was made from JSON
	}
	return out.Bytes()
}
