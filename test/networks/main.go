//go:build linux

// Command networks measures meetings on bad networks: two people in real Chromium with
// the unmodified client, each in a network namespace of its own, and between them and
// the server links that are made bad (internal/bench/link). What one says and shows is
// known, so what the other hears and sees can be judged (internal/bench/judge).
//
//	go build -o bin/ ./cmd/belfry && go run ./test/networks -out docs/networks.md
//
// It needs root, /dev/net/tun, Chromium and node with test/browser's packages. All runs
// in namespaces (network, processes, mounts) that end with it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"belfry/internal/bench/link"
)

const inside = "BELFRY_NETWORKS_INSIDE"

type options struct {
	rows, servers, out, json, raw, root string
	belfry                              string
	seed                                uint64
	width, height, rate                 int
	nice                                int
	time                                time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.rows, "rows", "", "only rows whose name has one of these words, with commas between them")
	flag.StringVar(&o.servers, "servers", "belfry,janus,synthetic", "some of belfry and janus, with browsers, and synthetic, which is Belfry with synthetic clients")
	flag.StringVar(&o.out, "out", "", "a page to write the tables into, between its marks")
	flag.StringVar(&o.json, "json", "", "a file to write the figures to")
	flag.StringVar(&o.raw, "raw", "", "a directory for all that was noted in each row")
	flag.StringVar(&o.root, "root", ".", "the tree's root")
	flag.StringVar(&o.belfry, "belfry", "bin/belfry", "the server's program, from the root")
	flag.Uint64Var(&o.seed, "seed", 1, "of the links")
	flag.IntVar(&o.width, "width", 1280, "of the talker's picture")
	flag.IntVar(&o.height, "height", 720, "of the talker's picture")
	flag.IntVar(&o.rate, "rate", 15, "pictures a second")
	flag.IntVar(&o.nice, "nice", 0, "priority of all that is measured, from -20, which is before all others, to 19")
	flag.DurationVar(&o.time, "time", 0, "how long each row is measured in which nothing changes; 0: its usual time")
	flag.Parse()
	if err := start(o); err != nil {
		fmt.Fprintln(os.Stderr, "networks:", err)
		os.Exit(1)
	}
}

func start(o options) error {
	if os.Getenv(inside) == "" {
		return again(o.nice)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Processes that end with the thread that started them are started on this one, which
	// is not lent to goroutines whose threads end.
	runtime.LockOSThread()
	// Chromium wants a /proc that knows its processes.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("have mounts of its own: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return measure(ctx, o)
}

// again runs this program in namespaces of its own, as their first process: whatever it
// starts ends with it.
func again(nice int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command("nice", append([]string{"-n", strconv.Itoa(nice), self}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setsid: true, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM) // the child gets them as well; its end is awaited
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("make namespaces (are you root?): %w", err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	return cmd.Wait()
}

// hurry puts the sessions of all processes of this namespace before those of others: where
// the kernel shares processors among sessions, priorities count within each alone.
func hurry(nice int) {
	files, _ := filepath.Glob("/proc/[0-9]*/autogroup")
	for _, file := range files {
		_ = os.WriteFile(file, []byte(strconv.Itoa(nice)), 0o644) // a kernel without them has none; a process may be gone
	}
}

// measure goes through the rows and reports.
func measure(ctx context.Context, o options) error {
	if _, err := os.Stat(filepath.Join(o.root, "test/browser/node_modules/amazon-chime-sdk-js")); err != nil {
		return fmt.Errorf("the browser's packages are not installed (npm ci in test/browser): %w", err)
	}
	if o.raw != "" {
		if err := os.MkdirAll(o.raw, 0o700); err != nil {
			return err
		}
	}
	l, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	defer l.close()
	var results []result
	var people []synthetic
	begun := time.Now()
	for _, r := range rows {
		if !wanted(o.rows, r.Name) {
			continue
		}
		if o.time > 0 && len(r.Steps) == 0 {
			r.Time = o.time
		}
		for name := range strings.SplitSeq(o.servers, ",") {
			if name == "synthetic" {
				if r.onlyUDP() && !r.Full && !r.Two {
					s := l.runSynthetic(ctx, r)
					people = append(people, s)
					fmt.Println(s)
				}
				continue
			}
			res, err := l.run(ctx, r, name)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil { // the row says so; the others are measured
				res.Failed = err.Error()
			}
			results = append(results, res)
			fmt.Println(res)
		}
	}
	fmt.Printf("%d rows in %s\n\n", len(results), time.Since(begun).Round(time.Second))
	text := table(results) + syntheticTable(people)
	fmt.Print(text)
	if o.json != "" {
		data, err := json.MarshalIndent(results, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.out != "" {
		return rewrite(o.out, text)
	}
	return nil
}

func wanted(list, name string) bool {
	if list == "" {
		return true
	}
	for word := range strings.SplitSeq(list, ",") {
		if strings.Contains(name, strings.TrimSpace(word)) {
			return true
		}
	}
	return false
}

// lab is the servers' network and the two people's browsers.
type lab struct {
	options
	here, router     *link.Namespace
	servers          map[string]server
	talker, listener *seat
	log              *os.File
	serverLog        *os.File // the same, or with all that the server traces in the raw directory
	level            string   // of the server's log
	sound            string
	metrics          [][]string
}

// seat is a person's namespace and browser.
type seat struct {
	name    string
	net     *link.Namespace
	address link.Addresses
	browser *browser
}

func newLab(ctx context.Context, o options) (l *lab, err error) {
	l = &lab{options: o, servers: map[string]server{}}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.log, err = os.CreateTemp("", "belfry-networks-*.log"); err != nil {
		return l, err
	}
	fmt.Println("the browsers' log is", l.log.Name())
	l.serverLog, l.level = l.log, "info"
	if o.raw != "" {
		l.level = "debug"
		if l.serverLog, err = os.Create(filepath.Join(o.raw, "server.log")); err != nil {
			return l, err
		}
	}
	if l.here, err = link.HereNamespace(); err != nil {
		return l, err
	}
	// The servers have one device, which leads to a router that the links end at: Janus
	// leaves out the loopback interface, and takes packets by the device of its address alone.
	if l.router, err = link.NewNamespace(); err != nil {
		return l, err
	}
	for _, step := range []struct {
		in    *link.Namespace
		words string
	}{
		{l.here, "link set lo up"},
		{l.here, "link add srv0 type veth peer name srv1 netns " + l.router.Path()},
		{l.here, "address add " + serverIP + "/24 dev srv0"},
		{l.here, "link set srv0 up"},
		{l.router, "address add " + routerIP + "/24 dev srv1"},
		{l.router, "link set srv1 up"},
		{l.here, "route add default via " + routerIP},
	} {
		if err := step.in.IP(step.words); err != nil {
			return l, err
		}
	}
	if err := l.router.Forward(); err != nil {
		return l, fmt.Errorf("have the router forward: %w", err)
	}
	if l.sound, err = soundFile(sound); err != nil {
		return l, err
	}
	for i, s := range []**seat{&l.talker, &l.listener} {
		if o.servers == "synthetic" {
			break
		}
		if *s, err = l.sit(ctx, i); err != nil {
			return l, err
		}
	}
	for name := range strings.SplitSeq(o.servers, ",") {
		if name == "synthetic" {
			name = "belfry"
		}
		if l.servers[name] != nil {
			continue
		}
		if l.servers[name], err = startServer(ctx, name, l); err != nil {
			return l, fmt.Errorf("start %s: %w", name, err)
		}
	}
	return l, nil
}

func (l *lab) sit(ctx context.Context, i int) (*seat, error) {
	s := &seat{name: []string{"talker", "listener"}[i], address: addresses(i, 2)}
	var err error
	if s.net, err = link.NewNamespace(); err != nil {
		return nil, err
	}
	s.browser, err = startBrowser(ctx, l.root, s.net, l.sound, l.log)
	return s, err
}

func (l *lab) close() {
	for _, s := range []*seat{l.talker, l.listener} {
		if s != nil && s.browser != nil {
			s.browser.stop()
		}
	}
	for _, s := range l.servers {
		if s != nil {
			s.close()
		}
	}
	if l.sound != "" {
		_ = os.Remove(l.sound)
	}
}
