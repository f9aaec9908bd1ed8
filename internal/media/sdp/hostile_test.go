package sdp

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// small is a valid offer of one section; more goes to its end.
func small(more ...string) string {
	return "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\n" +
		"a=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuv\na=setup:actpass\n" +
		"a=fingerprint:sha-256 " + strings.TrimSuffix(strings.Repeat("ab:", 32), ":") + "\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:0\na=rtcp-mux\na=rtpmap:111 opus/48000/2\n" +
		strings.Join(more, "\n")
}

func TestRefusedOffers(t *testing.T) {
	repeat := func(n int, line func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(line(i) + "\n")
		}
		return b.String()
	}
	same := func(s string) func(int) string { return func(int) string { return s } }
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "no m-line"},
		{"no m-line", "v=0\r\n", "no m-line"},
		{"an HTML page", "<html>", "line 1: \"<html>\" is not of the form"},
		{"another version", "v=1\n", "line 1: version \"1\" is not 0"},
		{"version twice", small("v=0"), "begins with v=0"},
		{"no version", strings.TrimPrefix(small(), "v=0\n"), "begins with v=0"},
		{"too long", small("a=x:" + strings.Repeat("x", MaxOffer)), "longer than"},
		{"not UTF-8", small("a=x:\xff"), "not UTF-8"},
		{"a carriage return inside", small("a=x:\ra=candidate:"), "control character"},
		{"a zero byte", small("a=x:\x00"), "control character"},
		{"too many sections", small(repeat(MaxSections, same("m=video 9 RTP/AVP 96"))), "more than 300 sections"},
		{"a short m-line", small("m=video 9 RTP/AVP"), "fewer than four parts"},
		{"a port that is none", small("m=video x RTP/AVP 96"), "port \"x\""},
		{"a port too high", small("m=video 65536 RTP/AVP 96"), "port \"65536\""},
		{"a payload type too high", small("m=video 9 RTP/AVP 128"), "payload type \"128\""},
		{"a payload type that is none", small("m=video 9 RTP/AVP vp8"), "payload type \"vp8\""},
		{"too many formats", small("m=x 9 x" + strings.Repeat(" 1", 129)), "more than 128 formats"},
		{"a kind in another script", small("m=vidéo 9 x 1"), "malformed part"},
		{"a format without end", small("m=x 9 x " + strings.Repeat("x", 65)), "malformed part"},
		{"a mid with a blank", small("a=mid:a b"), "mid \"a b\""},
		{"a mid too long", small("a=mid:" + strings.Repeat("x", 65)), "at most 64"},
		{"a mid twice", small("m=video 9 RTP/AVP 96", "a=mid:0"), "mid \"0\" is given twice"},
		{"no mid", small("m=video 9 RTP/AVP 96"), "section 1 has no mid"},
		{"a user name fragment too short", small("a=ice-ufrag:abc"), "ice-ufrag"},
		{"a user name fragment with a colon", small("a=ice-ufrag:ab:cd"), "ice-ufrag"},
		{"a password too short", small("a=ice-pwd:abc"), "ice-pwd"},
		{"an unknown setup", small("a=setup:holdconn"), "setup \"holdconn\""},
		{"a fingerprint alone", small("a=fingerprint:sha-256"), "fingerprint \"sha-256\""},
		{"a short fingerprint", small("a=fingerprint:sha-256 AB:CD"), "wrong length"},
		{"a fingerprint that is not hexadecimal", small("a=fingerprint:x AG:00"), "not hexadecimal"},
		{"rtpmap without a rate", small("a=rtpmap:111 opus"), "rtpmap"},
		{"rtpmap with rate 0", small("a=rtpmap:111 opus/0"), "clock rate"},
		{"rtpmap with many channels", small("a=rtpmap:111 opus/48000/256"), "channels"},
		{"fmtp of no type", small("a=fmtp:x a=b"), "payload type \"x\""},
		{"rtcp-fb of nothing", small("a=rtcp-fb:111"), "rtcp-fb"},
		{"too much feedback", small(repeat(513, same("a=rtcp-fb:111 nack"))), "more than 512 rtcp-fb"},
		{"too much feedback for all", small(repeat(17, same("a=rtcp-fb:* nack"))), "more than 16 rtcp-fb"},
		{"extmap id 0", small("a=extmap:0 urn:x"), "id is not a number from 1"},
		{"extmap id too high", small("a=extmap:65536 urn:x"), "id is not a number"},
		{"extmap id twice", small("a=extmap:1 urn:x", "a=extmap:1 urn:y"), "id 1 is given twice"},
		{"extmap direction", small("a=extmap:1/up urn:x"), "unknown direction"},
		{"too many extmaps", small(repeat(65, func(i int) string { return fmt.Sprintf("a=extmap:%d urn:x", i+1) })), "more than 64 header"},
		{"ssrc too high", small("a=ssrc:4294967296 cname:x"), "ssrc \"4294967296\""},
		{"too many ssrcs", small(repeat(65, func(i int) string { return fmt.Sprintf("a=ssrc:%d cname:x", i) })), "more than 64 ssrcs"},
		{"a group of no numbers", small("a=ssrc-group:FID 1 x"), "not a number"},
		{"too many groups", small(repeat(65, same("a=ssrc-group:FID 1 2"))), "more than 64 ssrc-groups"},
		{"rid without direction", small("a=rid:low"), "rid \"low\""},
		{"too many rids", small(repeat(17, func(i int) string { return fmt.Sprintf("a=rid:%d send", i) })), "more than 16 rids"},
		{"simulcast of nothing", small("a=simulcast:send ;"), "simulcast"},
		{"too many layers", small("a=simulcast:send " + strings.Repeat("a;", 40) + "a"), ""},
		{"everything rejected", strings.Replace(small(), "m=audio 9", "m=audio 0", 1), "every section of the offer is rejected"},
		{"no ufrag", strings.Replace(small(), "a=ice-ufrag:abcd\n", "", 1), "no ice-ufrag"},
		{"no password", strings.Replace(small(), "a=ice-pwd:abcdefghijklmnopqrstuv\n", "", 1), "no ice-pwd"},
		{"no fingerprint", strings.Replace(small(), "a=fingerprint:sha-256 ", "a=x:", 1), "no fingerprint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseOffer(c.text)
			if c.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatalf("accepted: %+v", o)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error repeats %d bytes of the offer", len(err.Error()))
			}
		})
	}
}

func TestTakenOffers(t *testing.T) {
	for _, c := range []struct {
		name, text string
		check      func(*Offer) bool
	}{
		{"the session level counts for sections", small("a=rtcp-rsize"), func(o *Offer) bool {
			return o.Sections[0].Transport.Ufrag == "abcd" && o.Transport.Fingerprint.Hash == "sha-256" && o.Sections[0].RTCPRsize
		}},
		{"the section's own words go first", small("a=ice-ufrag:wxyz"), func(o *Offer) bool { return o.Transport.Ufrag == "wxyz" }},
		{"no setup is actpass", strings.Replace(small(), "a=setup:actpass\n", "", 1), func(o *Offer) bool { return o.Transport.Setup == "actpass" }},
		{"the fingerprint is SHA-256's of several", small("a=fingerprint:sha-1 "+strings.Repeat("00:", 19)+"00",
			"a=fingerprint:SHA-256 "+strings.Repeat("0f:", 31)+"0f"), func(o *Offer) bool {
			return o.Transport.Fingerprint == Fingerprint{"sha-256", strings.Repeat("0F:", 31) + "0F"}
		}},
		{"no direction is sendrecv", small(), func(o *Offer) bool { return o.Sections[0].Direction == SendRecv }},
		{"attributes before their rtpmap", small("m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:1", "a=rtcp-fb:96 nack", "a=fmtp:96 x=1", "a=rtpmap:96 VP8/90000"),
			func(o *Offer) bool {
				p := o.Sections[1].Payload(96)
				return p.Name == "VP8" && p.Parameters == "x=1" && slices.Equal(p.Feedback, []string{"nack"})
			}},
		{"feedback for all payload types", small("a=rtcp-fb:* transport-cc"), func(o *Offer) bool {
			return slices.Contains(o.Sections[0].Payload(111).Feedback, "transport-cc")
		}},
		{"attributes of a type that is not on the m-line", small("a=rtpmap:50 x/1", "a=fmtp:50 y", "a=rtcp-fb:50 nack"), func(o *Offer) bool {
			return len(o.Sections[0].Payloads) == 1
		}},
		{"simulcast's order, paused and alternative layers", small("a=rid:hi send", "a=rid:low send", "a=rid:other recv",
			"a=simulcast:recv other send low,hi;~hi;gone"), func(o *Offer) bool {
			return slices.Equal(o.Sections[0].RIDs, []string{"low", "hi"}) && o.Sections[0].Simulcast
		}},
		{"ids for later assignment", small("a=extmap:4096 urn:x"), func(o *Offer) bool { return len(o.Sections[0].Extensions) == 0 }},
		{"a one-sided extension", small("a=extmap:3/recvonly urn:x"), func(o *Offer) bool {
			return cmp.Equal(o.Sections[0].Accept([]string{"urn:x"}), []Extension{{3, "urn:x", SendOnly}})
		}},
		{"an extension that is off", small("a=extmap:3/inactive urn:x"), func(o *Offer) bool {
			return o.Sections[0].Accept([]string{"urn:x"}) == nil
		}},
		{"the name of the stream from ssrc lines", small("a=ssrc:7 cname:c", "a=ssrc:7 msid:s t"), func(o *Offer) bool {
			s := o.Sections[0]
			return s.StreamID == "s" && s.TrackID == "t" && s.CNAME == "c" && slices.Equal(s.SSRCs, []uint32{7})
		}},
		{"bundle-only", small("m=video 0 UDP/TLS/RTP/SAVPF 96", "a=mid:1", "a=bundle-only"), func(o *Offer) bool { return !o.Sections[1].Rejected }},
		{"rejected sections need no mid", small("m=video 0 UDP/TLS/RTP/SAVPF 96"), func(o *Offer) bool { return o.Sections[1].Rejected }},
		{"trickled and unknown lines", small("b=AS:30", "k=prompt", "a=candidate:1 1 udp 1 x.local 9 typ host", "a=x"), func(o *Offer) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if o := parse(t, c.text); !c.check(o) {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestBundle(t *testing.T) {
	second := []string{"m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:1", "a=rtpmap:96 VP8/90000"}
	group := func(g string) string { return strings.Replace(small(second...), "t=0 0\n", "t=0 0\n"+g+"\n", 1) }
	for _, c := range []struct {
		name, group   string
		first, second bool
	}{
		{"both", "a=group:BUNDLE 0 1", true, true},
		{"one", "a=group:BUNDLE 0", true, false},
		{"no group: the first has the transport", "a=x", true, false},
		{"another semantics", "a=group:LS 0 1", true, false},
		{"an empty group", "a=group:BUNDLE", true, false},
		{"a group of strangers", "a=group:BUNDLE 8 9", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := parse(t, group(c.group))
			if got := o.Bundled(&o.Sections[0]); got != c.first {
				t.Errorf("first section: %v", got)
			}
			if got := o.Bundled(&o.Sections[1]); got != c.second {
				t.Errorf("second section: %v", got)
			}
			// What has another transport is rejected and not in the group.
			back := parse(t, reply(o).Text())
			if back.Sections[1].Rejected == c.second || slices.Contains(back.Bundle, "1") != c.second {
				t.Errorf("answer: rejected %v, group %v", back.Sections[1].Rejected, back.Bundle)
			}
		})
	}
}

// The dearest offers of the allowed length cost a bounded amount of memory.
func TestOffersAreBounded(t *testing.T) {
	formats := ""
	for i := range 128 {
		formats += fmt.Sprintf(" %d", i)
	}
	section := func(i int) string {
		return fmt.Sprintf("m=video 9 UDP/TLS/RTP/SAVPF%s\na=mid:%d\n", formats, i) + strings.Repeat("a=rtcp-fb:* x\n", maxWildcard)
	}
	text := small()
	for i := 1; i < MaxSections && len(text)+len(section(i)) < MaxOffer; i++ {
		text += section(i)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	parse(t, text)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("an offer of %d bytes took %d MiB", len(text), got>>20)
	}
}

// An answer reads back as what was decided.
func TestAnswersReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-zA-Z0-9]{1,8}`)
		a := Answer{
			SessionID: rapid.Uint64().Draw(t, "session"), Version: rapid.Uint64().Draw(t, "version"),
			ExtMixed: rapid.Bool().Draw(t, "mixed"),
			Transport: Transport{
				Ufrag: "user", Password: strings.Repeat("p", 22), Setup: "passive",
				Fingerprint: Fingerprint{"sha-256", strings.Repeat("FF:", 31) + "FF"},
			},
			Candidates: []Candidate{{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 1}), rapid.Uint16Range(1, 65535).Draw(t, "port")),
				TCP:  rapid.Bool().Draw(t, "tcp"),
			}},
		}
		var bundle []string
		for i := range rapid.IntRange(1, 12).Draw(t, "sections") {
			s := AnswerSection{
				Kind: rapid.SampledFrom([]string{"audio", "video"}).Draw(t, "kind"), MID: fmt.Sprint("m", i),
				Protocol: "UDP/TLS/RTP/SAVPF", Formats: []string{"96", "97"}, Direction: Inactive,
				Rejected: i > 0 && rapid.Bool().Draw(t, "rejected"),
			}
			if !s.Rejected {
				bundle = append(bundle, s.MID)
				s.Direction = rapid.SampledFrom([]Direction{SendRecv, SendOnly, RecvOnly, Inactive}).Draw(t, "direction")
				s.RTCPRsize = rapid.Bool().Draw(t, "rsize")
				s.Payloads = []Payload{{
					Type: 96, Name: word.Draw(t, "name"), ClockRate: rapid.Uint32Range(1, 1<<32-1).Draw(t, "rate"),
					Channels: rapid.Uint8Range(0, 8).Draw(t, "channels"), Parameters: word.Draw(t, "parameters"),
					Feedback: rapid.SliceOfN(word, 1, 3).Draw(t, "feedback"),
				}}
				for id := range rapid.Uint8Range(0, 14).Draw(t, "extensions") {
					s.Extensions = append(s.Extensions, Extension{id + 1, "urn:" + word.Draw(t, "uri"),
						rapid.SampledFrom([]Direction{SendRecv, SendOnly, RecvOnly}).Draw(t, "side")})
				}
				s.StreamID, s.TrackID, s.CNAME = word.Draw(t, "stream"), word.Draw(t, "track"), word.Draw(t, "cname")
				s.SSRCs = []uint32{rapid.Uint32().Draw(t, "ssrc")}
				if rapid.Bool().Draw(t, "repaired") {
					s.SSRCs = append(s.SSRCs, s.SSRCs[0]+1)
				}
			}
			a.Sections = append(a.Sections, s)
		}
		got, err := ParseOffer(a.Text())
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(got.Bundle, bundle) || got.ExtMixed != a.ExtMixed || got.Transport != a.Transport {
			t.Errorf("session: %+v", got)
		}
		for i := range a.Sections {
			want, got := a.Sections[i], got.Sections[i]
			if got.Kind != want.Kind || got.MID != want.MID || got.Rejected != want.Rejected || got.Direction != want.Direction {
				t.Fatalf("section %d: %+v for %+v", i, got, want)
			}
			if want.Rejected {
				continue
			}
			if !got.RTCPMux || got.RTCPRsize != want.RTCPRsize || got.StreamID != want.StreamID || got.TrackID != want.TrackID || got.CNAME != want.CNAME {
				t.Errorf("section %d: %+v for %+v", i, got, want)
			}
			if d := cmp.Diff(want.Payloads, got.Payloads) + cmp.Diff(want.Extensions, got.Extensions) + cmp.Diff(want.SSRCs, got.SSRCs); d != "" {
				t.Errorf("section %d: %s", i, d)
			}
			if len(want.SSRCs) == 2 && got.Repair(want.SSRCs[0]) != want.SSRCs[1] {
				t.Errorf("section %d: FID %v", i, got.FID)
			}
		}
	})
}

func FuzzParseOffer(f *testing.F) {
	for _, name := range chromium {
		f.Add(read(f, "chromium-"+name+".sdp"))
	}
	f.Add(small())
	f.Add(small("a=rtcp-fb:* nack", "a=simulcast:send a;b", "a=rid:a send", "m=application 0 x y"))
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseOffer(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		if len(o.Sections) == 0 || len(o.Sections) > MaxSections {
			t.Fatalf("%d sections", len(o.Sections))
		}
		answer := reply(o).Text()
		if strings.Count(answer, "\r") != strings.Count(answer, "\r\n") || strings.Count(answer, "\n") != strings.Count(answer, "\r\n") {
			t.Fatalf("line ends: %q", answer)
		}
		if n := strings.Count(answer, "\nm="); n != len(o.Sections) {
			t.Fatalf("%d m-lines for %d sections", n, len(o.Sections))
		}
		back, err := ParseOffer(answer)
		if err != nil {
			if strings.HasPrefix(err.Error(), "every section") {
				return
			}
			t.Fatalf("the answer does not parse: %v\n%s", err, answer)
		}
		for i := range o.Sections {
			s, b := &o.Sections[i], &back.Sections[i]
			if s.MID != b.MID || s.Kind != b.Kind || s.Protocol != b.Protocol || s.Rejected && !b.Rejected {
				t.Fatalf("section %d: %+v became %+v", i, s, b)
			}
			for _, p := range b.Payloads {
				if s.Payload(p.Type) == nil {
					t.Fatalf("section %d: payload type %d was not offered", i, p.Type)
				}
			}
			for _, e := range b.Extensions {
				if s.Extension(e.URI) == 0 {
					t.Fatalf("section %d: extension %v was not offered", i, e)
				}
			}
		}
	})
}

func BenchmarkParseOffer(b *testing.B) {
	text := read(b, "chromium-receive.sdp")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := ParseOffer(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswerText(b *testing.B) {
	a := reply(parse(b, read(b, "chromium-receive.sdp")))
	for b.Loop() {
		if a.Text() == "" {
			b.Fatal("no text")
		}
	}
}
