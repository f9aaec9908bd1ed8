// Package turn is the relay for clients that cannot reach the media port
// directly: STUN and TURN (RFC 8489, RFC 8656) over UDP and TCP on one port and,
// with a certificate, over TLS on another, inside the program. Credentials are short-lived and belong to an attendee;
// a relay reaches Belfry's own media and nothing else, so the server is no open
// door into the network it stands in.
package turn

import (
	"crypto/hmac"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/logging"
	pion "github.com/pion/turn/v5"

	"belfry/internal/meeting"
)

// Mode says when clients are handed relay addresses.
type Mode string

// The modes. With Auto a client is given a relay once a direct attempt failed.
const (
	Always Mode = "always"
	Never  Mode = "never"
	Auto   Mode = "auto"
)

// realm is part of the key that credentials are checked with (RFC 8489, 9.2.2).
const realm = "belfry"

// maxAllocations bounds the relays of one attendee: a base and a content
// session, each over UDP, TCP and TLS and, where clients have several networks,
// from two of them, and the ones a reconnection leaves behind.
const maxAllocations = 24

// Config is what a Server needs.
type Config struct {
	Mode   Mode
	Listen string // host:port, UDP and TCP
	// Advertise is the host or host:port that clients are told; "": Listen.
	Advertise string
	// TLSListen is where clients come by TLS, host:port; "": nowhere. The files are
	// of PEM and read anew when they change. TLSAdvertise is the host or host:port
	// that clients are told, which the certificate has to name; "": its first name.
	TLSListen, TLSCert, TLSKey, TLSAdvertise string
	// Media lists the addresses that a relay may reach.
	Media []MediaAddress
	// Secret makes the credentials; all servers behind one address share it.
	Secret []byte
	TTL    time.Duration
	// Live reports whether the attendee still exists; asked at each
	// authentication, so a relay ends soon after its attendee was deleted.
	Live   func(attendeeID string) bool
	Now    func() time.Time
	Logger *slog.Logger
	// Library logs what the TURN library says.
	Library logging.LoggerFactory
}

// MediaAddress is one way to the media port: clients send to Advertised, and
// the relay, which stands beside the port, to Local.
type MediaAddress struct{ Advertised, Local netip.AddrPort }

// Stats counts what happened since the start.
type Stats struct {
	Allocations atomic.Int64 // live now
	Refused     atomic.Int64 // requests, packets and connections that were malformed, not authentic or too many
	Blocked     atomic.Int64 // packets to or from an address that is not ours
}

// Server is a running TURN server. It implements meeting.Relays.
type Server struct {
	cfg    Config
	server *pion.Server // nil with Mode Never
	addr   netip.AddrPort
	tls    netip.AddrPort // of TLS; the zero value without it
	told   []string       // the URIs that clients are told
	Stats  Stats

	mu      sync.Mutex
	perUser map[string]int
}

// Start listens and serves until Close.
func Start(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, perUser: map[string]int{}}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s.cfg = cfg
	if cfg.Mode == Never {
		return s, nil
	}
	udp, tcp, err := listenBoth(cfg.Listen)
	if err != nil {
		return nil, err
	}
	s.addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	host, port, err := s.outside()
	if err != nil {
		return nil, errors.Join(err, udp.Close(), tcp.Close())
	}
	s.told = []string{uri("turn", host, port, "udp"), uri("turn", host, port, "tcp")}
	relays := &relayGenerator{server: s, allowed: map[netip.AddrPort]netip.AddrPort{}, from: map[netip.AddrPort]netip.AddrPort{}}
	for _, m := range cfg.Media {
		relays.allowed[m.Advertised] = m.Local
		relays.from[m.Local] = m.Advertised
	}
	refused := func() { s.Stats.Refused.Add(1) }
	streams := newEdgeListener(tcp, refused)
	listeners := []listener{streams}
	if cfg.TLSListen != "" {
		over, err := s.listenTLS(refused)
		if err != nil {
			return nil, errors.Join(err, udp.Close(), tcp.Close())
		}
		listeners = append(listeners, over)
	}
	proved := func(client net.Addr, relay bool) {
		for _, l := range listeners {
			l.proved(client, relay)
		}
	}
	library := pion.ServerConfig{
		Realm:         realm,
		AuthHandler:   s.authenticate,
		QuotaHandler:  s.quota,
		LoggerFactory: cfg.Library,
		EventHandler: pion.EventHandler{
			OnAllocationCreated: func(client, _ net.Addr, _, user, _ string, _ net.Addr, _ int) {
				proved(client, true)
				s.count(user, 1)
			},
			OnAllocationDeleted: func(client, _ net.Addr, _, user, _ string) {
				proved(client, false)
				s.count(user, -1)
			},
			// Of every request and packet that came to nothing.
			OnAllocationError: func(_, _ net.Addr, _, _ string) { refused() },
		},
		PacketConnConfigs: []pion.PacketConnConfig{{PacketConn: newEdgePacketConn(udp, refused), RelayAddressGenerator: relays, PermissionHandler: s.permit}},
	}
	for _, l := range listeners {
		library.ListenerConfigs = append(library.ListenerConfigs, pion.ListenerConfig{Listener: l, RelayAddressGenerator: relays, PermissionHandler: s.permit})
	}
	if s.server, err = pion.NewServer(library); err != nil {
		err = errors.Join(fmt.Errorf("starting TURN: %w", err), udp.Close())
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return nil, err
	}
	return s, nil
}

// listener is an edgeListener, or one around it.
type listener interface {
	net.Listener
	proved(client net.Addr, relay bool)
}

// tlsListener is an edgeListener whose connections speak TLS.
type tlsListener struct {
	net.Listener // of package tls
	edge         *edgeListener
}

func (l tlsListener) proved(client net.Addr, relay bool) { l.edge.proved(client, relay) }

// listenTLS opens the listener for TLS, and adds it to what clients are told.
func (s *Server) listenTLS(refused func()) (listener, error) {
	cert, err := openCertificate(s.cfg.TLSCert, s.cfg.TLSKey, s.cfg.Now, s.cfg.Logger)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", s.cfg.TLSListen)
	if err != nil {
		return nil, fmt.Errorf("turn_tls_listen %s: %w", s.cfg.TLSListen, err)
	}
	s.tls = l.Addr().(*net.TCPAddr).AddrPort()
	host, port, err := splitAdvertised(s.cfg.TLSAdvertise, s.tls.Port())
	if err == nil && host == "" {
		host, err = cert.host()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("turn_tls_advertise %s: %w", s.cfg.TLSAdvertise, err), l.Close())
	}
	s.told = append(s.told, uri("turns", host, port, "tcp"))
	streams := newEdgeListener(l, refused)
	return tlsListener{tls.NewListener(streams, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get}), streams}, nil
}

// listenBoth opens UDP and TCP on one port; port 0 takes a free one.
func listenBoth(addr string) (net.PacketConn, net.Listener, error) {
	for attempt := 0; ; attempt++ {
		udp, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, fmt.Errorf("turn_listen %s: %w", addr, err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp, nil
		}
		err = errors.Join(fmt.Errorf("turn_listen %s: %w", addr, err), udp.Close())
		// The free UDP port may be taken on TCP: then try another.
		_, port, _ := net.SplitHostPort(addr)
		if port != "0" || attempt == 20 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, err
		}
	}
}

// outside is where clients find the server.
func (s *Server) outside() (host string, port uint16, err error) {
	if s.cfg.Advertise != "" {
		host, port, err = splitAdvertised(s.cfg.Advertise, s.addr.Port())
		if err != nil {
			err = fmt.Errorf("turn_advertise %s: %w", s.cfg.Advertise, err)
		}
		return host, port, err
	}
	if s.addr.Addr().IsUnspecified() {
		return "", 0, fmt.Errorf("turn_listen %s is every address; set turn_advertise to the one that clients reach", s.cfg.Listen)
	}
	return s.addr.Addr().Unmap().String(), s.addr.Port(), nil
}

// splitAdvertised reads a host with or without a port; an IPv6 address may stand
// in brackets, and has to before a port.
func splitAdvertised(text string, port uint16) (string, uint16, error) {
	if host, number, err := net.SplitHostPort(text); err == nil {
		n, err := net.LookupPort("udp", number)
		return host, uint16(n), err
	}
	return strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), port, nil
}

// Addr is where the server listens; the zero value when it does not.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// AddrTLS is where clients come by TLS; the zero value where they do not.
func (s *Server) AddrTLS() netip.AddrPort { return s.tls }

// Close ends the server and every relay.
func (s *Server) Close() error {
	if s.server == nil {
		return nil
	}
	return s.server.Close()
}

func (s *Server) authenticate(ra *pion.RequestAttributes) (string, []byte, bool) {
	attendee, expiry, ok := parseUsername(ra.Username)
	if !ok || s.cfg.Now().After(expiry) || (s.cfg.Live != nil && !s.cfg.Live(attendee)) {
		return "", nil, false
	}
	return attendee, pion.GenerateAuthKey(ra.Username, realm, s.password(ra.Username)), true
}

func (s *Server) quota(user, _ string, _ net.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perUser[user] >= maxAllocations {
		s.Stats.Refused.Add(1) // the library answers this without an error
		return false
	}
	return true
}

func (s *Server) count(user string, delta int) {
	s.Stats.Allocations.Add(int64(delta))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perUser[user] += delta; s.perUser[user] <= 0 {
		delete(s.perUser, user)
	}
}

// permit is asked for the address of a permission, which has no port; the
// relay's own socket checks the port too.
func (s *Server) permit(_ net.Addr, peer net.IP) bool {
	addr, ok := netip.AddrFromSlice(peer)
	if ok {
		for _, m := range s.cfg.Media {
			if m.Advertised.Addr() == addr.Unmap() {
				return true
			}
		}
	}
	s.Stats.Blocked.Add(1)
	return false
}

// password is the credential's secret half, made from the first.
func (s *Server) password(username string) string {
	mac := hmac.New(newHash, s.cfg.Secret)
	mac.Write([]byte(username))
	return encode(mac.Sum(nil))
}

var _ meeting.Relays = (*Server)(nil)
