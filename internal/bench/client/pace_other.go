//go:build !linux

package client

import "time"

// trunks are Linux's alone: elsewhere each Client has a socket of its own.
type trunks struct{}

func newTrunks() *trunks { return &trunks{} }

func (*trunks) seat(string, *Client) (wire, error) { return nil, nil }
func (*trunks) read() bool                         { return false }
func (*trunks) flush()                             {}

func newClock(every time.Duration) clock { return newTicker(every) }
