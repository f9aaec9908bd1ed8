package screen

import (
	"net/http"
	"time"
)

// paintEvery is a little more than what a client lets pass between two times
// that it paints; a sync that comes sooner paints nothing.
const paintEvery = 550 * time.Millisecond

func (s *Server) serveView(w http.ResponseWriter, r *http.Request) {
	k := &socket{viewing: true}
	s.serve(w, r, k, r.URL.Query().Get("session_token"), nil,
		func(_ *room, next func() ([]byte, error)) { // nothing but answers to echoes, and clients' own
			for {
				msg, err := next()
				if err != nil {
					return
				}
				if len(msg) > 0 && msg[0] == viewEchoRequest {
					msg[0] = viewEchoResponse
					k.send(msg)
				}
			}
		},
		func(r *room, over <-chan struct{}) ending { return s.writeView(r, k, over) })
}

// writeView sends a viewer the newest tiles, then waits until it can have
// painted them and until there are others. So a slow one gets fewer pictures.
func (s *Server) writeView(r *room, k *socket, over <-chan struct{}) ending {
	v := viewer{socket: k, over: over, beat: time.NewTicker(s.cfg.Heartbeat)}
	defer v.beat.Stop()
	pace := time.NewTimer(paintEvery)
	defer pace.Stop()
	ready := true // the client can have painted what it got
	for {
		p, changed := r.look()
		if !k.mayView() {
			p = nil
		}
		var err error
		switch {
		case p == nil:
			err = v.nothing()
		case ready:
			var sent bool
			if sent, err = v.update(p); sent {
				ready = false
				pace.Reset(paintEvery)
			}
		default:
			changed = nil // the timer comes first
		}
		if err != nil {
			return ending{}
		}
		select {
		case <-over:
			return ending{}
		case e := <-k.ending:
			return e
		case <-changed:
		case <-pace.C:
			ready = true
		case msg := <-k.out:
			err = k.write(msg)
		case <-v.beat.C:
			err = k.write([]byte{viewEchoRequest})
		}
		if err != nil {
			return ending{}
		}
	}
}

// viewer is what one socket has been sent.
type viewer struct {
	*socket
	over <-chan struct{}
	beat *time.Ticker

	picture       *picture // its tiles, up to version; nil when it sees nothing
	version       uint64
	width, height int  // of the last setup
	told          bool // that nothing is shared
	again         bool // the last sync is still to be repeated
}

// nothing says, once, that there is no screen, or no more.
func (v *viewer) nothing() error {
	if v.told {
		return nil
	}
	kind := byte(viewNoScreen)
	if v.picture != nil {
		kind = viewEndScreen
	}
	*v = viewer{socket: v.socket, over: v.over, beat: v.beat, told: true}
	return v.write([]byte{kind})
}

// update sends the tiles that changed, if any did. When none has, the last sync
// is sent again: if the network held back the first one, the client did not paint.
func (v *viewer) update(p *picture) (sent bool, err error) {
	since := v.version
	if p != v.picture {
		since = 0
	}
	news := p.since(since)
	if len(news.tiles) == 0 {
		if v.again {
			v.again = false
			return false, v.write([]byte{viewSync})
		}
		return false, nil
	}
	if news.width != v.width || news.height != v.height {
		if err := v.write(setup(news.width, news.height)); err != nil {
			return false, err
		}
	}
	v.picture, v.version, v.width, v.height = p, news.version, news.width, news.height
	v.told, v.again = false, true
	for _, t := range news.tiles {
		select {
		case <-v.over:
			return true, nil
		case <-v.beat.C:
			err = v.write([]byte{viewEchoRequest})
		default:
		}
		if len(v.ending) > 0 {
			return true, nil
		}
		if err == nil {
			err = v.write([]byte{viewDelta, t.col, t.row})
		}
		if err == nil {
			err = v.write(t.jpeg)
		}
		if err != nil {
			return true, err
		}
	}
	return true, v.write([]byte{viewSync})
}
