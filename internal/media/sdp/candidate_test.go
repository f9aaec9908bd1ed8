package sdp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCandidates(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("203.0.113.10:3478"), netip.MustParseAddrPort("[2001:db8::10]:3478")
	for _, tt := range []struct {
		name       string
		candidates []Candidate
		want       []string // from the m-line on
	}{
		{"both ways and families", []Candidate{{v4, false}, {v6, false}, {v4, true}, {v6, true}}, []string{
			"m=audio 3478 UDP/TLS/RTP/SAVPF", "c=IN IP4 203.0.113.10",
			"a=candidate:1 1 udp 2130706431 203.0.113.10 3478 typ host generation 0",
			"a=candidate:2 1 udp 2130706175 2001:db8::10 3478 typ host generation 0",
			"a=candidate:3 1 tcp 1520434687 203.0.113.10 3478 typ host tcptype passive generation 0",
			"a=candidate:4 1 tcp 1520434431 2001:db8::10 3478 typ host tcptype passive generation 0",
			"a=end-of-candidates",
		}},
		{"IPv6 alone", []Candidate{{v6, false}}, []string{
			"m=audio 3478 UDP/TLS/RTP/SAVPF", "c=IN IP6 2001:db8::10",
			"a=candidate:1 1 udp 2130706431 2001:db8::10 3478 typ host generation 0", "a=end-of-candidates",
		}},
		{"TCP alone", []Candidate{{v4, true}}, []string{
			"m=audio 9 UDP/TLS/RTP/SAVPF", "c=IN IP4 0.0.0.0",
			"a=candidate:1 1 tcp 1520435199 203.0.113.10 3478 typ host tcptype passive generation 0", "a=end-of-candidates",
		}},
	} {
		a := Answer{Candidates: tt.candidates, Sections: []AnswerSection{{Kind: "audio", MID: "0", Protocol: "UDP/TLS/RTP/SAVPF"}}}
		_, section, _ := strings.Cut(a.Text(), "a=ice-lite\r\n")
		section, _, _ = strings.Cut(section, "a=ice-ufrag")
		if diff := cmp.Diff(tt.want, strings.Split(strings.TrimSpace(section), "\r\n")); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}
