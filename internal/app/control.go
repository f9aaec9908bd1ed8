package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"belfry/internal/notify"
)

// controlSocket is where a running server hears from its command line. Who may
// open the data directory may use it.
func controlSocket(dataDir string) string { return filepath.Join(dataDir, "control.sock") }

// deadPage is how many dead letters are read at a time.
const deadPage = 500

// commands gives a part's commands to the mux of the control socket.
type commands func(*http.ServeMux)

// startControl serves the command line. A server that cannot, because the path
// is too long for a socket, runs without.
func (s *Server) startControl(parts ...commands) {
	path := controlSocket(s.cfg.DataDir)
	// The store's lock says that no other server uses the directory.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.logger.Warn("commands cannot reach this server", "error", err)
		return
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		s.logger.Warn("commands cannot reach this server", "error", err)
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

func deadLetterCommands(events *notify.Notifier) commands {
	return func(mux *http.ServeMux) {
		mux.HandleFunc("GET /events/dead", func(w http.ResponseWriter, r *http.Request) { listDead(r.Context(), w, events) })
		mux.HandleFunc("POST /events/replay", func(w http.ResponseWriter, r *http.Request) { replay(w, r, events) })
	}
}

func listDead(ctx context.Context, w io.Writer, events *notify.Notifier) {
	count := 0
	for after := uint64(0); ; {
		list, err := events.DeadLetters(ctx, after, deadPage)
		if err != nil {
			fmt.Fprintln(w, err)
			return
		}
		for _, d := range list {
			fmt.Fprintf(w, "%d  %s  %s  meeting %s event %d (%s)  %s  given up %s: %s\n", d.Seq, d.Event.At.Format(time.RFC3339), d.Event.Type,
				d.Event.MeetingID, d.Event.Number, d.Event.ID, notify.Describe(d.Target), d.At.Format(time.RFC3339), d.Reason)
			after = d.Seq
			count++
		}
		if len(list) < deadPage {
			fmt.Fprintf(w, "%d dead letters\n", count)
			return
		}
	}
}

// replay sends those that were named, or all, oldest first.
func replay(w http.ResponseWriter, r *http.Request, events *notify.Notifier) {
	sent, failed := 0, 0
	one := func(seq uint64) {
		if err := events.Replay(r.Context(), seq); err != nil {
			fmt.Fprintf(w, "%d: %v\n", seq, err)
			failed++
			return
		}
		sent++
	}
	query := r.URL.Query()
	for _, text := range query["seq"] {
		seq, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			fmt.Fprintf(w, "%q is not the number of a dead letter\n", text)
			failed++
			continue
		}
		one(seq)
	}
	if query.Has("all") {
		for after := uint64(0); r.Context().Err() == nil; {
			list, err := events.DeadLetters(r.Context(), after, deadPage)
			if err != nil {
				fmt.Fprintln(w, err)
				return
			}
			for _, d := range list {
				if r.Context().Err() == nil {
					one(d.Seq)
				}
				after = d.Seq
			}
			if len(list) < deadPage {
				break
			}
		}
	}
	fmt.Fprintf(w, "%d sent, %d not\n", sent, failed)
}

// DeadLetters has the server that runs on a data directory list its dead
// letters.
func DeadLetters(ctx context.Context, dataDir string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodGet, "/events/dead", out)
}

// ReplayDeadLetters has it send dead letters again: those with these numbers, or
// all when there is the word "all".
func ReplayDeadLetters(ctx context.Context, dataDir string, which []string, out io.Writer) error {
	query := url.Values{}
	for _, one := range which {
		if one == "all" {
			query.Set("all", "")
		} else {
			query.Add("seq", one)
		}
	}
	return ask(ctx, dataDir, http.MethodPost, "/events/replay?"+query.Encode(), out)
}

func ask(ctx context.Context, dataDir, method, path string, out io.Writer) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", controlSocket(dataDir))
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
	_, err = io.Copy(out, res.Body)
	return err
}
