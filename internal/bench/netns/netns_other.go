//go:build !linux

// Package netns is for Linux.
package netns

import (
	"context"
	"errors"
)

// Address is that of the veth.
const Address = "198.18.0.1"

var errLinux = errors.New("network namespaces need Linux")

// Inside reports whether this program was started by Run.
func Inside() bool { return false }

// Run fails.
func Run(context.Context) (code int, err error) { return 1, errLinux }

// Prepare fails.
func Prepare(context.Context) error { return errLinux }
