package client

import (
	"net/netip"

	"belfry/internal/media/udp"
)

// wire is how one Client's datagrams go out, and where they come in.
type wire interface {
	local() netip.AddrPort
	// post sends one datagram now. Any goroutine may.
	post(b []byte, to netip.AddrPort)
	// reserve gives room for a datagram, commit makes its first n bytes one to be sent, and
	// flush sees to it that they go. They are for who holds Client.mu and reads for the
	// Client or drives it.
	reserve(to netip.AddrPort, size int) []byte
	commit(n int)
	flush()
	close()
}

// socket is a wire that is a socket of the Client's own.
type socket struct {
	port *udp.Port
	*udp.Socket
	out *udp.Batch // made when first used
}

func openSocket(ip string) (*socket, error) {
	port, err := udp.Listen(ip+":0", 1)
	if err != nil {
		return nil, err
	}
	return &socket{port: port, Socket: port.Sockets[0]}, nil
}

func (s *socket) local() netip.AddrPort { return s.port.Addr() }

func (s *socket) post(b []byte, to netip.AddrPort) { _ = s.WriteTo(b, to) }

func (s *socket) reserve(to netip.AddrPort, size int) []byte {
	if s.out == nil {
		s.out = s.NewBatch()
	}
	return s.out.Reserve(to, size)
}

func (s *socket) commit(n int) { s.out.Commit(n) }

func (s *socket) flush() {
	if s.out != nil {
		_ = s.out.Flush()
	}
}

func (s *socket) close() { _ = s.port.Close() }
