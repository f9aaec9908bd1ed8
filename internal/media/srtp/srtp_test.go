package srtp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	pion "github.com/pion/srtp/v3"
	"pgregory.net/rapid"
)

var profiles = []struct {
	ours Profile
	pion pion.ProtectionProfile
}{
	{AES_128_GCM, pion.ProtectionProfileAeadAes128Gcm},
	{AES_CM_128_HMAC_SHA1_80, pion.ProtectionProfileAes128CmHmacSha1_80},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func keys(p Profile) (key, salt []byte) {
	key, salt = make([]byte, p.KeyLen()), make([]byte, p.SaltLen())
	for i := range key {
		key[i] = byte(i*7 + 1)
	}
	for i := range salt {
		salt[i] = byte(i*5 + 3)
	}
	return key, salt
}

func newContext(t testing.TB, p Profile) *Context {
	t.Helper()
	key, salt := keys(p)
	c, err := NewContext(p, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pionContext(t testing.TB, p Profile, pp pion.ProtectionProfile) *pion.Context {
	t.Helper()
	key, salt := keys(p)
	c, err := pion.CreateContext(key, salt, pp)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// header is an RTP header with a CSRC and a one-byte extension, so that its
// length is not the usual 12.
func header(ssrc uint32, seq uint16) []byte {
	h := make([]byte, 12, 24)
	h[0], h[1] = 0x91, 96
	binary.BigEndian.PutUint16(h[2:], seq)
	binary.BigEndian.PutUint32(h[4:], uint32(seq)*3000)
	binary.BigEndian.PutUint32(h[8:], ssrc)
	h = append(h, 0, 0, 0, 9)                              // CSRC
	h = append(h, 0xBE, 0xDE, 0, 1, 0x10, byte(seq), 0, 0) // extension
	return h
}

func payload(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i)*3 + seed
	}
	return p
}

// RFC 3711 B.3: key derivation.
func TestDerivationVectors(t *testing.T) {
	master := unhex(t, "E1F97A0D3E018BE0D64FA32C06DE4139")
	salt := unhex(t, "0EC675AD498AFEEBB6960B3AABE6")
	block, err := newCM(master, make([]byte, 14), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		label byte
		want  string
	}{
		{"cipher key", labelRTP + labelKey, "C61E7A93744F39EE10734AFE3FF7A087"},
		{"cipher salt", labelRTP + labelSalt, "30CBBC08863D8C85D49DB34A9AE1"},
		{"auth key", labelRTP + labelAuth, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"},
	} {
		want := unhex(t, tt.want)
		if got := derive(block.block, salt, tt.label, len(want)); !bytes.Equal(got, want) {
			t.Errorf("%s is %x, not %x", tt.name, got, want)
		}
	}
}

// RFC 3711 B.2: the keystream of AES in counter mode.
func TestCounterModeVectors(t *testing.T) {
	c, err := newCM(unhex(t, "2B7E151628AED2A6ABF7158809CF4F3C"), unhex(t, "F0F1F2F3F4F5F6F7F8F9FAFBFCFD"), nil)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 0xff02*16)
	c.xor(out, out, 0, 0)
	for _, tt := range []struct {
		block int
		want  string
	}{
		{0, "E03EAD0935C95E80E166B16DD92B4EB4"},
		{1, "D23513162B02D0F72A43A2FE4A5F97AB"},
		{2, "41E95B3BB0A2E8DD477901E4FCA894C0"},
		{0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"},
		{0xff00, "362B7C3C6773516318A077D7FC5073AE"},
		{0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"},
	} {
		if got := out[tt.block*16:][:16]; !bytes.Equal(got, unhex(t, tt.want)) {
			t.Errorf("block %#x is %x, not %s", tt.block, got, tt.want)
		}
	}
}

// RFC 7714 16.1.1 and 17.1: the session keys are given there, not derived.
func TestGCMVectors(t *testing.T) {
	g, err := newGCM(unhex(t, "000102030405060708090a0b0c0d0e0f"), unhex(t, "517569642070726f2071756f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("rtp", func(t *testing.T) {
		head := unhex(t, "8040f17b 8041f8d3 5501a0b2")
		text := unhex(t, `47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573`)
		want := unhex(t, `8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a
			51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce`)
		dst := make([]byte, len(want))
		copy(dst, head)
		g.sealRTP(dst, len(head), text, 0x5501a0b2, 0xf17b)
		if !bytes.Equal(dst, want) {
			t.Fatalf("sealed:\n%x\nnot\n%x", dst, want)
		}
		if !g.openRTP(dst, len(head), len(text), 0x5501a0b2, 0xf17b) {
			t.Fatal("does not open")
		}
		if got := dst[len(head):][:len(text)]; !bytes.Equal(got, text) {
			t.Errorf("opened %x, not %x", got, text)
		}
	})
	t.Run("rtcp", func(t *testing.T) {
		plain := unhex(t, `81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
			deadbeef deadbeef deadbeef deadbeef deadbeef`)
		want := unhex(t, `81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
			c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4`)
		dst := make([]byte, len(want))
		g.sealRTCP(dst, plain, 0x4d617273, 0x800005d4)
		if !bytes.Equal(dst, want) {
			t.Fatalf("sealed:\n%x\nnot\n%x", dst, want)
		}
		if !g.openRTCP(dst, len(plain), 0x4d617273, 0x800005d4) || !bytes.Equal(dst[:len(plain)], plain) {
			t.Errorf("opened %x", dst)
		}
	})
}

// What we seal, pion opens, over two wraps of the sequence number.
func TestSealForPion(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.ours.String(), func(t *testing.T) {
			ours, theirs := newContext(t, p.ours), pionContext(t, p.ours, p.pion)
			dst := make([]byte, 2000)
			for i := range 140_000 {
				if i%7 != 0 && i%65536 > 100 && i%65536 < 65000 {
					continue
				}
				head, body := header(77, uint16(i+65000)), payload(i%1200, byte(i))
				n, err := ours.SealRTP(dst, head, body)
				if err != nil {
					t.Fatalf("seal packet %d: %v", i, err)
				}
				got, err := theirs.DecryptRTP(nil, dst[:n], nil)
				if err != nil {
					t.Fatalf("pion does not open packet %d: %v", i, err)
				}
				if want := append(append([]byte(nil), head...), body...); !bytes.Equal(got, want) {
					t.Fatalf("packet %d came out as %x, not %x", i, got, want)
				}
			}
		})
	}
}

// What pion seals, we open.
func TestOpenFromPion(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.ours.String(), func(t *testing.T) {
			ours, theirs := newContext(t, p.ours), pionContext(t, p.ours, p.pion)
			for i := range 140_000 {
				if i%7 != 0 && i%65536 > 100 && i%65536 < 65000 {
					continue
				}
				head := header(77, uint16(i+65000))
				plain := append(append([]byte(nil), head...), payload(i%1200, byte(i))...)
				pkt, err := theirs.EncryptRTP(nil, plain, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := ours.OpenRTP(pkt, len(head))
				if err != nil {
					t.Fatalf("packet %d: %v", i, err)
				}
				if !bytes.Equal(got, plain) {
					t.Fatalf("packet %d came out as %x, not %x", i, got, plain)
				}
			}
		})
	}
}

func TestRTCPWithPion(t *testing.T) {
	report := unhex(t, "81c90007 00000001 00000002 00000000 00000000 00000000 00000000 00000000 81cd0002 00000001 00000002")
	for _, p := range profiles {
		t.Run(p.ours.String(), func(t *testing.T) {
			out, in := newContext(t, p.ours), newContext(t, p.ours)
			theirOut, theirIn := pionContext(t, p.ours, p.pion), pionContext(t, p.ours, p.pion)
			dst := make([]byte, 200)
			for i := range 100 {
				n, err := out.SealRTCP(dst, report)
				if err != nil {
					t.Fatal(err)
				}
				got, err := theirIn.DecryptRTCP(nil, dst[:n], nil)
				if err != nil || !bytes.Equal(got, report) {
					t.Fatalf("pion opens packet %d as %x, %v", i, got, err)
				}
				pkt, err := theirOut.EncryptRTCP(nil, report, nil)
				if err != nil {
					t.Fatal(err)
				}
				again := bytes.Clone(pkt)
				if got, err = in.OpenRTCP(pkt); err != nil || !bytes.Equal(got, report) {
					t.Fatalf("packet %d of pion opens as %x, %v", i, got, err)
				}
				if _, err = in.OpenRTCP(again); !errors.Is(err, ErrReplayed) {
					t.Fatalf("a replayed packet gives %v", err)
				}
			}
		})
	}
}

// RTCP that is authenticated but not encrypted (E bit 0) is allowed by both RFCs.
func TestOpenRTCPUnencrypted(t *testing.T) {
	report := unhex(t, "80c90001 00000001 81cd0002 00000001 00000002")
	for _, p := range profiles {
		t.Run(p.ours.String(), func(t *testing.T) {
			c := newContext(t, p.ours)
			var pkt []byte
			switch x := c.rtcp.(type) {
			case *cm:
				pkt = binary.BigEndian.AppendUint32(bytes.Clone(report), 5)
				pkt = append(pkt, x.tag(pkt, nil)...)
			case *gcm:
				trailer := binary.BigEndian.AppendUint32(nil, 5)
				aad := append(bytes.Clone(report), trailer...)
				pkt = x.aead.Seal(bytes.Clone(report), x.rtcpNonce(1, 5), nil, aad)
				pkt = append(pkt, trailer...)
			}
			forged := bytes.Clone(pkt)
			forged[9] ^= 1
			if _, err := c.OpenRTCP(forged); !errors.Is(err, ErrAuth) {
				t.Errorf("a forged packet gives %v", err)
			}
			if got, err := c.OpenRTCP(pkt); err != nil || !bytes.Equal(got, report) {
				t.Errorf("opened %x, %v", got, err)
			}
		})
	}
}

// The interop tests skip most sequence numbers; here order is disturbed as a
// network does it, and each packet must open once and only once.
func TestReordering(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(profiles).Draw(t, "profile").ours
		key, salt := keys(p)
		out, _ := NewContext(p, key, salt)
		in, _ := NewContext(p, key, salt)
		start := rapid.IntRange(0, 1<<15-1).Draw(t, "start")
		n := rapid.IntRange(1, 300).Draw(t, "count")
		step := rapid.SampledFrom([]int{1, 3, 200, 700}).Draw(t, "step")
		type sealed struct {
			at  int
			pkt []byte
		}
		var pkts []sealed
		for i := range n {
			dst := make([]byte, 100)
			m, err := out.SealRTP(dst, header(1, uint16(start+i*step)), payload(20, byte(i)))
			if err != nil {
				t.Fatalf("seal %d: %v", i, err)
			}
			pkts = append(pkts, sealed{i + rapid.IntRange(0, 900/step).Draw(t, "delay"), dst[:m]})
		}
		// A stable sort by time of arrival; nothing is later than the window.
		for i := 1; i < len(pkts); i++ {
			for j := i; j > 0 && pkts[j].at < pkts[j-1].at; j-- {
				pkts[j], pkts[j-1] = pkts[j-1], pkts[j]
			}
		}
		for i, s := range pkts {
			again := bytes.Clone(s.pkt)
			if _, err := in.OpenRTP(s.pkt, 24); err != nil {
				t.Fatalf("open %d of %d: %v", i, n, err)
			}
			if _, err := in.OpenRTP(again, 24); err != ErrReplayed {
				t.Fatalf("packet %d a second time: %v", i, err)
			}
		}
	})
}

func TestEstimate(t *testing.T) {
	for _, tt := range []struct {
		highest uint64
		seq     uint16
		want    uint64
	}{
		{0x0_0005, 6, 0x0_0006},
		{0x0_0005, 0xFFFF, 0x0_FFFF}, // there is nothing before the first round
		{0x0_FFFE, 1, 0x1_0001},
		{0x1_0001, 0xFFFE, 0x0_FFFE},
		{0x1_8000, 0, 0x1_0000},
		{0x1_8001, 0, 0x2_0000},
		{0x1_7FFF, 0xFFFF, 0x1_FFFF},
		{0x1_7FFE, 0xFFFF, 0x0_FFFF},
	} {
		s := stream{started: true, highest: tt.highest}
		if got, ok := s.estimate(tt.seq); !ok || got != tt.want {
			t.Errorf("after %#x, %#x is %#x (%v), not %#x", tt.highest, tt.seq, got, ok, tt.want)
		}
	}
	s := stream{started: true, highest: 1<<48 - 1}
	if _, ok := s.estimate(0); ok {
		t.Error("the key is used past 2^48 packets")
	}
}

func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen := map[uint64]bool{}
		var highest uint64
		at := uint64(rapid.IntRange(0, 1<<20).Draw(t, "start"))
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			at = uint64(max(0, int(at)+rapid.IntRange(-1200, 1300).Draw(t, "step")))
			tooOld := len(seen) > 0 && highest >= windowSize && at <= highest-windowSize
			if got, want := w.fresh(at), !seen[at] && !tooOld; got != want {
				t.Fatalf("fresh(%d) is %v, highest %d", at, got, highest)
			}
			if w.fresh(at) {
				w.accept(at)
				seen[at] = true
				highest = max(highest, at)
			}
		}
	})
}

func TestRefused(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.ours.String(), func(t *testing.T) {
			out, in := newContext(t, p.ours), newContext(t, p.ours)
			dst := make([]byte, 1500)
			n, err := out.SealRTP(dst, header(1, 1), payload(100, 0))
			if err != nil {
				t.Fatal(err)
			}
			for bit := range n * 8 {
				forged := bytes.Clone(dst[:n])
				forged[bit/8] ^= 1 << (bit % 8)
				if _, err := in.OpenRTP(forged, 24); !errors.Is(err, ErrAuth) {
					t.Fatalf("bit %d turned: %v", bit, err)
				}
			}
			if len(in.streams) != 0 {
				t.Errorf("forged packets made state of %d SSRCs", len(in.streams))
			}
			if got := in.Stats().AuthFailed.Load(); got != uint64(n*8) {
				t.Errorf("%d forgeries counted, not %d", got, n*8)
			}
			if _, err := in.OpenRTP(dst[:n], 24); err != nil {
				t.Errorf("the genuine packet after them: %v", err)
			}
			if _, err := out.SealRTP(dst, header(1, 1), payload(100, 1)); !errors.Is(err, ErrReused) {
				t.Errorf("a sequence number sealed twice: %v", err)
			}
			if _, err := out.SealRTP(dst[:100], header(1, 2), payload(100, 1)); !errors.Is(err, ErrBuffer) {
				t.Errorf("no room: %v", err)
			}
			if _, err := out.SealRTP(dst, header(1, 2)[:11], nil); !errors.Is(err, ErrShort) {
				t.Errorf("no header: %v", err)
			}
			if _, err := out.SealRTCP(dst, make([]byte, 7)); !errors.Is(err, ErrShort) {
				t.Errorf("no RTCP header: %v", err)
			}
			if _, err := out.SealRTCP(dst[:10], make([]byte, 8)); !errors.Is(err, ErrBuffer) {
				t.Errorf("no room for RTCP: %v", err)
			}
			out.rtcpIndex = maxRTCPIndex
			if _, err := out.SealRTCP(dst, make([]byte, 8)); !errors.Is(err, ErrExpired) {
				t.Errorf("an index past 2^31: %v", err)
			}
			for _, l := range []int{0, 11, len(dst) + 1, 110} {
				if _, err := in.OpenRTP(dst[:112], l); err == nil {
					t.Errorf("header length %d of 112 is taken", l)
				}
			}
		})
	}
}

func TestStreamLimit(t *testing.T) {
	out, in := newContext(t, AES_128_GCM), newContext(t, AES_128_GCM)
	wide := newContext(t, AES_128_GCM)
	dst := make([]byte, 100)
	for i := range MaxStreams {
		n, err := out.SealRTP(dst, header(uint32(i), 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = in.OpenRTP(dst[:n], 24); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := out.SealRTP(dst, header(MaxStreams, 1), nil); !errors.Is(err, ErrStreams) {
		t.Errorf("one SSRC too many is sealed: %v", err)
	}
	n, _ := wide.SealRTP(dst, header(MaxStreams, 1), nil)
	if _, err := in.OpenRTP(dst[:n], 24); !errors.Is(err, ErrStreams) {
		t.Errorf("one SSRC too many is opened: %v", err)
	}
	if got := in.Stats().TooManyStreams.Load(); got != 1 {
		t.Errorf("counted %d times", got)
	}
	if _, err := out.SealRTP(dst, header(3, 2), nil); err != nil {
		t.Errorf("the known ones do not go on: %v", err)
	}
	out.Forget(3)
	if _, err := out.SealRTP(dst, header(MaxStreams, 1), nil); err != nil {
		t.Errorf("none takes the place of one that is over: %v", err)
	}
	if _, err := out.SealRTP(dst, header(MaxStreams, 1), nil); !errors.Is(err, ErrReused) {
		t.Errorf("the new one is not kept: %v", err)
	}
}

func TestNewContextRefuses(t *testing.T) {
	for _, tt := range []struct {
		name      string
		p         Profile
		key, salt int
	}{
		{"profile", 0x0002, 16, 14}, {"key", AES_128_GCM, 15, 12}, {"salt", AES_CM_128_HMAC_SHA1_80, 16, 12},
	} {
		if _, err := NewContext(tt.p, make([]byte, tt.key), make([]byte, tt.salt)); err == nil {
			t.Errorf("a wrong %s is taken", tt.name)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.ours.String(), func(t *testing.T) {
			out, in := newContext(t, p.ours), newContext(t, p.ours)
			dst := make([]byte, 1500)
			head, body := header(1, 0), payload(1200, 0)
			report := make([]byte, 60)
			seq := uint16(0)
			if n := testing.AllocsPerRun(2000, func() {
				seq++
				binary.BigEndian.PutUint16(head[2:], seq)
				n, err := out.SealRTP(dst, head, body)
				if err == nil {
					_, err = in.OpenRTP(dst[:n], len(head))
				}
				if err == nil {
					n, err = out.SealRTCP(dst, report)
				}
				if err == nil {
					_, err = in.OpenRTCP(dst[:n])
				}
				if err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v allocations a packet", n)
			}
		})
	}
}

func FuzzOpenRTP(f *testing.F) {
	for i, p := range profiles {
		c := newContext(f, p.ours)
		dst := make([]byte, 200)
		n, _ := c.SealRTP(dst, header(1, 1), payload(50, 0))
		f.Add(i == 0, dst[:n], 24)
	}
	f.Add(true, []byte{0x80}, 12)
	f.Fuzz(func(t *testing.T, aead bool, pkt []byte, headerLen int) {
		p := AES_CM_128_HMAC_SHA1_80
		if aead {
			p = AES_128_GCM
		}
		c := newContext(t, p)
		size := len(pkt)
		plain, err := c.OpenRTP(pkt, headerLen)
		if err == nil && len(plain) != size-c.Overhead() {
			t.Errorf("%d bytes opened to %d", size, len(plain))
		}
	})
}

func FuzzOpenRTCP(f *testing.F) {
	for i, p := range profiles {
		c := newContext(f, p.ours)
		dst := make([]byte, 200)
		n, _ := c.SealRTCP(dst, make([]byte, 32))
		f.Add(i == 0, dst[:n])
	}
	f.Add(true, []byte{0x80})
	f.Fuzz(func(t *testing.T, aead bool, pkt []byte) {
		p := AES_CM_128_HMAC_SHA1_80
		if aead {
			p = AES_128_GCM
		}
		c := newContext(t, p)
		size := len(pkt)
		plain, err := c.OpenRTCP(pkt)
		if err == nil && len(plain) != size-c.OverheadRTCP() {
			t.Errorf("%d bytes opened to %d", size, len(plain))
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for _, p := range profiles {
		for _, size := range []int{100, 1200} {
			b.Run(p.ours.String()+"/"+map[int]string{100: "100", 1200: "1200"}[size], func(b *testing.B) {
				c := newContext(b, p.ours)
				dst, head, body := make([]byte, 1500), header(1, 0), payload(size, 0)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				seq := uint16(0)
				for b.Loop() {
					seq++
					binary.BigEndian.PutUint16(head[2:], seq)
					if _, err := c.SealRTP(dst, head, body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, p := range profiles {
		b.Run(p.ours.String()+"/1200", func(b *testing.B) {
			out, in := newContext(b, p.ours), newContext(b, p.ours)
			sealed, pkt, head, body := make([]byte, 1500), make([]byte, 1500), header(1, 0), payload(1200, 0)
			n, _ := out.SealRTP(sealed, head, body)
			b.SetBytes(1200)
			b.ReportAllocs()
			for b.Loop() {
				copy(pkt, sealed[:n])
				in.streams[1] = nil
				delete(in.streams, 1)
				in.last = nil
				in.spare = &stream{}
				if _, err := in.OpenRTP(pkt[:n], len(head)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
