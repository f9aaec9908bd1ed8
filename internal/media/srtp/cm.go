package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// cm is AES_CM_128_HMAC_SHA1_80 (RFC 3711): AES in counter mode, and the first
// ten bytes of an HMAC-SHA1. Buffers that are passed to interfaces live here,
// since on the stack they would be moved to the heap for each packet.
type cm struct {
	block     cipher.Block
	mac       hash.Hash
	salt      [14]byte
	counter   [aes.BlockSize]byte
	keystream [aes.BlockSize]byte
	roc       [4]byte
	sum       [sha1.Size]byte
}

const cmTag = 10

func newCM(key, salt, auth []byte) (*cm, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	c := &cm{block: block, mac: hmac.New(sha1.New, auth)}
	copy(c.salt[:], salt)
	return c, nil
}

// xor encrypts or decrypts src to dst, which are the same or apart. The counter
// starts from SSRC, index and salt (RFC 3711 4.1.1). The standard library's
// counter mode is faster for long packets but allocates one for each.
func (c *cm) xor(dst, src []byte, ssrc uint32, index uint64) {
	iv := &c.counter
	clear(iv[:])
	binary.BigEndian.PutUint32(iv[4:], ssrc)
	binary.BigEndian.PutUint32(iv[8:], uint32(index>>16))
	binary.BigEndian.PutUint16(iv[12:], uint16(index))
	for i := range c.salt {
		iv[i] ^= c.salt[i]
	}
	for n := uint16(0); len(src) > 0; n++ { // 2^16 blocks are a megabyte
		binary.BigEndian.PutUint16(iv[14:], n)
		c.block.Encrypt(c.keystream[:], iv[:])
		done := subtle.XORBytes(dst, src, c.keystream[:min(len(src), aes.BlockSize)])
		dst, src = dst[done:], src[done:]
	}
}

// tag authenticates msg and, for RTP, the rollover counter (RFC 3711 4.2).
func (c *cm) tag(msg, roc []byte) []byte {
	c.mac.Reset()
	c.mac.Write(msg)
	c.mac.Write(roc)
	return c.mac.Sum(c.sum[:0])[:cmTag]
}

func (c *cm) sealRTP(dst []byte, header int, payload []byte, ssrc uint32, index uint64) {
	end := header + len(payload)
	c.xor(dst[header:end], payload, ssrc, index)
	binary.BigEndian.PutUint32(c.roc[:], uint32(index>>16))
	copy(dst[end:], c.tag(dst[:end], c.roc[:]))
}

func (c *cm) openRTP(pkt []byte, header, payload int, ssrc uint32, index uint64) bool {
	end := header + payload
	binary.BigEndian.PutUint32(c.roc[:], uint32(index>>16))
	if subtle.ConstantTimeCompare(c.tag(pkt[:end], c.roc[:]), pkt[end:]) != 1 {
		return false
	}
	c.xor(pkt[header:end], pkt[header:end], ssrc, index)
	return true
}

func (c *cm) sealRTCP(dst, pkt []byte, ssrc, trailer uint32) {
	copy(dst, pkt[:rtcpHeaderLen])
	c.xor(dst[rtcpHeaderLen:len(pkt)], pkt[rtcpHeaderLen:], ssrc, uint64(trailer&^(1<<31)))
	end := len(pkt) + indexLen
	binary.BigEndian.PutUint32(dst[len(pkt):], trailer)
	copy(dst[end:], c.tag(dst[:end], nil))
}

func (c *cm) openRTCP(pkt []byte, plain int, ssrc, trailer uint32) bool {
	end := plain + indexLen
	if subtle.ConstantTimeCompare(c.tag(pkt[:end], nil), pkt[end:]) != 1 {
		return false
	}
	if trailer>>31 == 1 {
		c.xor(pkt[rtcpHeaderLen:plain], pkt[rtcpHeaderLen:plain], ssrc, uint64(trailer&^(1<<31)))
	}
	return true
}
