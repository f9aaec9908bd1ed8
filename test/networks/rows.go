//go:build linux

package main

import (
	"time"

	"belfry/internal/bench/link"
)

// A row is one kind of network, and what happens on it while it is measured. talker and
// listener are the links of the two people.
type row struct {
	Name  string
	Start net
	Steps []step
	Time  time.Duration // measured
	Two   bool          // nobody else is there: the client leaves simulcast off
	Goals bool          // mute and layer switch are measured after it
	Full  bool          // the meeting has full HD, and the talker films it
}

type net struct{ talker, listener link.Both }

type step struct {
	at      time.Duration
	name    string
	net     *net
	move    bool // the listener gets another address
	uncap   bool // the cap is gone: how long until the picture is as large as before
	capped  bool // the cap begins: how long until it is smaller
	capRate int
}

func both(c link.Conditions) net { return net{link.Same(c), link.Same(c)} }

// listening is a network that is bad for the listener alone.
func listening(c link.Conditions) net { return net{listener: link.Same(c)} }

func down(rate int) *net {
	return &net{listener: link.Both{Down: link.Conditions{Rate: rate}}}
}

func up(rate int) *net { return &net{talker: link.Both{Up: link.Conditions{Rate: rate}}} }

const usual = 14 * time.Second

var rows = []row{
	{Name: "clean, two", Time: usual, Two: true},
	{Name: "clean", Time: usual, Goals: true},
	{Name: "clean, 1080p", Time: usual, Two: true, Full: true},
	{Name: "loss 2 %", Start: both(link.Conditions{Loss: 0.02}), Time: usual},
	{Name: "loss 5 %", Start: both(link.Conditions{Loss: 0.05}), Time: usual},
	{Name: "loss 10 %", Start: both(link.Conditions{Loss: 0.10}), Time: usual},
	{Name: "loss 20 %", Start: both(link.Conditions{Loss: 0.20}), Time: usual},
	{Name: "bursts",
		Start: both(link.Conditions{Bursts: link.Bursts{Begin: 0.01, End: 0.2, Loss: 0.9}}), Time: usual},
	{Name: "delay 50 ms",
		Start: listening(link.Conditions{Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond}), Time: usual},
	{Name: "delay 200 ms",
		Start: listening(link.Conditions{Delay: 200 * time.Millisecond, Jitter: 60 * time.Millisecond, Reorder: true}), Time: usual},
	{Name: "down 1 Mbps", Time: 25 * time.Second, Steps: []step{
		{at: 5 * time.Second, name: "1 Mbps", net: down(1_000_000), capped: true}, {at: 15 * time.Second, name: "free", net: &net{}, uncap: true}}},
	{Name: "down 300 kbps", Start: *down(1_000_000), Time: 30 * time.Second, Steps: []step{
		{at: 8 * time.Second, name: "300 kbps", net: down(300_000), capped: true}, {at: 18 * time.Second, name: "1 Mbps", net: down(1_000_000), uncap: true}}},
	{Name: "down 100 kbps", Time: 27 * time.Second, Steps: []step{
		{at: 5 * time.Second, name: "100 kbps", net: down(100_000), capped: true}, {at: 15 * time.Second, name: "free", net: &net{}, uncap: true}}},
	{Name: "up 300 kbps", Time: 27 * time.Second, Steps: []step{
		{at: 5 * time.Second, name: "300 kbps", net: up(300_000), capped: true}, {at: 15 * time.Second, name: "free", net: &net{}, uncap: true}}},
	{Name: "cut 5 s", Time: 22 * time.Second, Steps: []step{
		{at: 5 * time.Second, name: "cut", net: &net{listener: link.Same(link.Conditions{Cut: true})}}, {at: 10 * time.Second, name: "back", net: &net{}}}},
	{Name: "new port", Time: usual, Steps: []step{
		{at: 5 * time.Second, name: "rebind", move: true, capRate: 1}}},
	{Name: "new address", Time: 27 * time.Second, Steps: []step{
		{at: 5 * time.Second, name: "move", move: true}}},
	{Name: "no UDP", Start: listening(link.Conditions{NoUDP: true}), Time: usual},
	{Name: "UDP ends", Time: 60 * time.Second, Steps: []step{
		{at: 5 * time.Second, name: "no UDP", net: &net{listener: link.Same(link.Conditions{NoUDP: true})}}}},
}
