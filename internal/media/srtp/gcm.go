package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// gcm is AEAD_AES_128_GCM (RFC 7714). Its nonce lives here, since one on the
// stack would be moved to the heap for each packet.
type gcm struct {
	aead  cipher.AEAD
	salt  [12]byte
	nonce [12]byte
	aad   [rtcpHeaderLen + indexLen]byte
}

func newGCM(key, salt []byte) (*gcm, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	g := &gcm{aead: aead}
	copy(g.salt[:], salt)
	return g, nil
}

// rtpNonce is RFC 7714 8.1: two zero bytes, SSRC, rollover counter, sequence
// number, mixed with the salt.
func (g *gcm) rtpNonce(ssrc uint32, index uint64) []byte {
	n := &g.nonce
	n[0], n[1] = 0, 0
	binary.BigEndian.PutUint32(n[2:], ssrc)
	binary.BigEndian.PutUint32(n[6:], uint32(index>>16))
	binary.BigEndian.PutUint16(n[10:], uint16(index))
	for i := range n {
		n[i] ^= g.salt[i]
	}
	return n[:]
}

// rtcpNonce is RFC 7714 9.1: the SRTCP index takes the place of both.
func (g *gcm) rtcpNonce(ssrc, trailer uint32) []byte {
	n := &g.nonce
	clear(n[:])
	binary.BigEndian.PutUint32(n[2:], ssrc)
	binary.BigEndian.PutUint32(n[8:], trailer&^(1<<31))
	for i := range n {
		n[i] ^= g.salt[i]
	}
	return n[:]
}

func (g *gcm) sealRTP(dst []byte, header int, payload []byte, ssrc uint32, index uint64) {
	g.aead.Seal(dst[header:header], g.rtpNonce(ssrc, index), payload, dst[:header])
}

func (g *gcm) openRTP(pkt []byte, header, _ int, ssrc uint32, index uint64) bool {
	_, err := g.aead.Open(pkt[header:header], g.rtpNonce(ssrc, index), pkt[header:], pkt[:header])
	return err == nil
}

func (g *gcm) sealRTCP(dst, pkt []byte, ssrc, trailer uint32) {
	copy(dst, pkt[:rtcpHeaderLen])
	end := len(dst) - indexLen
	binary.BigEndian.PutUint32(dst[end:], trailer)
	// The additional data is header and trailer (RFC 7714 9.2).
	copy(g.aad[:], pkt[:rtcpHeaderLen])
	copy(g.aad[rtcpHeaderLen:], dst[end:])
	g.aead.Seal(dst[rtcpHeaderLen:rtcpHeaderLen], g.rtcpNonce(ssrc, trailer), pkt[rtcpHeaderLen:], g.aad[:])
}

func (g *gcm) openRTCP(pkt []byte, plain int, ssrc, trailer uint32) bool {
	end := len(pkt) - indexLen
	nonce := g.rtcpNonce(ssrc, trailer)
	if trailer>>31 == 0 {
		// Authenticated only: all of it is additional data, the tag stands before
		// the trailer (RFC 7714 9.3). Rare, so it may allocate.
		aad := make([]byte, 0, plain+indexLen)
		aad = append(aad, pkt[:plain]...)
		aad = append(aad, pkt[end:]...)
		_, err := g.aead.Open(nil, nonce, pkt[plain:end], aad)
		return err == nil
	}
	copy(g.aad[:], pkt[:rtcpHeaderLen])
	copy(g.aad[rtcpHeaderLen:], pkt[end:])
	_, err := g.aead.Open(pkt[rtcpHeaderLen:rtcpHeaderLen], nonce, pkt[rtcpHeaderLen:end], g.aad[:])
	return err == nil
}
