// Package app is the composition root: it makes every component from the
// settings, in the order in which they need each other, and stops them in
// reverse. No other package knows that order, and nothing imports this one but
// commands and tests.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/internal/account"
	"belfry/internal/api"
	"belfry/internal/capacity"
	"belfry/internal/config"
	"belfry/internal/control"
	"belfry/internal/ingest"
	"belfry/internal/media"
	"belfry/internal/meeting"
	"belfry/internal/observe"
	"belfry/internal/page"
	"belfry/internal/screen"
	"belfry/internal/signaling"
	"belfry/internal/sigv4"
	"belfry/internal/store/jetstream"
	"belfry/internal/turn"
)

// stopWithin bounds a shutdown; what has not ended by then is left behind.
const stopWithin = 1500 * time.Millisecond

// Server is a running Belfry.
type Server struct {
	cfg    config.Config
	logger *slog.Logger
	key    keyPair
	keyIs  string // of key, as account.Info.State was at the start

	pageOn  bool
	pageKey account.Key // when pageOn

	archive  *ingest.Archive // nil when no client events are kept
	registry *prometheus.Registry
	capacity *capacity.Keeper
	health   observe.Health
	listener net.Listener
	// mediaOnHTTP says that clients bring media over TCP to listener too.
	mediaOnHTTP bool
	failed      chan error // the HTTP server ended by itself

	stops []stop // in the order of starting
}

// stop ends one component.
type stop struct {
	name string
	fn   func(context.Context) error
}

// Start brings up a server and returns when it takes requests. ctx bounds the
// start alone; Wait or Close ends the server.
func Start(ctx context.Context, cfg config.Config, logger *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, logger: logger, registry: observe.NewRegistry(), failed: make(chan error, 1)}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) started(name string, fn func(context.Context) error) {
	s.stops = append(s.stops, stop{name, fn})
}

func (s *Server) start(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	masterKeys, err := masterKeys(s.cfg)
	if err != nil {
		return err
	}
	store, err := jetstream.Open(ctx, jetstream.Config{
		Dir: s.cfg.DataDir, URL: s.cfg.StoreURL.Reveal(), Replicas: s.cfg.StoreReplicas, Seal: masterKeys, Logger: s.logger,
	})
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	s.started("store", func(context.Context) error { return store.Close() })
	registerStore(s.registry, store.Stats())
	s.health.Trouble = func() string { return trouble(store.Writable()) }
	if s.key, err = loadKeyPair(s.cfg, masterKeys); err != nil {
		return err
	}
	if s.listener, err = net.Listen("tcp", s.cfg.Listen); err != nil {
		return fmt.Errorf("%w; set BELFRY_LISTEN to another host:port", err)
	}
	s.started("listener", func(context.Context) error {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})

	service := meeting.NewService(store, meeting.ServiceOptions{
		MediaRegions: s.cfg.MediaRegions, DefaultMediaRegion: s.cfg.Region, Quotas: s.cfg.Quotas(),
		Webhooks: s.cfg.EventWebhooks, Transcription: s.cfg.TranscribeEngine != "",
		Full: s.full,
	})
	book, err := s.openBook(ctx, store)
	if err != nil {
		return err
	}
	conferences, err := s.startMedia()
	if err != nil {
		return err
	}
	s.startCapacity(conferences)
	relays, err := s.startTURN(ctx, store, conferences)
	if err != nil {
		return err
	}
	events, err := s.startEvents(ctx, store)
	if err != nil {
		return err
	}
	seen, err := s.startRecorder(ctx, store, service)
	if err != nil {
		return err
	}
	// It hears of a deletion before signaling tells the clients, whose last events it provokes.
	clientEvents, err := s.startClientEvents(service, store)
	if err != nil {
		return err
	}
	// Started before signaling, so that signaling tells its clients first.
	r := newRouter(s.logger)
	s.started("requests", r.stop)
	sockets := s.startSignaling(service, store, conferences, relays, presence{seen})
	if err := s.startKeeper(ctx, store, service, seen); err != nil {
		return err
	}
	if err := s.startTranscription(ctx, store, service, conferences, sockets); err != nil {
		return err
	}
	r.ingest = clientEvents
	if err := s.route(r, book, service, conferences, relays, sockets, s.startScreens(service, store)); err != nil {
		return err
	}
	s.startControl(control.DeadLetters(events), control.Accounts(service, book, s.logger), control.ClientEvents(s.archive), control.Keys(book, s.cfg.Account, s.logger), control.Capacity(s.capacity, s.logger))
	s.startHTTP(r, conferences)
	s.health.SetReady(true)
	s.logger.Info("ready", "listen", s.listener.Addr().String(), "media", conferences.Addr().String(), "media_tcp", addrText(conferences.AddrTCP()), "turn", s.cfg.TURN)
	return nil
}

// startControl serves the command line. A server that cannot runs without.
func (s *Server) startControl(parts ...control.Commands) {
	stop, err := control.Serve(s.cfg.DataDir, parts...)
	if err != nil {
		s.logger.Warn("commands cannot reach this server", "error", err)
		return
	}
	s.started("control", stop)
}

// trouble is what of an error everybody may read.
func trouble(err error) string {
	var told *meeting.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &told):
		return told.Message
	default:
		return "the store does not work"
	}
}

func (s *Server) startSignaling(service *meeting.Service, store meeting.Store, conferences *media.Server, relays *turn.Server, events signaling.Events) *signaling.Server {
	sockets := signaling.New(signaling.Config{
		Service: service, Conferences: conferences, Relays: relays, Events: events, Logger: s.logger, Metrics: s.registry,
		Quotas: service.Quotas, Admit: s.admit, Full: s.full,
		MeetingExists: func(ctx context.Context, id string) (exists bool) {
			_ = store.View(ctx, func(r meeting.Reader) error {
				_, exists = r.Meeting(id)
				return nil
			})
			return exists
		},
		Timings: signaling.Timings{Grace: s.cfg.DropAfter},
	})
	// A change reaches sessions before the API has answered it.
	unwatch := store.Watch(func(c meeting.Commit) {
		for _, change := range c.Changes {
			switch {
			case change.MeetingDeleted != nil:
				sockets.MeetingEnded(change.MeetingDeleted.ID)
			case change.AttendeeDeleted != nil:
				sockets.AttendeeDeleted(change.AttendeeDeleted.MeetingID, change.AttendeeDeleted.ID)
			case change.AttendeeUpdated != nil:
				sockets.CapabilitiesChanged(change.AttendeeUpdated)
			}
		}
	})
	s.started("signaling", func(ctx context.Context) error {
		unwatch()
		return sockets.Shutdown(ctx)
	})
	return sockets
}

// startScreens serves the screen sharing of old clients.
func (s *Server) startScreens(service *meeting.Service, store meeting.Store) *screen.Server {
	screens := screen.New(screen.Config{Auth: service, Logger: s.logger, Metrics: s.registry})
	unwatch := store.Watch(func(c meeting.Commit) {
		for _, change := range c.Changes {
			switch {
			case change.MeetingDeleted != nil:
				screens.MeetingEnded(change.MeetingDeleted.ID)
			case change.AttendeeDeleted != nil:
				screens.AttendeeDeleted(change.AttendeeDeleted.ID)
			case change.AttendeeUpdated != nil:
				screens.CapabilitiesChanged(change.AttendeeUpdated)
			}
		}
	})
	s.started("screens", func(context.Context) error {
		unwatch()
		screens.Close()
		return nil
	})
	return screens
}

// route gives the router its parts.
func (s *Server) route(r *router, book *account.Book, service *meeting.Service, conferences *media.Server, relays *turn.Server, sockets *signaling.Server, screens *screen.Server) error {
	audioHost := conferences.Addr().String()
	if advertised := conferences.Advertised(); len(advertised) > 0 {
		audioHost = advertised[0].String()
	}
	front, err := api.New(api.Options{
		Meetings: service, Keys: book, Quotas: service.Quotas, Endpoints: endpoints(s.cfg.PublicURL, audioHost), Log: s.logger, Metrics: s.registry,
		Signature:              sigv4.Verifier{Skew: s.cfg.ClockSkew},
		DefaultAPI:             defaultAPI(s.cfg.DefaultAPI),
		ValidationAsBadRequest: s.cfg.ValidationErrors == "BadRequestException",
		AWSRegionsOnly:         s.cfg.SigningRegions == "aws",
	})
	if err != nil {
		return err
	}
	r.api, r.control, r.turn = front, sockets, relays.Control(service)
	r.share, r.view = screens.Share(), screens.View()
	r.health, r.ready, r.metrics = &s.health, http.HandlerFunc(s.health.Ready), observe.MetricsHandler(s.registry)
	if s.pageOn {
		p := page.New(page.Config{
			Endpoint: s.selfURL, Region: s.cfg.Region, AccessKeyID: s.pageKey.ID, SecretAccessKey: s.pageKey.Secret, Logger: s.logger,
			ConnectOrigins: origins(s.cfg.PublicURL),
		})
		s.started("page", func(context.Context) error { p.Close(); return nil })
		r.page = p
	}
	return nil
}

func (s *Server) startHTTP(r *router, conferences *media.Server) {
	server := &http.Server{
		Handler:           r,
		BaseContext:       func(net.Listener) context.Context { return r.base },
		ReadHeaderTimeout: 10 * time.Second,
		// The API gives bodies less; sockets that are taken over have no deadline.
		ReadTimeout:    time.Minute,
		WriteTimeout:   2 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		// The API answers OPTIONS too, in its own form.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(s.withMedia(refusalListener{s.listener, s.logger}, conferences)); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serving HTTP: %w", err)
		}
	}()
	s.started("http", func(ctx context.Context) error {
		s.health.SetReady(false)
		// Requests get a moment to end; sockets are signaling's to end, after this.
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		err := server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		<-done
		return err
	})
}

// Addr is where the HTTP server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is the endpoint as clients should write it.
func (s *Server) URL() string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	return s.selfURL()
}

// selfURL is the endpoint as this machine reaches it.
func (s *Server) selfURL() string {
	addr := s.listener.Addr().(*net.TCPAddr).AddrPort()
	if addr.Addr().IsUnspecified() {
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	}
	return "http://" + addr.String()
}

// Wait blocks until ctx ends or the server fails, then stops everything.
func (s *Server) Wait(ctx context.Context) error {
	var err error
	select {
	case <-ctx.Done():
		s.logger.Info("stopping")
	case err = <-s.failed:
	}
	return errors.Join(err, s.Close())
}

// Close is Shutdown within the time that a person at a terminal waits.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return s.Shutdown(ctx)
}

// Shutdown stops every component, the last started first, and tells every client.
// What has not ended when ctx does is left behind, and told as an error.
func (s *Server) Shutdown(ctx context.Context) error {
	var errs []error
	for i := len(s.stops) - 1; i >= 0; i-- {
		begun := time.Now()
		if err := s.stops[i].fn(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", s.stops[i].name, err))
		}
		s.logger.Debug("stopped", "component", s.stops[i].name, "took", time.Since(begun))
	}
	s.stops = nil
	return errors.Join(errs...)
}
