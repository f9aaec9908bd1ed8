package screen

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"belfry/internal/screen/vp8"
)

// subprotocol is offered beside the join token, and chosen.
const subprotocol = "_aws_wt_session"

// keyEvery is how often a presenter is asked for a new beginning at most: it
// costs a whole picture.
const keyEvery = 2 * time.Second

func (s *Server) serveShare(w http.ResponseWriter, r *http.Request) {
	var token string
	for p := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if p = strings.TrimSpace(p); p != subprotocol {
			token = p
		}
	}
	k := new(socket)
	s.serve(w, r, k, token, []string{subprotocol},
		func(r *room, next func() ([]byte, error)) { s.readShare(r, k, k.conn.SetReadLimit, next) },
		func(_ *room, over <-chan struct{}) ending { return s.writeShare(k, over) })
}

// readShare takes what a client sends on the sharing socket until it ends. limit
// sets how long a message may be.
func (s *Server) readShare(r *room, k *socket, limit func(int64), next func() ([]byte, error)) {
	var recording *picture // of this socket, while it is the presenter
	var asked time.Time
	for {
		msg, err := next()
		if err != nil {
			return
		}
		if len(msg) < shareHead {
			continue
		}
		switch msg[0] {
		case heartbeatRequest:
			k.send(local(heartbeatResponse))
		case streamStart:
			if recording = r.start(k); recording != nil {
				limit(maxMessage)
			}
		case streamEnd:
			r.stop(k)
			recording = nil
			limit(maxControl)
		case webmSlice:
			if recording == nil || !r.presents(k) {
				continue
			}
			shown, err := recording.record(msg[shareHead:])
			if shown {
				r.show(recording)
			}
			switch now := time.Now(); {
			case errors.Is(err, vp8.ErrTooLarge):
				s.metrics.refused.WithLabelValues("resolution").Inc()
				r.stop(k)
				k.send(local(streamStop))
				recording = nil
			case err != nil && now.Sub(asked) > keyEvery:
				asked = now
				k.send(local(keyRequest))
			}
		}
	}
}

// writeShare sends what there is to tell, and asks now and then whether the
// client is there.
func (s *Server) writeShare(k *socket, over <-chan struct{}) ending {
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	for {
		var msg []byte
		select {
		case <-over:
			return ending{}
		case e := <-k.ending:
			for len(k.out) > 0 { // what was said before the end
				if k.write(<-k.out) != nil {
					return ending{}
				}
			}
			return e
		case msg = <-k.out:
		case <-beat.C:
			msg = local(heartbeatRequest)
		}
		if k.write(msg) != nil {
			return ending{}
		}
	}
}
