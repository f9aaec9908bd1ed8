// Package control is how the command line reaches a running server: a socket in
// its data directory, which the user that the server runs as may use. One half of
// each file is the server's, a part's Commands; the other what cmd/belfry calls,
// which asks over the socket and writes the answer. New parts go into a file of
// their own.
package control

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

// Socket is where the server of a data directory hears from its command line. The
// user that the server runs as may use it, and root.
func Socket(dataDir string) string { return filepath.Join(dataDir, "control.sock") }

// maxSocketPath is what the path of a socket may have, in bytes, on the systems
// that allow least.
const maxSocketPath = 103

// reachSocket names the control socket so that the system takes it, also where
// the data directory has a longer path. release is for when it is not used any more.
func reachSocket(dataDir string) (name string, release func(), err error) {
	name = Socket(dataDir)
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

// Commands gives a part's commands to the mux of the socket.
type Commands func(*http.ServeMux)

// Serve answers the command line of a server whose data directory this is, until
// stop is called. The caller holds the directory's lock: a socket that is there was
// left by a server that is gone.
func Serve(dataDir string, parts ...Commands) (stop func(context.Context) error, err error) {
	path := Socket(dataDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	name, release, err := reachSocket(dataDir)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", name)
	if err != nil {
		release()
		return nil, err
	}
	// Access keys are made here, and the directory may be one that others can look into.
	if err := os.Chmod(path, 0o600); err != nil {
		err = errors.Join(err, listener.Close())
		release()
		return nil, err
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
	return func(ctx context.Context) error {
		cancel()
		ctx, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		defer stop()
		err := server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		<-done
		return err
	}, nil
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
