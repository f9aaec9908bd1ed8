// Package transport carries the media of every peer over one UDP port, and over
// TCP for those whose network lets no UDP through. A Mux
// owns the port, the goroutines that read it and the DTLS certificate; a Conn is
// one peer on it. The client is always the controlling side of ICE: it checks
// the server's candidate, the Mux answers as an ICE-lite agent (RFC 8445) and
// learns the client's address from checks that carry the Conn's user name and
// are signed with its password. Over that address DTLS is shaken hands
// (RFC 5764), the peer's certificate compared with the fingerprint in its SDP,
// and the keys for SRTP exported. From then on what comes in is decrypted in the
// buffer it was read into and handed to the Conn's Handler on the goroutine that
// read it, together with a batch to send from.
//
// What a packet is, is told by its first byte (RFC 7983) and, RTP from RTCP, by
// its second (RFC 5761); whose it is, by the address it comes from. Packets from
// addresses that passed no check, before keys are there, or that do not
// authenticate are dropped and counted.
//
// A stream is a TCP connection that a client made to the passive candidate
// (RFC 6544), with the same packets in the frames of RFC 4571. It has a goroutine
// that reads and one that writes from a bounded queue, so that a client that does
// not read loses its own packets and delays nobody.
package transport

import (
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"belfry/internal/media/rtp"
	"belfry/internal/media/srtp"
	"belfry/internal/media/udp"
)

// Config is what a Mux is made from.
type Config struct {
	// Listen is the UDP address, "host:port"; an empty host is all addresses and
	// port 0 any free one.
	Listen string
	// Sockets is how many sockets share the port, each with a goroutine; 0 is one
	// per processor.
	Sockets int
	// ListenTCP is the TCP address for clients without UDP; empty is none. Port 0
	// is the number of the UDP port, or any free one when that is taken.
	ListenTCP string
	// SharedTCP is, without ListenTCP, the address of a listener of somebody else,
	// who hands over by Mux.Stream the connections that are for us.
	SharedTCP netip.AddrPort
	// Advertise are the addresses given to clients as host candidates of UDP,
	// AdvertiseTCP those of TCP. Both empty are the bound addresses, or those of the
	// interfaces where that is unspecified. Behind a NAT it is the public address.
	// Port 0 stands for the bound port.
	Advertise, AdvertiseTCP []netip.AddrPort
	// TCPOnly keeps the UDP port from clients.
	TCPOnly bool
	// IdleTimeout is for how long nothing may come before a Conn counts as dead;
	// 0 is 30 s. An address or stream beside the one in use is given up as soon.
	IdleTimeout time.Duration
	// HandshakeTimeout bounds the DTLS handshake; 0 is 30 s.
	HandshakeTimeout time.Duration
	// Profiles are the SRTP profiles, the preferred one first; empty is GCM, then
	// counter mode with HMAC.
	Profiles []srtp.Profile
	// Log is for what an operator should see; nil is silence.
	Log *slog.Logger
}

// The values of Parameters.Setup (RFC 4145, RFC 5763).
const (
	SetupActive  = "active"  // is the DTLS client
	SetupPassive = "passive" // is the DTLS server
	SetupActPass = "actpass" // either, the answer decides
)

// Parameters are what one side tells the other in its SDP.
type Parameters struct {
	Ufrag, Pwd string
	// Fingerprint is the value of a=fingerprint: hash name, blank, hexadecimal
	// bytes with colons. Those read are of sha-256, sha-384 and sha-512.
	Fingerprint string
	// Setup is the value of a=setup; empty is actpass.
	Setup string
	// Candidates are the addresses for a=candidate lines (component 1, host),
	// best first. Those of the remote side are not used: an ICE-lite agent waits
	// for checks.
	Candidates []Candidate
}

// Candidate is an address that clients can reach us at.
type Candidate struct {
	Addr netip.AddrPort
	TCP  bool // passive (RFC 6544); else UDP
}

// Handler is told what happens on a Conn. RTP and RTCP are called by the
// goroutines that read the port, mostly by one and the same, but after a change
// of the client's address possibly by two at once; the others by the Conn's own.
// No lock of the transport is held. They must not block, and must not call
// Conn.Close.
type Handler interface {
	// Connected says that ICE and DTLS are up, once. No RTP or RTCP comes before
	// it returned.
	Connected()
	// RTP brings the packets of one read from this Conn, in the order of arrival,
	// decrypted. They and their bytes are valid during the call only. What is
	// written to out is sent when the read has been worked through.
	RTP(run []*rtp.Packet, out *udp.Batch)
	// RTCP brings a compound packet, decrypted; valid during the call only.
	RTCP(pkt []byte, out *udp.Batch)
	// Closed says that the Conn is over, once, and why: the client closed DTLS,
	// the handshake failed, or nothing came for too long. It is not called after
	// Close. The Conn must still be closed, by another goroutine.
	Closed(reason string)
}

// Stats counts what a Mux has done since it was made. The port's own counters are
// in Mux.PortStats.
type Stats struct {
	// ConnsOpen is how many Conns are open now, ConnsConnected how many of them
	// have their keys.
	ConnsOpen, ConnsConnected atomic.Int64
	// HandshakesDone and HandshakesFailed count DTLS handshakes.
	HandshakesDone, HandshakesFailed atomic.Uint64
	// IdleTimeouts counts Conns that ended because nothing came.
	IdleTimeouts atomic.Uint64

	// ChecksAnswered counts connectivity checks that were right, PathChanges those
	// of them that moved a Conn to another address.
	ChecksAnswered, PathChanges atomic.Uint64
	// ChecksMalformed are STUN packets that cannot be read or are no checks, ChecksUnknown name no
	// Conn, ChecksUnauthentic have a wrong password or user name, ChecksTaken come
	// from an address that another Conn is using.
	ChecksMalformed, ChecksUnknown, ChecksUnauthentic, ChecksTaken atomic.Uint64
	// RoleConflicts counts checks of clients that took us for the controlling side.
	RoleConflicts atomic.Uint64
	// ErrorsLimited counts STUN errors left unsent because there were too many.
	ErrorsLimited atomic.Uint64

	// RTPIn and RTCPIn count authentic packets.
	RTPIn, RTCPIn atomic.Uint64
	// RTPOut and RTCPOut count sealed packets.
	RTPOut, RTCPOut atomic.Uint64

	// DroppedGarbage are packets of no known kind, DroppedStrange from an address
	// that passed no check, DroppedEarly from a Conn that has no keys yet,
	// DroppedUnauthentic could not be authenticated, DroppedReplayed were seen
	// before or too old, DroppedStreams had an SSRC too many, DroppedMalformed
	// were authentic but no RTP, DroppedDTLS found a full queue or were no records
	// that a client sends.
	DroppedGarbage, DroppedStrange, DroppedEarly, DroppedUnauthentic,
	DroppedReplayed, DroppedStreams, DroppedMalformed, DroppedDTLS atomic.Uint64
	// SendDropped are packets that were to be sent before there were keys, or that
	// could not be sealed.
	SendDropped atomic.Uint64

	// StreamsOpen is how many TCP connections are open now, StreamsUnproved how
	// many of them no right check has come by.
	StreamsOpen, StreamsUnproved atomic.Int64
	// StreamsAccepted counts all of them. Ended were: StreamsCrowded before a check,
	// because too many were, StreamsMute and StreamsNoisy before a check, because
	// their time or their bytes were over, StreamsMalformed by what was no frame,
	// StreamsSlow because their client did not read.
	StreamsAccepted, StreamsCrowded, StreamsMute, StreamsNoisy, StreamsMalformed, StreamsSlow atomic.Uint64
	// StreamPacketsIn and StreamPacketsOut count frames, StreamDropped those that
	// found the queue of their stream full or the stream gone.
	StreamPacketsIn, StreamPacketsOut, StreamDropped atomic.Uint64
}

const (
	defaultIdleTimeout      = 30 * time.Second
	defaultHandshakeTimeout = 30 * time.Second
)

var started = time.Now()

// Now is the clock of rtp.Packet.Arrival: nanoseconds, monotonic, above 0, from
// a beginning that differs between processes.
func Now() int64 { return int64(time.Since(started)) + 1 }
