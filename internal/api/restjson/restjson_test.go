package restjson

import (
	"encoding/json"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	deep := strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth)
	cases := []struct {
		name, body string
		says       string // "": accepted
	}{
		{"empty", "", ""},
		{"white space", " \n", ""},
		{"object", `{"A":1}`, ""},
		{"duplicate names", `{"A":1,"A":2}`, ""},
		{"brackets in strings", `{"A":"` + strings.Repeat("[{", 100) + `\"["}`, ""},
		{"as deep as may be", deep, ""},
		{"deeper", `{"a":` + deep + `}`, "deeper"},
		{"very deep", strings.Repeat("[", 1<<20), "deeper"},
		{"cut off", `{"A":`, "not JSON"},
		{"trailing", `{} {}`, "not JSON"},
		{"array", `[]`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"string", `"x"`, "not a JSON object"},
		{"not UTF-8", "{\"A\":\"\xff\"}", "UTF-8"},
		{"a surrogate pair", `{"A":"\ud83d\uDE00\u0041"}`, ""},
		{"a backslash before u", `{"A":"\\ud83d\"\\\\ud83d"}`, ""},
		{"the first half", `{"A":"\ud83d"}`, "half of a surrogate pair at byte 6"},
		{"the first half twice", `{"A":"\ud83d\ud83d"}`, "half of a surrogate pair at byte 6"},
		{"the second half", `{"A":"x\ude00"}`, "half of a surrogate pair at byte 7"},
		{"half of a pair in a name", `{"\udfff":1}`, "half of a surrogate pair at byte 2"},
		{"half of a pair after a whole one", `{"A":"\ud83d\ude00\ud83d"}`, "half of a surrogate pair at byte 18"},
		{"an escape cut off", `{"A":"\ud8"}`, "not JSON"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			o, err := Parse([]byte(tc.body))
			if tc.says == "" {
				if err != nil || o == nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatalf("accepted as %v", o)
			}
			if err.Name != "SerializationException" || err.Status != 400 || !strings.Contains(err.Message, tc.says) {
				t.Errorf("err = %d %v, want 400 SerializationException saying %q", err.Status, err, tc.says)
			}
		})
	}
}

func TestReaderMessages(t *testing.T) {
	text := func(rules ...Rule) func(Reader) { return func(r Reader) { r.String("Name", rules...) } }
	cases := []struct {
		name, body string
		read       func(Reader)
		want       string // "": no error
	}{
		{"absent", `{}`, text(Length(2, 3)), ""},
		{"null is absent", `{"Name":null}`, text(Length(2, 3)), ""},
		{"name is case-sensitive", `{"name":"x"}`, text(Length(2, 3)), ""},
		{"required", `{}`, text(Required), "ValidationException: 1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"},
		{"required, null", `{"Name":null}`, text(Required, Sensitive), "ValidationException: 1 validation error detected: Value at 'name' failed to satisfy constraint: Member must not be null"},
		{"characters, not bytes", `{"Name":"ééé"}`, text(Length(2, 3)), ""},
		{"short", `{"Name":"x"}`, text(Length(2, 3)), "ValidationException: 1 validation error detected: Value 'x' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		{"long", `{"Name":"éééé"}`, text(Length(2, 3)), "ValidationException: 1 validation error detected: Value 'éééé' at 'name' failed to satisfy constraint: Member must have length less than or equal to 3"},
		{"sensitive", `{"Name":"secret"}`, text(Sensitive, Length(2, 3)), "ValidationException: 1 validation error detected: Value at 'name' failed to satisfy constraint: Member must have length less than or equal to 3"},
		{"pattern is a full match", `{"Name":"ab!"}`, text(Pattern("[a-z]+")), "ValidationException: 1 validation error detected: Value 'ab!' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"},
		{"pattern and newline", `{"Name":"ab\n"}`, text(Sensitive, Pattern("^[a-z]+$")), "ValidationException: 1 validation error detected: Value at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-z]+$"},
		{"two faults", `{"Name":"!"}`, text(Length(2, 3), Pattern("[a-z]+")), "ValidationException: 2 validation errors detected: Value '!' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 2; Value '!' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"},
		{"enum", `{"Name":"C"}`, text(Enum("A", "B")), "ValidationException: 1 validation error detected: Value 'C' at 'name' failed to satisfy constraint: Member must satisfy enum value set: [A, B]"},
		{"long values are cut", `{"Name":"` + strings.Repeat("é", 100) + `"}`, text(Length(2, 3)), "ValidationException: 1 validation error detected: Value '" + strings.Repeat("é", 64) + "…' at 'name' failed to satisfy constraint: Member must have length less than or equal to 3"},
		{"number", `{"N":251}`, func(r Reader) { r.Int("N", Range(1, 250)) }, "ValidationException: 1 validation error detected: Value '251' at 'n' failed to satisfy constraint: Member must have value less than or equal to 250"},
		{"number 0", `{"N":0}`, func(r Reader) { r.Int("N", Range(1, 250)) }, "ValidationException: 1 validation error detected: Value '0' at 'n' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"string for a number", `{"N":"1"}`, func(r Reader) { r.Int("N") }, "SerializationException: The value at 'n' is not an integer."},
		{"fraction", `{"N":1.5}`, func(r Reader) { r.Int("N") }, "SerializationException: The value at 'n' is not an integer."},
		{"number for a string", `{"Name":1}`, text(), "SerializationException: The value at 'name' is not a string."},
		{"a wrong type goes before constraints", `{"Name":"","N":"x"}`, func(r Reader) { r.String("Name", Length(2, 3)); r.Int("N") }, "SerializationException: The value at 'n' is not an integer."},
		{"inner object", `{"In":{"Name":"x"}}`, func(r Reader) {
			in, _ := r.Object("In")
			in.String("Name", Length(2, 3))
		}, "ValidationException: 1 validation error detected: Value 'x' at 'in.name' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		{"list of objects", `{"List":[{"Name":"ok"},{"Name":"x"},null]}`, func(r Reader) {
			for _, e := range r.Objects("List") {
				e.String("Name", Length(2, 3))
			}
		}, "ValidationException: 2 validation errors detected: Value at 'list.3.member' failed to satisfy constraint: Member must not be null; Value 'x' at 'list.2.member.name' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		{"list too long", `{"List":[{},{}]}`, func(r Reader) { r.Objects("List", Length(1, 1)) }, "ValidationException: 1 validation error detected: Value at 'list' failed to satisfy constraint: Member must have length less than or equal to 1"},
		{"list of strings", `{"List":["ok","x"]}`, func(r Reader) { r.Strings("List", nil, []Rule{Length(2, 3)}) }, "ValidationException: 1 validation error detected: Value 'x' at 'list.2.member' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		{"object for a list", `{"List":{}}`, func(r Reader) { r.Strings("List", nil, nil) }, "SerializationException: The value at 'list' is not a list of strings."},
		{"label", `{}`, func(r Reader) { r.Label("MeetingId", "", Pattern("[a-f]+")) }, "ValidationException: 1 validation error detected: Value '' at 'meetingId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-f]+"},
		{"query", `{}`, func(r Reader) { r.QueryInt("MaxResults", "x", true) }, "SerializationException: The value at 'maxResults' is not an integer."},
		{"query absent", `{}`, func(r Reader) { r.QueryInt("MaxResults", "", false, Range(1, 100)) }, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			o, err := Parse([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			r := NewReader(o)
			tc.read(r)
			got := ""
			if err := r.Err(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// One message lists a bounded number of faults, and still counts them all.
func TestManyFaults(t *testing.T) {
	o, err := Parse([]byte(`{"List":[` + strings.Repeat(`"x",`, 99) + `"x"]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(o)
	r.Strings("List", nil, []Rule{Length(2, 3)})
	message := r.Err().Message
	if !strings.HasPrefix(message, "100 validation errors detected: ") || strings.Count(message, "at 'list.") != maxFaults {
		t.Errorf("message = %q", message)
	}
}

func TestHas(t *testing.T) {
	o, err := Parse([]byte(`{"A":1,"N":null,"O":{"In":1,"Null":null},"L":[{},{"In":1}],"S":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"A", "O", "L"} {
		if !o.Has(name) {
			t.Errorf("Has(%q) = false", name)
		}
	}
	for _, name := range []string{"N", "a", "B"} {
		if o.Has(name) {
			t.Errorf("Has(%q) = true", name)
		}
	}
	if !o.HasWithin("O", "In") || !o.HasWithin("L", "In") {
		t.Error("HasWithin does not find In")
	}
	for _, in := range [][2]string{{"O", "Null"}, {"O", "x"}, {"L", "x"}, {"S", "In"}, {"A", "In"}, {"N", "In"}, {"B", "In"}} {
		if o.HasWithin(in[0], in[1]) {
			t.Errorf("HasWithin(%q, %q) = true", in[0], in[1])
		}
	}
}

func TestWrite(t *testing.T) {
	const id = "0b9d2f60-5f0a-4a57-8d4a-0a3f5d3c0001"
	cases := []struct {
		name    string
		write   func(*httptest.ResponseRecorder)
		status  int
		headers map[string]string
		body    string
	}{
		{"answer", func(w *httptest.ResponseRecorder) { Write(w, id, 201, struct{ A string }{"«é» <&>"}) }, 201,
			map[string]string{"Content-Type": "application/json", "Content-Length": "18"}, `{"A":"«é» <&>"}`},
		{"no body", func(w *httptest.ResponseRecorder) { Write(w, id, 204, nil) }, 204,
			map[string]string{"Content-Type": "", "Content-Length": ""}, ""},
		{"modelled error", func(w *httptest.ResponseRecorder) {
			WriteError(w, id, &Error{Status: 404, Name: "NotFoundException", Code: "NotFound", Message: "Meeting <x> not found"})
		}, 404, map[string]string{"X-Amzn-ErrorType": "NotFoundException"},
			`{"Code":"NotFound","Message":"Meeting <x> not found","RequestId":"` + id + `","Resource":null}`},
		{"framework error", func(w *httptest.ResponseRecorder) {
			WriteError(w, id, &Error{Status: 403, Name: "UnrecognizedClientException", Message: "m", RetryAfter: 2})
		}, 403, map[string]string{"X-Amzn-ErrorType": "UnrecognizedClientException", "Retry-After": "2"}, `{"message":"m"}`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tc.write(w)
			if w.Code != tc.status || w.Body.String() != tc.body {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tc.status, tc.body)
			}
			tc.headers["X-Amzn-RequestId"] = id
			for name, want := range tc.headers {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestEntries(t *testing.T) {
	for list, want := range map[string]int{
		`[]`: 0, ` [ ] `: 0, `{}`: 0, `1`: 0, `"[,]"`: 0, `[1]`: 1, `[1,2]`: 2, `[[1,2],{"a":1,"b":[3,4]}]`: 2, `["a,b","\",","]"]`: 3, "[\n1 ,\t2]": 2,
	} {
		if got := entries(json.RawMessage(list)); got != want {
			t.Errorf("%s has %d entries, want %d", list, got, want)
		}
	}
}

// A list that is too long is refused before its entries are taken apart.
func TestLongListsAreCheap(t *testing.T) {
	body := []byte(`{"L":[` + strings.Repeat("{},", 300000) + `{}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	o, err := Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	if o.HasWithin("L", "A") {
		t.Error("an empty object has a member")
	}
	r := NewReader(o)
	if got := r.Objects("L", Length(1, 100)); got != nil || r.Err() == nil {
		t.Errorf("%d entries: %v", len(got), r.Err())
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("a body of %d KiB took %d MiB", len(body)>>10, got>>20)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"S":"x","N":1,"O":{"S":"y"},"L":[{"S":"z"}],"T":["a"]}`))
	f.Add([]byte(`{"S":null,"N":1e9,"O":[],"L":{},"T":[null]}`))
	f.Add([]byte(""))
	f.Add([]byte(`[[[[`))
	f.Add([]byte(`{"S":"\ud83d\ude00","T":["\ud83d"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := Parse(body)
		if err != nil {
			return
		}
		r := NewReader(o)
		s := r.String("S", Required, Length(2, 4), Pattern("[a-z]*"))
		n := r.Int("N", Range(1, 9))
		in, ok := r.Object("O")
		if ok {
			in.String("S", Required)
		}
		list := r.Objects("L", Length(1, 3))
		var any []json.RawMessage
		if json.Unmarshal(o["L"], &any) == nil && len(any) != entries(o["L"]) {
			t.Fatalf("%q: counted %d entries, %d decoded", body, entries(o["L"]), len(any))
		}
		for _, e := range list {
			e.String("S", Required, Enum("A", "B"))
		}
		r.Strings("T", []Rule{Length(0, 3)}, []Rule{Length(1, 2)})
		if r.Err() != nil {
			if strings.TrimSpace(string(body)) != "" && !json.Valid(body) {
				t.Fatalf("read what is not JSON: %q", body)
			}
			return
		}
		if len(s) < 2 || len(s) > 4 || n < 0 || n > 9 || len(list) > 3 {
			t.Fatalf("accepted %q: %q %d %d", body, s, n, len(list))
		}
	})
}
