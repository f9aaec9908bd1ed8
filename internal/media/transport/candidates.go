package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// advertise makes the list of candidates: UDP before TCP, which clients take
// where UDP does not get through.
func (m *Mux) advertise() error {
	cfg := &m.cfg
	given := len(cfg.Advertise)+len(cfg.AdvertiseTCP) > 0
	var err error
	if m.advertised, err = addresses(given, cfg.Advertise, m.port.Addr()); err != nil {
		return err
	}
	if !cfg.TCPOnly {
		for _, a := range m.advertised {
			m.candidates = append(m.candidates, Candidate{Addr: a})
		}
	}
	if m.tcp.addr.IsValid() {
		streams, err := addresses(given, cfg.AdvertiseTCP, m.tcp.addr)
		if err != nil {
			return err
		}
		for _, a := range streams {
			m.candidates = append(m.candidates, Candidate{Addr: a, TCP: true})
		}
	}
	if len(m.candidates) == 0 {
		return errors.New("there is no address that clients could be told")
	}
	return nil
}

// addresses completes those that were given, or finds them.
func addresses(given bool, configured []netip.AddrPort, bound netip.AddrPort) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for _, a := range configured {
		if !a.Addr().IsValid() || a.Addr().IsUnspecified() {
			return nil, fmt.Errorf("advertised address %s cannot be reached", a)
		}
		if a.Port() == 0 {
			a = netip.AddrPortFrom(a.Addr(), bound.Port())
		}
		list = append(list, netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()))
	}
	if given {
		return list, nil
	}
	if !bound.Addr().IsUnspecified() {
		return []netip.AddrPort{netip.AddrPortFrom(bound.Addr().Unmap().WithZone(""), bound.Port())}, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list interface addresses: %w", err)
	}
	var v6, loopback []netip.AddrPort
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr().Unmap()
		at := netip.AddrPortFrom(ip, bound.Port())
		switch {
		case ip.Is6() && bound.Addr().Is4(), ip.IsLinkLocalUnicast():
		case ip.IsLoopback():
			if ip.Is4() {
				loopback = append(loopback, at)
			}
		case ip.Is4():
			list = append(list, at)
		default:
			v6 = append(v6, at)
		}
	}
	list = append(list, v6...)
	if len(list) == 0 {
		list = loopback // a machine without a network talks to itself
	}
	if len(list) == 0 {
		return nil, errors.New("no interface has an address to advertise")
	}
	return list, nil
}
