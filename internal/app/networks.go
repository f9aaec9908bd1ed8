package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"belfry/internal/config"
	"belfry/internal/media"
	"belfry/internal/media/opus"
	"belfry/internal/meeting"
	"belfry/internal/observe"
	"belfry/internal/turn"
)

// The ways of the media: which addresses are listened on, which of them clients
// are told, and what relays reach.

func (s *Server) startMedia() (*media.Server, error) {
	cfg := media.Config{Listen: s.cfg.MediaListen, Logger: s.logger, Codec: opus.Native()}
	here := s.listener.Addr().String()
	if cfg.Listen == "" {
		cfg.Listen = here
		if _, port, _ := net.SplitHostPort(s.cfg.Listen); port == "0" {
			host, _, _ := net.SplitHostPort(here)
			cfg.Listen = net.JoinHostPort(host, "0")
		}
	}
	asked := s.cfg.MediaTCPListen
	switch wanted := cmp.Or(asked, s.cfg.MediaListen); {
	case !slices.Contains(s.cfg.MediaTransports, "tcp"):
	case wanted == "", wanted == s.cfg.Listen && !strings.HasSuffix(wanted, ":0"):
		s.mediaOnHTTP = true
		cfg.SharedTCP = s.listener.Addr().(*net.TCPAddr).AddrPort()
	case asked != "":
		cfg.ListenTCP = asked
	default:
		cfg.ListenTCP = cfg.Listen
	}
	cfg.TCPOnly = !slices.Contains(s.cfg.MediaTransports, "udp")
	var err error
	if cfg.Advertise, cfg.AdvertiseTCP, err = s.cfg.AdvertisedMedia(); err != nil {
		return nil, err
	}
	if s.cfg.PublicURL != "" && len(s.cfg.MediaAdvertise) == 0 && config.OnLoopback(cfg.Listen) {
		s.logger.Warn("clients elsewhere cannot reach the media: set media_listen, and media_advertise when the address is another outside", "media", cfg.Listen)
	}
	m, err := media.NewServer(cfg)
	if asked == "" && cfg.ListenTCP != "" && !cfg.TCPOnly && errors.Is(err, syscall.EADDRINUSE) {
		// The port nobody asked for is taken, if it is not that of UDP.
		cfg.ListenTCP = ""
		udp, udpErr := media.NewServer(cfg)
		if udpErr == nil {
			s.logger.Warn("media goes by UDP alone, since its number is taken for TCP: set media_tcp_listen", "error", err)
		}
		m, err = udp, udpErr
	}
	if err != nil {
		return nil, fmt.Errorf("opening the media ports (BELFRY_MEDIA_LISTEN, BELFRY_MEDIA_TCP_LISTEN): %w", err)
	}
	s.started("media", func(context.Context) error { return m.Close() })
	registerMedia(s.registry, m)
	return m, nil
}

func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return "none"
	}
	return a.String()
}

// withMedia has the connections for media that come to the port of HTTP taken out
// before the HTTP server has read anything of them.
func (s *Server) withMedia(l net.Listener, conferences *media.Server) net.Listener {
	if !s.mediaOnHTTP {
		return l
	}
	return sharedListener{Listener: l, take: conferences.TakeTCP}
}

type sharedListener struct {
	net.Listener
	take func(conn net.Conn, head []byte)
}

// Accept implements net.Listener.
func (l sharedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sharedConn{Conn: conn, take: l.take}, nil
}

// sharedConn shows the HTTP server an end at once when the first byte is one of
// media. From then on the connection is another's, and what the server does to
// it does nothing.
type sharedConn struct {
	net.Conn
	take  func(net.Conn, []byte)
	known bool        // the first byte has been looked at; the server's reader's own
	given atomic.Bool // the connection is media's
}

// Read implements net.Conn.
func (c *sharedConn) Read(p []byte) (int, error) {
	if c.given.Load() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	if n == 0 || c.known {
		return n, err
	}
	c.known = true
	if !media.IsMedia(p[0]) {
		return n, err
	}
	c.given.Store(true)
	conn := c.Conn
	if r, ok := conn.(*refusalConn); ok {
		conn = r.Conn
	}
	_ = conn.SetDeadline(time.Time{})
	c.take(conn, slices.Clone(p[:n]))
	return 0, io.EOF
}

// Write implements net.Conn.
func (c *sharedConn) Write(p []byte) (int, error) {
	if c.given.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *sharedConn) Close() error {
	if c.given.Load() {
		return nil
	}
	return c.Conn.Close()
}

// SetDeadline implements net.Conn.
func (c *sharedConn) SetDeadline(t time.Time) error {
	if c.given.Load() {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *sharedConn) SetReadDeadline(t time.Time) error {
	if c.given.Load() {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *sharedConn) SetWriteDeadline(t time.Time) error {
	if c.given.Load() {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

func (s *Server) startTURN(ctx context.Context, store meeting.Store, conferences *media.Server) (*turn.Server, error) {
	secret, err := serverSecret(ctx, store, "turn-secret")
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(s.listener.Addr().String())
	cfg := turn.Config{
		Mode: turn.Mode(s.cfg.TURN), Listen: s.cfg.TURNListen, Advertise: s.cfg.TURNAdvertise,
		TLSListen: s.cfg.TURNTLSListen, TLSCert: s.cfg.TURNTLSCert, TLSKey: s.cfg.TURNTLSKey, TLSAdvertise: s.cfg.TURNTLSAdvertise,
		Secret: secret, TTL: s.cfg.TURNTTL, Logger: s.logger, Library: observe.PionLogs(s.logger),
		Live: func(attendeeID string) (live bool) {
			_ = store.View(context.Background(), func(r meeting.Reader) error {
				_, live = r.AttendeeByID(attendeeID)
				return nil
			})
			return live
		},
	}
	for _, advertised := range conferences.Advertised() {
		cfg.Media = append(cfg.Media, turn.MediaAddress{Advertised: advertised, Local: reachable(conferences.Addr(), advertised)})
	}
	if udp := conferences.Advertised(); cfg.Advertise == "" && len(s.cfg.MediaAdvertise) > 0 && len(udp) > 0 {
		cfg.Advertise = udp[0].Addr().String()
	}
	if cfg.Listen == "" {
		cfg.Listen = net.JoinHostPort(host, "3478")
	}
	t, err := turn.Start(cfg)
	if s.cfg.TURNListen == "" && errors.Is(err, syscall.EADDRINUSE) {
		// The port nobody asked for is taken: any other does as well.
		s.logger.Warn("the usual TURN port is taken; using a free one, set turn_listen to have it fixed", "error", err)
		cfg.Listen = net.JoinHostPort(host, "0")
		t, err = turn.Start(cfg)
	}
	if err != nil {
		return nil, err
	}
	s.started("turn", func(context.Context) error { return t.Close() })
	registerTURN(s.registry, t)
	return t, nil
}

// reachable is how a relay on this machine gets to the media port.
func reachable(listen, advertised netip.AddrPort) netip.AddrPort {
	if !listen.Addr().IsUnspecified() {
		return listen
	}
	if advertised.Addr().Is6() {
		return netip.AddrPortFrom(netip.IPv6Loopback(), listen.Port())
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), listen.Port())
}
