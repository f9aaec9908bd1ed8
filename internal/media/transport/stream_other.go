//go:build !linux && !darwin

package transport

import "net"

func keepUnsentSmall(net.Conn) {}
