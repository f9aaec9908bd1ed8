// Package client is the media half of a browser, cheap enough that one processor
// plays a thousand: a Client has a UDP address of its own, checks the server's
// candidate as the controlling side of ICE, shakes hands by DTLS and exchanges
// SRTP. It sends synthetic video and prepared speech, answers key frame requests
// and retransmission requests, and sends the RTCP that browsers send, as often as
// they do. What arrives is decrypted and checked on the goroutine that read it.
//
// One Pace drives many Clients with a single goroutine. Of those that are made with it
// (Config.Pace) sixty and more share a socket on Linux, a trunk, on which each has a wire;
// the Pace reads all trunks every 2 ms. When something came is what the kernel noted, so
// it is no later for having waited to be read.
package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v4"

	"belfry/internal/media/pipe"
	"belfry/internal/media/srtp"
)

var started = time.Now()

// Now is the clock of everything here: nanoseconds, monotonic.
func Now() int64 { return int64(time.Since(started)) + 1 }

// Identity is a certificate and its fingerprint, as SDP writes it. Clients may
// share one: making it is dear.
type Identity struct {
	certificate tls.Certificate
	fingerprint string
}

// NewIdentity makes a self-signed certificate.
func NewIdentity() (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	hex := strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
	return &Identity{certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, fingerprint: "sha-256 " + hex}, nil
}

// endpoint is the transport of a Client.
type endpoint struct {
	identity   *Identity
	wire       wire
	ufrag, pwd string
	remote     remote
	username   string

	pipe     *pipe.Pipe
	checked  chan struct{} // a check was answered
	once     sync.Once
	readers  sync.WaitGroup
	dtls     *dtls.Conn
	in       atomic.Pointer[srtp.Context]
	out      *srtp.Context // guarded by Client.mu once connected
	rejected atomic.Uint64 // packets that did not decrypt
}

func (e *endpoint) open(w wire, id *Identity) {
	e.identity, e.wire = id, w
	e.ufrag, e.pwd = rand.Text()[:8], rand.Text()
	e.checked = make(chan struct{})
	e.pipe = pipe.New(func(b []byte) { e.wire.post(b, e.remote.addr) })
}

// connect checks the remote candidate and shakes hands.
func (e *endpoint) connect(ctx context.Context, r remote) error {
	e.remote = r
	e.username = r.ufrag + ":" + e.ufrag
	if err := e.check(); err != nil {
		return err
	}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for waiting := true; waiting; {
		select {
		case <-e.checked:
			waiting = false
		case <-again.C:
			if err := e.check(); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("no answer to ICE checks from %v: %w", r.addr, ctx.Err())
		}
	}
	if err := e.shakeHands(ctx, r.setup != "active"); err != nil {
		return fmt.Errorf("DTLS handshake with %v: %w", r.addr, err)
	}
	return nil
}

// check sends a connectivity check, which is the proof of consent as well.
func (e *endpoint) check() error {
	var tie [8]byte
	binary.BigEndian.PutUint32(tie[:], 1)
	attributes := []stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername(e.username),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{0x6E, 0x7F, 0xFF, 0xFF}}}
	if e.remote.controls {
		attributes = append(attributes, stun.RawAttribute{Type: stun.AttrICEControlled, Value: tie[:]})
	} else {
		attributes = append(attributes, stun.RawAttribute{Type: stun.AttrICEControlling, Value: tie[:]}, stun.RawAttribute{Type: stun.AttrUseCandidate})
	}
	m, err := stun.Build(append(attributes, stun.NewShortTermIntegrity(e.remote.pwd), stun.Fingerprint)...)
	if err != nil {
		return fmt.Errorf("make an ICE check: %w", err)
	}
	e.wire.post(m.Raw, e.remote.addr) // what does not arrive is sent again
	return nil
}

// confirm answers a check of the other side (RFC 8445 7.3), which a server sends
// that is a full agent.
func (e *endpoint) confirm(request *stun.Message, from netip.AddrPort) {
	integrity := stun.NewShortTermIntegrity(e.pwd)
	if integrity.Check(request) != nil {
		return // not for us
	}
	address := &stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}
	if m, err := stun.Build(request, stun.BindingSuccess, address, integrity, stun.Fingerprint); err == nil {
		e.wire.post(m.Raw, from)
	}
}

func (e *endpoint) shakeHands(ctx context.Context, client bool) error {
	profiles := []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}
	verify := func(certs [][]byte, _ [][]*x509.Certificate) error {
		if len(certs) == 0 {
			return errors.New("the server has no certificate")
		}
		sum := sha256.Sum256(certs[0])
		got := "sha-256 " + strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
		if !strings.EqualFold(got, e.remote.fingerprint) {
			return errors.New("the server's certificate is not the one of its SDP")
		}
		return nil
	}
	shared := []dtls.Option{
		dtls.WithCertificates(e.identity.certificate), dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret), dtls.WithInsecureSkipVerify(true), // the fingerprint counts
		dtls.WithVerifyPeerCertificate(verify), dtls.WithFlightInterval(time.Second),
	}
	var err error
	if client {
		var options []dtls.ClientOption
		for _, o := range shared {
			options = append(options, o)
		}
		e.dtls, err = dtls.ClientWithOptions(e.pipe, e.pipe.Peer(), options...)
	} else {
		options := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true)}
		for _, o := range shared {
			options = append(options, o)
		}
		e.dtls, err = dtls.ServerWithOptions(e.pipe, e.pipe.Peer(), options...)
	}
	if err != nil {
		return err
	}
	if err := e.dtls.HandshakeContext(ctx); err != nil {
		return err
	}
	selected, ok := e.dtls.SelectedSRTPProtectionProfile()
	p := srtp.Profile(selected)
	state, known := e.dtls.ConnectionState()
	if !ok || !known || p.KeyLen() == 0 {
		return errors.New("no SRTP profile was agreed on")
	}
	k, s := p.KeyLen(), p.SaltLen()
	material, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(k+s))
	if err != nil {
		return fmt.Errorf("export keys: %w", err)
	}
	a, err := srtp.NewContext(p, material[:k], material[2*k:2*k+s])
	if err != nil {
		return err
	}
	b, err := srtp.NewContext(p, material[k:2*k], material[2*k+s:])
	if err != nil {
		return err
	}
	if !client {
		a, b = b, a
	}
	e.out = a
	e.in.Store(b)
	return nil
}

// close ends the connection; the server is told by DTLS.
func (e *endpoint) close() {
	if e.dtls != nil {
		_ = e.dtls.Close()
	}
	_ = e.pipe.Close()
	e.wire.close()
	e.readers.Wait()
}
