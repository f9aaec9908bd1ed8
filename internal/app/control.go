package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"belfry/internal/meeting"
)

// controlSocket is where a running server hears from its command line. The user
// that the server runs as may use it, and root.
func controlSocket(dataDir string) string { return filepath.Join(dataDir, "control.sock") }

// maxSocketPath is what the path of a socket may have, in bytes, on the systems
// that allow least.
const maxSocketPath = 103

// reachSocket names the control socket so that the system takes it, also where
// the data directory has a longer path. release is for when it is not used any more.
func reachSocket(dataDir string) (name string, release func(), err error) {
	name = controlSocket(dataDir)
	if len(name) <= maxSocketPath {
		return name, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path of a socket has up to %d bytes, and %s has %d: use a data_dir with a shorter path", maxSocketPath, name, len(name))
	}
	dir, err := os.Open(dataDir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(name)), func() { _ = dir.Close() }, nil
}

// commands gives a part's commands to the mux of the control socket.
type commands func(*http.ServeMux)

// startControl serves the command line. A server that cannot runs without.
func (s *Server) startControl(parts ...commands) {
	path := controlSocket(s.cfg.DataDir)
	// The store's lock says that no other server uses the directory.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.logger.Warn("commands cannot reach this server", "error", err)
		return
	}
	name, release, err := reachSocket(s.cfg.DataDir)
	if err != nil {
		s.logger.Warn("commands cannot reach this server", "error", err)
		return
	}
	listener, err := net.Listen("unix", name)
	if err != nil {
		release()
		s.logger.Warn("commands cannot reach this server", "error", err)
		return
	}
	// Access keys are made here, and the directory may be one that others can look into.
	if err := os.Chmod(path, 0o600); err != nil {
		s.logger.Warn("commands cannot reach this server", "error", errors.Join(err, listener.Close()))
		release()
		return
	}
	mux := http.NewServeMux()
	for _, part := range parts {
		part(mux)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer release()            // the listener removes the socket by its name
		_ = server.Serve(listener) // ends by Close alone
	}()
	s.started("control", func(ctx context.Context) error {
		cancel()
		ctx, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		defer stop()
		err := server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		<-done
		return err
	})
}

// refuse answers a command with what is wrong.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch meeting.CodeOf(err) {
	case meeting.CodeBadRequest, meeting.CodeLimitExceeded:
		status = http.StatusBadRequest
	case meeting.CodeNotFound:
		status = http.StatusNotFound
	}
	http.Error(w, meeting.MessageOf(err), status)
}

// ask has the server that runs on a data directory do a command, and writes what
// it answers.
func ask(ctx context.Context, dataDir, method, path string, out io.Writer) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		name, release, err := reachSocket(dataDir)
		if err != nil {
			return nil, err
		}
		defer release()
		return (&net.Dialer{}).DialContext(ctx, "unix", name)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://belfry"+path, nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("no server answers on the data directory %s: %w", dataDir, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return fmt.Errorf("the server answered %s: %s", res.Status, strings.TrimSpace(string(text)))
	}
	if _, err = io.Copy(out, res.Body); err == nil && res.Trailer.Get(undone) != "" {
		err = errUndone
	}
	return err
}

// undone is a trailer: something of what was asked for could not be done, as the
// body says. The body is sent while it is worked on, long after the status.
const undone = "Belfry-Undone"

// mayBeUndone is to be called before the body begins.
func mayBeUndone(w http.ResponseWriter) { w.Header().Set("Trailer", undone) }

func markUndone(w http.ResponseWriter) { w.Header().Set(undone, "true") }

var errUndone = errors.New("not all of it was done")
