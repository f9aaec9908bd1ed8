package pipe

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrote []string
		p := New(func(b []byte) { wrote = append(wrote, string(b)) })
		buf := make([]byte, 100)
		read := func() (string, error) {
			n, _, err := p.ReadFrom(buf)
			return string(buf[:n]), err
		}
		for i := range Depth + 3 {
			if ok := p.Push([]byte{byte(i)}); ok != (i < Depth) {
				t.Fatalf("push %d is %v", i, ok)
			}
		}
		for i := range Depth {
			if got, err := read(); err != nil || got != string([]byte{byte(i)}) {
				t.Fatalf("read %q, %v", got, err)
			}
		}
		// A deadline that passes while reading, one put off, one taken away.
		start := time.Now()
		_ = p.SetReadDeadline(start.Add(time.Second))
		if _, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a passed deadline: %v", err)
		}
		_ = p.SetDeadline(time.Now().Add(time.Second))
		_ = p.SetDeadline(time.Now().Add(time.Minute))
		start = time.Now()
		go func() {
			time.Sleep(30 * time.Second)
			p.Push([]byte("late"))
		}()
		if got, err := read(); err != nil || got != "late" || time.Since(start) != 30*time.Second {
			t.Errorf("read %q, %v after %v", got, err, time.Since(start))
		}
		_ = p.SetReadDeadline(time.Now().Add(-1))
		if _, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline in the past: %v", err)
		}
		_ = p.SetReadDeadline(time.Time{})
		p.Push([]byte("more"))
		if got, err := read(); err != nil || got != "more" {
			t.Errorf("read %q, %v", got, err)
		}
		if n, err := p.WriteTo([]byte("out"), addr{}); n != 3 || err != nil || len(wrote) != 1 || wrote[0] != "out" {
			t.Errorf("wrote %q, %v", wrote, err)
		}
		go func() {
			time.Sleep(time.Second)
			p.Close()
			p.Close()
		}()
		if _, err := read(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
		if _, err := p.WriteTo([]byte("out"), addr{}); !errors.Is(err, net.ErrClosed) || len(wrote) != 1 {
			t.Errorf("write after close: %v", err)
		}
	})
}
