// Package page serves the meeting page: a small web application made with the
// unmodified amazon-chime-sdk-js, and the backend it needs.
//
// It doubles as the example for builders. The browser side (web/ at the top of
// the tree, embedded here as dist/) never holds a key: it asks this backend for
// a seat, and gets back the Meeting and the Attendee that the media client
// wants. The backend (api.go) is an ordinary customer of the public API: it
// signs its calls with AWS's own Go client and could run anywhere else, against
// this server or against Amazon's. Copy it, and put your own login in front.
//
// Without the bundle, as after a plain `go build`, the package serves a page
// that says how to build the real one; the backend works just the same.
package page

import (
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"

	"belfry/internal/meeting"
)

// Config says whose meetings the page opens, and where.
type Config struct {
	// Endpoint answers the base URL of the meetings API, such as
	// "http://127.0.0.1:8080". It is asked at each call, so the address may
	// become known only after New.
	Endpoint func() string
	// Region signs the calls and is the MediaRegion of new meetings; "": us-east-1.
	Region string
	// AccessKeyID and SecretAccessKey sign the calls. They stay on the server.
	AccessKeyID     string
	SecretAccessKey meeting.Secret
	// ConnectOrigins are further origins that a MediaPlacement may name, such as
	// "https://media.example.org"; the browser may then connect there. The page's
	// own origin and the Endpoint are always allowed.
	ConnectOrigins []string
	Logger         *slog.Logger // nil: no log
	HTTPClient     *http.Client // for the calls to the API; nil: one of its own
}

// Page is the handler of "/" and of everything below "/meet/".
type Page struct {
	cfg    Config
	log    *slog.Logger
	client *http.Client
	api    *chimesdkmeetings.Client
	limits *limits
	mux    *http.ServeMux
}

const (
	// callTimeout bounds what one request of the page makes the API do, retries included.
	callTimeout = 15 * time.Second
	// maxBackoff is how long a retry waits at most: a person is waiting too.
	maxBackoff = 500 * time.Millisecond
)

// New returns the page's handler. It starts no goroutine; Close gives back the
// idle connections to the API.
func New(cfg Config) *Page { return newPage(cfg, bundle()) }

// newPage is New with the bundle as an argument; nil files: the placeholder.
func newPage(cfg Config, files fs.FS) *Page {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	p := &Page{cfg: cfg, log: cfg.Logger, client: cfg.HTTPClient, limits: newLimits(time.Now)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.client == nil {
		p.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second}}
	}
	p.api = chimesdkmeetings.New(chimesdkmeetings.Options{
		Region:      cfg.Region,
		Credentials: credentials.NewStaticCredentialsProvider(cfg.AccessKeyID, cfg.SecretAccessKey.Reveal(), ""),
		HTTPClient:  p.client,
		Retryer:     retry.AddWithMaxBackoffDelay(retry.NewStandard(), maxBackoff),
	})

	// The browser vouches for where a POST comes from (Sec-Fetch-Site, or Origin),
	// so that another site cannot have a visitor's browser open or end meetings.
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &meeting.Error{Code: meeting.CodeForbidden, Message: "This request came from another site. Open the meeting page itself and try again."})
	}))

	p.mux = http.NewServeMux()
	p.mux.Handle("GET /{$}", http.RedirectHandler("/meet/", http.StatusFound))
	p.mux.Handle("GET /meet", http.RedirectHandler("/meet/", http.StatusFound))
	call := func(h http.HandlerFunc) http.Handler { return sameOrigin.Handler(p.limits.guard(h)) }
	p.mux.Handle("POST /meet/api/join", call(p.join))
	p.mux.Handle("POST /meet/api/end", call(p.end))
	p.mux.HandleFunc("/meet/api/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &meeting.Error{Code: meeting.CodeNotFound, Message: "There is no such call. The page has POST /meet/api/join and POST /meet/api/end."})
	})
	routeAssets(p.mux, files)
	return p
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", p.policy(r.Host))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the address of a room is the way into it
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(self), microphone=(self), display-capture=(self), geolocation=()")
	p.mux.ServeHTTP(w, r)
}

// Close closes the connections to the API that are not in use.
func (p *Page) Close() { p.client.CloseIdleConnections() }

var hostPort = regexp.MustCompile(`^(?:[a-zA-Z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?$`)

// policy is the Content-Security-Policy: nothing but our own files, and
// connections to this server alone. The WebSocket forms are spelled out because
// not every browser counts ws: of the same host as 'self'; blob: is for the
// media client's worker and for pictures made on the page.
func (p *Page) policy(host string) string {
	connect := []string{"'self'"}
	add := func(h string) {
		if !hostPort.MatchString(h) { // also keeps a forged Host out of the header
			return
		}
		for _, scheme := range []string{"http://", "https://", "ws://", "wss://"} {
			connect = append(connect, scheme+h)
		}
	}
	add(host)
	for _, origin := range append([]string{p.endpoint()}, p.cfg.ConnectOrigins...) {
		if u, err := url.Parse(origin); err == nil && u.Host != host {
			add(u.Host)
		}
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob: data:; " +
		"media-src 'self' blob: mediastream:; worker-src 'self' blob:; connect-src " + strings.Join(connect, " ") + "; " +
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}

func (p *Page) endpoint() string {
	if p.cfg.Endpoint == nil {
		return ""
	}
	return p.cfg.Endpoint()
}

// at points one call at the endpoint as it is now.
func (p *Page) at(o *chimesdkmeetings.Options) { o.BaseEndpoint = aws.String(p.endpoint()) }
