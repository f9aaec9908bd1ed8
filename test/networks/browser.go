//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"belfry/internal/bench/link"
)

// browser is a Chromium in a namespace, driven through test/browser/network/driver.mjs.
type browser struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	ended   error
	version string
}

type reply struct {
	ID    int             `json:"id"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

func startBrowser(ctx context.Context, root string, in *link.Namespace, sound string, log io.Writer) (*browser, error) {
	b := &browser{waiting: map[int]chan reply{0: make(chan reply, 1)}, next: 1}
	dir := filepath.Join(root, "test", "browser", "network")
	b.cmd = exec.Command("node", "driver.mjs", sound)
	b.cmd.Dir, b.cmd.Stderr = dir, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := in.Do(b.cmd.Start); err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	go b.read(out)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.await(ctx, 0, b.waiting[0], &b.version); err != nil {
		b.stop()
		return nil, fmt.Errorf("start Chromium: %w", err)
	}
	return b, nil
}

func (b *browser) read(out io.Reader) {
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		var got reply
		if err == nil {
			err = json.Unmarshal(line, &got)
		}
		b.mu.Lock()
		if err != nil {
			b.ended = fmt.Errorf("the browser is gone: %w", err)
			for id, w := range b.waiting {
				delete(b.waiting, id)
				close(w)
			}
			b.mu.Unlock()
			return
		}
		w := b.waiting[got.ID]
		delete(b.waiting, got.ID)
		b.mu.Unlock()
		if w != nil {
			w <- got
		}
	}
}

// call does something on a page and puts the answer into value, which may be nil.
func (b *browser) call(ctx context.Context, page, what string, arg, value any) error {
	w := make(chan reply, 1)
	b.mu.Lock()
	if b.ended != nil {
		b.mu.Unlock()
		return b.ended
	}
	id := b.next
	b.next++
	b.waiting[id] = w
	line, err := json.Marshal(map[string]any{"id": id, "page": page, "call": what, "arg": arg})
	if err == nil {
		_, err = b.in.Write(append(line, '\n'))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := b.await(ctx, id, w, value); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (b *browser) await(ctx context.Context, id int, w chan reply, value any) error {
	select {
	case got, ok := <-w:
		switch {
		case !ok:
			return b.ended
		case got.Error != "":
			return errors.New(strings.TrimSpace(got.Error))
		case value != nil:
			return json.Unmarshal(got.Value, value)
		}
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		delete(b.waiting, id)
		b.mu.Unlock()
		return ctx.Err()
	}
}

// notes are what a page noted, for an error's text.
func (b *browser) notes(ctx context.Context, page string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var events json.RawMessage
	if err := b.call(ctx, page, "noticed", nil, &events); err != nil {
		return err.Error()
	}
	return string(events)
}

func (b *browser) stop() {
	_ = b.in.Close()
	done := make(chan struct{})
	go func() { _ = b.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
		<-done
	}
}

// soundFile writes the sound that is said.
func soundFile(pcm []int16) (string, error) {
	f, err := os.CreateTemp("", "belfry-sound-")
	if err != nil {
		return "", err
	}
	defer f.Close()
	bytes := make([]byte, 0, 2*len(pcm))
	for _, v := range pcm {
		bytes = append(bytes, byte(v), byte(uint16(v)>>8))
	}
	if _, err := f.Write(bytes); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
