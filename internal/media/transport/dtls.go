package transport

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	_ "crypto/sha512" // sha-384 and sha-512 fingerprints
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/pion/dtls/v3"

	"belfry/internal/media/srtp"
)

// flightInterval is after how long an unanswered flight is sent again, doubling.
const flightInterval = 400 * time.Millisecond

// exporterLabel is that of RFC 5764 4.2.
const exporterLabel = "EXTRACTOR-dtls_srtp"

var (
	errFingerprint = errors.New("the certificate has not the fingerprint of the SDP")
	errNoProfile   = errors.New("no SRTP profile in common")
	errPeerClosed  = errors.New("the client closed DTLS")
)

// makeCertificate makes the self-signed certificate of a Mux (ECDSA on P-256,
// which every browser takes). Its names and dates mean nothing: the client
// compares its fingerprint.
func makeCertificate(now time.Time) (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make certificate key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make certificate serial: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "WebRTC"},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.Add(10 * 365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, "sha-256 " + colons(sum[:]), nil
}

func colons(b []byte) string {
	parts := make([]string, len(b))
	for i, v := range b {
		parts[i] = fmt.Sprintf("%02X", v)
	}
	return strings.Join(parts, ":")
}

// fingerprint is the hash of a certificate (RFC 8122).
type fingerprint struct {
	hash crypto.Hash
	sum  []byte
}

func parseFingerprint(s string) (fingerprint, error) {
	name, value, _ := strings.Cut(strings.TrimSpace(s), " ")
	var f fingerprint
	switch strings.ToLower(name) {
	case "sha-256":
		f.hash = crypto.SHA256
	case "sha-384":
		f.hash = crypto.SHA384
	case "sha-512":
		f.hash = crypto.SHA512
	default:
		return f, fmt.Errorf("remote fingerprint is of hash %.20q, not sha-256, sha-384 or sha-512", name)
	}
	value = strings.TrimSpace(value)
	if len(value) != f.hash.Size()*3-1 {
		return f, fmt.Errorf("remote fingerprint of %s has %d characters, not %d", strings.ToLower(name), len(value), f.hash.Size()*3-1)
	}
	var err error
	if f.sum, err = hex.DecodeString(strings.ReplaceAll(value, ":", "")); err != nil || len(f.sum) != f.hash.Size() {
		return f, errors.New("remote fingerprint is not hexadecimal bytes with colons between")
	}
	return f, nil
}

func (f fingerprint) equal(o fingerprint) bool {
	return f.hash == o.hash && subtle.ConstantTimeCompare(f.sum, o.sum) == 1
}

// verify compares the peer's certificate, the first of those it sent.
func (f fingerprint) verify(certs [][]byte) error {
	if len(certs) == 0 || f.hash == 0 {
		return errFingerprint
	}
	h := f.hash.New()
	h.Write(certs[0])
	if subtle.ConstantTimeCompare(h.Sum(nil), f.sum) != 1 {
		return errFingerprint
	}
	return nil
}

// serve takes a Conn through its life, and returns why it ended.
func (c *Conn) serve() error {
	for _, ready := range []chan struct{}{c.remoteSet, c.selected} {
		select {
		case <-ready:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
	conn, err := c.shakeHands()
	if err != nil {
		if context.Cause(c.ctx) == nil {
			c.mux.stats.HandshakesFailed.Add(1)
		}
		return fmt.Errorf("DTLS handshake: %w", err)
	}
	defer conn.Close()
	c.mux.stats.HandshakesDone.Add(1)
	in, err := c.takeKeys(conn)
	if err != nil {
		return err
	}
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	c.handler.Connected()
	c.mu.Lock()
	c.in = in
	c.mu.Unlock()

	// Close wakes Read; it must have ended before the Conn counts as closed.
	closed := make(chan struct{})
	stop := context.AfterFunc(c.ctx, func() {
		defer close(closed)
		conn.Close()
	})
	err = awaitEnd(conn)
	if !stop() {
		<-closed
	}
	return err
}

// awaitEnd reads until the peer closes. There is no data in our DTLS, and a
// record that cannot be read is no reason to end.
func awaitEnd(conn *dtls.Conn) error {
	buf := make([]byte, 1<<14)
	for {
		if _, err := conn.Read(buf); errors.Is(err, io.EOF) {
			return errPeerClosed
		}
	}
}

// shakeHands runs the handshake over the Conn's pipe.
func (c *Conn) shakeHands() (*dtls.Conn, error) {
	c.mu.Lock()
	print, active := c.print, c.local.Setup == SetupActive
	c.mu.Unlock()

	profiles := make([]dtls.SRTPProtectionProfile, len(c.mux.cfg.Profiles))
	for i, p := range c.mux.cfg.Profiles {
		profiles[i] = dtls.SRTPProtectionProfile(p)
	}
	verify := func(certs [][]byte, _ [][]*x509.Certificate) error { return print.verify(certs) }
	shared := []dtls.Option{
		dtls.WithCertificates(c.mux.cert),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithInsecureSkipVerify(true), // of the chain: there is none, the fingerprint counts
		dtls.WithVerifyPeerCertificate(verify),
		dtls.WithFlightInterval(flightInterval),
		dtls.WithLoggerFactory(quiet{}),
	}
	var conn *dtls.Conn
	var err error
	if active {
		options := make([]dtls.ClientOption, 0, len(shared))
		for _, o := range shared {
			options = append(options, o)
		}
		conn, err = dtls.ClientWithOptions(c.pipe, c.pipe.Peer(), options...)
	} else {
		options := make([]dtls.ServerOption, 0, len(shared)+2)
		for _, o := range shared {
			options = append(options, o)
		}
		options = append(options,
			dtls.WithClientAuth(dtls.RequireAnyClientCert),
			// ICE has proved that the client is where it says.
			dtls.WithInsecureSkipVerifyHello(true))
		conn, err = dtls.ServerWithOptions(c.pipe, c.pipe.Peer(), options...)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.mux.cfg.HandshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// takeKeys makes the SRTP contexts of both directions from what the handshake
// agreed on (RFC 5764 4.2) and opens the way out; the way in is for the caller.
func (c *Conn) takeKeys(conn *dtls.Conn) (in *srtp.Context, err error) {
	selected, ok := conn.SelectedSRTPProtectionProfile()
	p := srtp.Profile(selected)
	if !ok || p.KeyLen() == 0 {
		return nil, errNoProfile
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, errors.New("DTLS has no state to export keys from")
	}
	keyLen, saltLen := p.KeyLen(), p.SaltLen()
	material, err := state.ExportKeyingMaterial(exporterLabel, nil, 2*(keyLen+saltLen))
	if err != nil {
		return nil, fmt.Errorf("export SRTP keys: %w", err)
	}
	clientKey, serverKey := material[:keyLen], material[keyLen:2*keyLen]
	salts := material[2*keyLen:]
	client, err := srtp.NewContext(p, clientKey, salts[:saltLen])
	if err != nil {
		return nil, err
	}
	server, err := srtp.NewContext(p, serverKey, salts[saltLen:])
	if err != nil {
		return nil, err
	}
	clear(material)
	in, out := client, server
	c.mu.Lock()
	if c.local.Setup == SetupActive {
		in, out = server, client
	}
	c.mu.Unlock()
	c.mux.stats.ConnsConnected.Add(1)
	c.out.Store(out)
	return in, nil
}
