// Package srtp protects RTP and RTCP packets for one direction of one peer, as
// RFC 3711 (AES in counter mode with HMAC-SHA1) and RFC 7714 (AES-GCM) say. It
// is made for forwarding one packet to many peers: sealing reads the payload
// where it lies and writes the protected packet straight into the buffer it is
// sent from, opening works in place, and neither allocates.
package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// Profile is a DTLS-SRTP protection profile, by its number in the IANA registry
// (RFC 5764 4.1.2, RFC 7714 14.2).
type Profile uint16

// The profiles that are spoken.
const (
	AES_CM_128_HMAC_SHA1_80 Profile = 0x0001
	AES_128_GCM             Profile = 0x0007
)

// String is the profile's name in the registry.
func (p Profile) String() string {
	switch p {
	case AES_CM_128_HMAC_SHA1_80:
		return "SRTP_AES128_CM_HMAC_SHA1_80"
	case AES_128_GCM:
		return "SRTP_AEAD_AES_128_GCM"
	}
	return fmt.Sprintf("SRTP profile 0x%04x", uint16(p))
}

// KeyLen is the length of the master key in bytes, 0 for an unknown profile.
func (p Profile) KeyLen() int {
	switch p {
	case AES_CM_128_HMAC_SHA1_80, AES_128_GCM:
		return 16
	}
	return 0
}

// SaltLen is the length of the master salt in bytes, 0 for an unknown profile.
func (p Profile) SaltLen() int {
	switch p {
	case AES_CM_128_HMAC_SHA1_80:
		return 14
	case AES_128_GCM:
		return 12
	}
	return 0
}

func (p Profile) tagLen() int {
	if p == AES_128_GCM {
		return 16
	}
	return 10
}

// What can be wrong with a packet.
var (
	ErrShort    = errors.New("srtp: packet is too short")
	ErrHeader   = errors.New("srtp: header length does not fit the packet")
	ErrAuth     = errors.New("srtp: authentication failed")
	ErrReplayed = errors.New("srtp: packet was seen before or is too old")
	ErrReused   = errors.New("srtp: sequence number was sent before or is too old")
	ErrStreams  = errors.New("srtp: too many SSRCs")
	ErrBuffer   = errors.New("srtp: destination is too small")
	ErrExpired  = errors.New("srtp: key is used up")
)

const (
	headerLen     = 12 // of RTP, without CSRCs and extension
	rtcpHeaderLen = 8  // the part of an RTCP packet that stays in clear
	indexLen      = 4  // E bit and SRTCP index

	// MaxStreams bounds the SSRCs that one Context keeps state for. A browser
	// sends fewer than ten; a peer is sent two for each video it watches at a time.
	MaxStreams = 256

	maxRTCPIndex = 1<<31 - 1
)

// Stats counts what a Context refused.
type Stats struct {
	AuthFailed, Replayed, TooManyStreams atomic.Uint64
}

// Context protects or opens the packets of one direction: its master key is used
// by one side only. It is not safe for concurrent use; its Stats are.
type Context struct {
	profile Profile
	tag     int

	rtp  transform
	rtcp transform

	streams map[uint32]*stream // by SSRC
	last    *stream            // the one used last, which is mostly the one used next

	rtcpIndex   uint32             // last sent
	rtcpStreams map[uint32]*window // SRTCP indexes received, by SSRC
	rtcpLast    *window            // of the SSRC that was heard last, which is mostly the next
	rtcpSSRC    uint32
	rtcpSpare   *window

	spare *stream // for an SSRC that is not authenticated yet

	stats Stats
}

// transform is a cipher with its authentication, under session keys. Offsets and
// lengths are checked before.
type transform interface {
	// sealRTP writes the encrypted payload and the tag behind the header that is
	// already in dst.
	sealRTP(dst []byte, header int, payload []byte, ssrc uint32, index uint64)
	// openRTP authenticates pkt and decrypts it in place; the plaintext payload
	// is payload bytes long.
	openRTP(pkt []byte, header, payload int, ssrc uint32, index uint64) bool
	// sealRTCP writes the protected packet to dst; trailer is E bit and index.
	sealRTCP(dst, pkt []byte, ssrc, trailer uint32)
	// openRTCP authenticates pkt and decrypts it in place, if trailer says so.
	openRTCP(pkt []byte, plain int, ssrc, trailer uint32) bool
}

// NewContext derives the session keys from a master key and salt of the
// profile's lengths.
func NewContext(p Profile, key, salt []byte) (*Context, error) {
	if p.KeyLen() == 0 {
		return nil, fmt.Errorf("srtp: profile 0x%04x is not supported", uint16(p))
	}
	if len(key) != p.KeyLen() || len(salt) != p.SaltLen() {
		return nil, fmt.Errorf("srtp: %s wants a key of %d bytes and a salt of %d, not %d and %d",
			p, p.KeyLen(), p.SaltLen(), len(key), len(salt))
	}
	master, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("srtp: master key: %w", err)
	}
	c := &Context{
		profile:     p,
		tag:         p.tagLen(),
		streams:     make(map[uint32]*stream),
		rtcpStreams: make(map[uint32]*window),
	}
	for _, t := range []struct {
		to    *transform
		label byte
	}{{&c.rtp, labelRTP}, {&c.rtcp, labelRTCP}} {
		sessionKey := derive(master, salt, t.label+labelKey, p.KeyLen())
		sessionSalt := derive(master, salt, t.label+labelSalt, p.SaltLen())
		var err error
		if p == AES_128_GCM {
			*t.to, err = newGCM(sessionKey, sessionSalt)
		} else {
			auth := derive(master, salt, t.label+labelAuth, 20)
			*t.to, err = newCM(sessionKey, sessionSalt, auth)
		}
		if err != nil {
			return nil, fmt.Errorf("srtp: session key: %w", err)
		}
	}
	return c, nil
}

// Labels of RFC 3711 4.3.1: what a derived key is for.
const (
	labelRTP  = 0
	labelRTCP = 3

	labelKey  = 0
	labelAuth = 1
	labelSalt = 2
)

// derive is the pseudo-random function of RFC 3711 4.3.3 with a key derivation
// rate of 0. A 12-byte salt is filled up with zeros (RFC 7714 11).
func derive(master cipher.Block, salt []byte, label byte, n int) []byte {
	var x [16]byte
	copy(x[:14], salt)
	x[7] ^= label
	var out [32]byte
	for i := 0; i*16 < n; i++ {
		x[15] = byte(i)
		master.Encrypt(out[i*16:], x[:])
	}
	return out[:n:n]
}

// Profile is the Context's protection profile.
func (c *Context) Profile() Profile { return c.profile }

// Stats are the live counters.
func (c *Context) Stats() *Stats { return &c.stats }

// Overhead is by how many bytes a protected RTP packet is longer.
func (c *Context) Overhead() int { return c.tag }

// OverheadRTCP is by how many bytes a protected RTCP packet is longer.
func (c *Context) OverheadRTCP() int { return c.tag + indexLen }

// SealRTP writes the protected packet of header and payload to dst and returns
// its length, which is that of both plus Overhead. header is the whole RTP
// header with CSRCs and extensions; payload may be followed in its memory by
// anything, and must not overlap dst. A sequence number can be sealed once only:
// under GCM a second use with other content would give the key away (RFC 7714
// 8.1).
func (c *Context) SealRTP(dst, header, payload []byte) (n int, err error) {
	if len(header) < headerLen {
		return 0, ErrShort
	}
	n = len(header) + len(payload) + c.tag
	if len(dst) < n {
		return 0, ErrBuffer
	}
	seq := binary.BigEndian.Uint16(header[2:])
	ssrc := binary.BigEndian.Uint32(header[8:])
	st, fresh := c.lookup(ssrc)
	if fresh && len(c.streams) >= MaxStreams {
		c.stats.TooManyStreams.Add(1)
		return 0, ErrStreams
	}
	index, ok := st.estimate(seq)
	if !ok {
		return 0, ErrExpired
	}
	if !st.seen.fresh(index) {
		c.stats.Replayed.Add(1)
		return 0, ErrReused
	}
	copy(dst, header)
	c.rtp.sealRTP(dst[:n], len(header), payload, ssrc, index)
	c.keep(ssrc, st, fresh)
	st.accept(index)
	return n, nil
}

// OpenRTP authenticates a protected packet and decrypts it in place. It returns
// the whole packet without its tag: the header, headerLen bytes, as it was and
// the payload (with padding, if any) in clear. Whatever fails leaves the bytes of
// pkt undefined and the Context unchanged.
func (c *Context) OpenRTP(pkt []byte, headerLength int) (plain []byte, err error) {
	if headerLength < headerLen || len(pkt) < headerLength {
		return nil, ErrHeader
	}
	payload := len(pkt) - headerLength - c.tag
	if payload < 0 {
		return nil, ErrShort
	}
	seq := binary.BigEndian.Uint16(pkt[2:])
	ssrc := binary.BigEndian.Uint32(pkt[8:])
	st, fresh := c.lookup(ssrc)
	index, ok := st.estimate(seq)
	if !ok {
		return nil, ErrExpired
	}
	if !st.seen.fresh(index) {
		c.stats.Replayed.Add(1)
		return nil, ErrReplayed
	}
	if fresh && len(c.streams) >= MaxStreams {
		c.stats.TooManyStreams.Add(1)
		return nil, ErrStreams
	}
	if !c.rtp.openRTP(pkt, headerLength, payload, ssrc, index) {
		c.stats.AuthFailed.Add(1)
		return nil, ErrAuth
	}
	// Only an authentic packet makes state.
	c.keep(ssrc, st, fresh)
	st.accept(index)
	return pkt[:headerLength+payload], nil
}

// SealRTCP writes the protected form of a compound RTCP packet to dst, which
// must not overlap it, and returns its length: that of pkt plus OverheadRTCP.
func (c *Context) SealRTCP(dst, pkt []byte) (n int, err error) {
	if len(pkt) < rtcpHeaderLen {
		return 0, ErrShort
	}
	n = len(pkt) + c.tag + indexLen
	if len(dst) < n {
		return 0, ErrBuffer
	}
	if c.rtcpIndex == maxRTCPIndex {
		return 0, ErrExpired // RFC 3711 9.2
	}
	// One count for all SSRCs: it grows for each of them, and no index is used twice.
	c.rtcpIndex++
	c.rtcp.sealRTCP(dst[:n], pkt, binary.BigEndian.Uint32(pkt[4:]), 1<<31|c.rtcpIndex)
	return n, nil
}

// OpenRTCP authenticates a protected RTCP packet and decrypts it in place. It
// returns the compound packet.
func (c *Context) OpenRTCP(pkt []byte) ([]byte, error) {
	plain := len(pkt) - c.tag - indexLen
	if plain < rtcpHeaderLen {
		return nil, ErrShort
	}
	ssrc := binary.BigEndian.Uint32(pkt[4:])
	var trailer uint32
	if c.profile == AES_128_GCM {
		trailer = binary.BigEndian.Uint32(pkt[len(pkt)-indexLen:])
	} else {
		trailer = binary.BigEndian.Uint32(pkt[plain:])
	}
	index := uint64(trailer &^ (1 << 31))
	seen := c.rtcpLast
	if seen == nil || c.rtcpSSRC != ssrc {
		seen = c.rtcpStreams[ssrc]
	}
	fresh := seen == nil
	if fresh {
		if len(c.rtcpStreams) >= MaxStreams {
			c.stats.TooManyStreams.Add(1)
			return nil, ErrStreams
		}
		if c.rtcpSpare == nil {
			c.rtcpSpare = new(window)
		}
		seen = c.rtcpSpare
	}
	if !seen.fresh(index) {
		c.stats.Replayed.Add(1)
		return nil, ErrReplayed
	}
	if !c.rtcp.openRTCP(pkt, plain, ssrc, trailer) {
		c.stats.AuthFailed.Add(1)
		return nil, ErrAuth
	}
	if fresh {
		c.rtcpStreams[ssrc] = seen
		c.rtcpSpare = nil
	}
	c.rtcpLast, c.rtcpSSRC = seen, ssrc
	seen.accept(index)
	return pkt[:plain], nil
}

// lookup finds the state of an SSRC, or lends a blank one that counts only after
// keep.
func (c *Context) lookup(ssrc uint32) (st *stream, fresh bool) {
	if c.last != nil && c.last.ssrc == ssrc {
		return c.last, false
	}
	if st := c.streams[ssrc]; st != nil {
		c.last = st
		return st, false
	}
	if c.spare == nil {
		c.spare = new(stream)
	}
	return c.spare, true
}

// Forget drops the state of an SSRC whose stream is over, and makes room for
// another. The numbers that were sealed under it are forgotten too, so it must
// never be sealed again.
func (c *Context) Forget(ssrc uint32) {
	if c.last != nil && c.last.ssrc == ssrc {
		c.last = nil
	}
	delete(c.streams, ssrc)
}

func (c *Context) keep(ssrc uint32, st *stream, fresh bool) {
	if !fresh {
		return
	}
	st.ssrc = ssrc
	c.streams[ssrc] = st
	c.last = st
	c.spare = nil
}
