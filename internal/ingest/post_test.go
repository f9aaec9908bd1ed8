package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"belfry/internal/meeting"
)

func parse(t *testing.T, body string, token meeting.Secret) (Post, int) {
	t.Helper()
	e, err := parseEnvelope([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return e.post(token)
}

func TestParse(t *testing.T) {
	token := tokenOf(5)
	secret := token.Reveal()
	for name, test := range map[string]struct {
		body    string
		want    Post
		surplus int
	}{
		"whole": {
			body: `{"metadata":{"sdkName":"js","v":[1, 2]},"events":[{"type":"Meet","v":1,"payloads":[{"name":"meetingStartSucceeded","ts":1700000000123,"a":1.50},{"name":"b"}]},
				{"payloads":[{"ts":2,"name":"c"}]}]}`,
			want: Post{Client: json.RawMessage(`{"sdkName":"js","v":[1,2]}`), Events: []Event{
				{Name: "meetingStartSucceeded", Ts: "1700000000123", Attributes: json.RawMessage(`{"a":1.50}`)}, {Name: "b"}, {Name: "c", Ts: "2"}}},
		},
		"odd members": {
			body: `{"metadata":7,"later":1,"events":[{"payloads":[{"name":"an odd name","ts":"x"},{},7,null,[]]},{}]}`,
			want: Post{Events: []Event{{Name: "other", Attributes: json.RawMessage(`{"name":"an odd name","ts":"x"}`)}, {Name: "other"}}}, surplus: 3,
		},
		"token": {
			body: `{"authorization":"` + secret + `","metadata":{"x":"` + secret + `"},"events":[{"payloads":[{"name":"a","url":"wss://h/?` + secret + `#content","` + secret + `":1,
				"escaped":"\u00` + fmt.Sprintf("%02x", secret[0]) + secret[1:] + `"}]}]}`,
			want: Post{Client: json.RawMessage(`{"x":"[redacted]"}`), Events: []Event{
				{Name: "a", Attributes: json.RawMessage(`{"[redacted]":1,"escaped":"[redacted]","url":"wss://h/?[redacted]#content"}`)}}},
		},
		"large": {
			body: `{"metadata":{"x":"` + strings.Repeat("y", maxEventSize) + `"},"events":[{"payloads":[{"name":"a","ts":1,"x":"` + strings.Repeat("y", maxEventSize) + `"}]}]}`,
			want: Post{Events: []Event{{Name: "a", Ts: "1", Cut: true}}},
		},
		"none":  {body: `{}`},
		"nulls": {body: `{"events":[null,{"payloads":null}],"authorization":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, surplus := parse(t, test.body, token)
			if d := cmp.Diff(test.want, got); d != "" || surplus != test.surplus {
				t.Errorf("surplus %d, want %d; (-want +got):\n%s", surplus, test.surplus, d)
			}
		})
	}
}

func TestPostIsBounded(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, maxEvents+7), ",")
	if p, surplus := parse(t, `{"events":[{"payloads":[`+many+`]}]}`, ""); len(p.Events) != maxEvents || surplus != 7 {
		t.Errorf("of %d events %d are taken, %d not", maxEvents+7, len(p.Events), surplus)
	}
	fat := `{"name":"a","x":"` + strings.Repeat("<", maxEventSize-100) + `"},`
	n := maxPostSize/len(fat) + 3
	p, surplus := parse(t, `{"events":[{"payloads":[`+strings.TrimSuffix(strings.Repeat(fat, n), ",")+`]}]}`, "")
	if size := len(encodeLine(p)); size > maxPostSize+maxPostSize/4 || surplus == 0 || len(p.Events)+surplus != n {
		t.Errorf("%d events of %d are %d bytes", len(p.Events), n, size)
	}
}

// Whatever is posted, what is kept of it can be read again, is bounded and has
// no token in it.
func FuzzPost(f *testing.F) {
	f.Add([]byte(`{"authorization":"x","metadata":{"a":1},"events":[{"type":"Meet","v":1,"payloads":[{"name":"a","ts":1,"b":"<\u2028\u0000` + "\xff" + `"}]}]}`))
	f.Add([]byte(`{"events":[{"payloads":[{"name":"` + nobodys + `","` + nobodys + `":["` + nobodys + `"]}]}]}`))
	f.Add([]byte(`{"events":[{"payloads":[{"name":"a","ts":1e999999999},{"NAME":"b","name":{}}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > maxBody {
			return
		}
		e, err := parseEnvelope(body)
		if err != nil {
			return
		}
		_ = e.token("")
		p, _ := e.post(tokenOf(0))
		p.At, p.Attendee = time.Unix(1, 0).UTC(), idOf(1)
		line := encodeLine(p)
		if len(line) > maxLine || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("%d bytes with %d line ends", len(line), bytes.Count(line, []byte("\n")))
		}
		if bytes.Contains(line, []byte(nobodys)) {
			t.Fatalf("the token is in %s", line)
		}
		var got []Post
		if torn, err := readSegment(bytes.NewReader(line), nil, func(p Post) { got = append(got, p) }); torn != 0 || err != nil || len(got) != 1 {
			t.Fatalf("%s is read as %v, %d torn, %v", line, got, torn, err)
		}
		if string(encodeLine(got[0])) != string(line) {
			t.Fatalf("%s is read as %s", line, encodeLine(got[0]))
		}
	})
}

// Whatever lies in a segment, a good line after it is found.
func FuzzSegment(f *testing.F) {
	good := encodeLine(Post{At: time.Unix(1, 0).UTC(), Attendee: idOf(1), Events: []Event{{Name: "found"}}})
	head := encodeLine(opening{Room: Room{Meeting: idOf(1), ExternalMeeting: "x"}, Dropped: 3})
	f.Add([]byte{})
	f.Add(head)
	f.Add(append(head, good[:20]...))
	f.Add(bytes.Repeat([]byte("x"), maxLine+1))
	f.Add([]byte("null\n[]\n{}\n{\"events\":7}\n\x00\xff\n{\"attendee\":\"x\",\"events\":[{\"ts\":\"1\"}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text := append(append(bytes.Clone(data), '\n'), good...)
		var last Post
		if _, err := readSegment(bytes.NewReader(text), func(opening) {}, func(p Post) { last = p }); err != nil {
			t.Fatal(err)
		}
		if len(last.Events) != 1 || last.Events[0].Name != "found" {
			t.Fatalf("the last post is %+v", last)
		}
		clientText := fmt.Sprint(last.Events[0].Ts)
		if clientText != "" {
			t.Fatal("a line took members of the one before it")
		}
	})
}
