package turn

import (
	"errors"
	"net"
	"net/netip"

	pion "github.com/pion/turn/v5"
)

var errUDPOnly = errors.New("turn: relays carry UDP alone")

// relayGenerator opens the sockets of relays. They stand on this machine beside
// the media port, whatever address clients use, so a relay needs no port that
// is open to the outside.
type relayGenerator struct {
	server  *Server
	allowed map[netip.AddrPort]netip.AddrPort // advertised → local
	from    map[netip.AddrPort]netip.AddrPort // local → advertised
}

// Validate implements pion.RelayAddressGenerator.
func (g *relayGenerator) Validate() error { return nil }

// AllocatePacketConn implements pion.RelayAddressGenerator.
func (g *relayGenerator) AllocatePacketConn(cfg pion.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	conn, err := net.ListenPacket(cfg.Network, g.bind(cfg.Network))
	if err != nil {
		return nil, nil, err
	}
	return &relayConn{PacketConn: conn, relayGenerator: g}, conn.LocalAddr(), nil
}

// bind picks the local address from which the media port can be reached.
func (g *relayGenerator) bind(network string) string {
	for local := range g.from {
		if local.Addr().IsLoopback() && local.Addr().Is4() == (network == "udp4") {
			return netip.AddrPortFrom(local.Addr(), 0).String()
		}
	}
	return ":0"
}

// AllocateListener implements pion.RelayAddressGenerator; TCP relays
// (RFC 6062) have no use here.
func (g *relayGenerator) AllocateListener(pion.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errUDPOnly
}

// AllocateConn implements pion.RelayAddressGenerator.
func (g *relayGenerator) AllocateConn(pion.AllocateConnConfig) (net.Conn, error) {
	return nil, errUDPOnly
}

// relayConn is one relay's socket. It passes packets to and from our own media
// and drops the rest.
type relayConn struct {
	net.PacketConn
	*relayGenerator
}

// WriteTo sends to the media port; to any other address the packet is dropped
// without an error, as a network would.
func (c *relayConn) WriteTo(p []byte, to net.Addr) (int, error) {
	local, ok := c.allowed[addrPort(to)]
	if !ok {
		c.server.Stats.Blocked.Add(1)
		return len(p), nil
	}
	return c.PacketConn.WriteTo(p, net.UDPAddrFromAddrPort(local))
}

// ReadFrom returns the next packet that came from the media port.
func (c *relayConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(p)
		if err != nil {
			return n, from, err
		}
		if advertised, ok := c.from[addrPort(from)]; ok {
			return n, net.UDPAddrFromAddrPort(advertised), nil
		}
		c.server.Stats.Blocked.Add(1)
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	udp, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := udp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
