package notify

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"belfry/internal/meeting"
)

// AWS is how queues, topics and functions are reached.
type AWS struct {
	Credentials aws.CredentialsProvider
	Endpoints   Endpoints
	HTTP        aws.HTTPClient // nil: one of its own
}

// maxCached bounds clients and queue URLs that are remembered.
const maxCached = 4096

// errARN is what an ARN that names nothing events can be sent to fails with.
var errARN = errors.New("the ARN is not one of a queue, topic or function, as its place says")

// arn is the parts of arn:partition:service:region:account:resource that count.
type arn struct{ region, account, resource string }

// parseARN reads an ARN of a service.
func parseARN(service meeting.TargetKind, text string) (arn, error) {
	p := strings.SplitN(text, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] != string(service) || !isRegion(p[3]) || p[5] == "" {
		return arn{}, errARN
	}
	return arn{region: p[3], account: p[4], resource: p[5]}, nil
}

// isRegion holds what becomes a part of a host's name to letters that make no
// other host of it.
func isRegion(text string) bool {
	for _, c := range text {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return text != "" && len(text) < 64
}

// isFIFO reports whether a queue or topic keeps the order of a group.
func isFIFO(name string) bool { return strings.HasSuffix(name, ".fifo") }

// endpointOf is where a target is; "" is AWS itself.
func (a AWS) endpointOf(ctx context.Context, kind meeting.TargetKind, address string) (string, error) {
	var profile func(string) (string, error)
	if c, ok := a.Credentials.(*chain); ok {
		profile = func(sdkID string) (string, error) { return c.endpoint(ctx, sdkID) }
	}
	return a.Endpoints.of(kind, address, profile)
}

// config is what the SDK's clients are made with. One try is one request: the
// worker tries again, and knows when.
func (a AWS) config(ctx context.Context, region, endpoint string) (aws.Config, error) {
	c := aws.Config{Credentials: a.Credentials}
	if chain, ok := a.Credentials.(*chain); ok {
		loaded, err := chain.load(ctx)
		if err != nil {
			return c, err
		}
		c = loaded.Copy()
		c.Credentials = chain // which says what is missing
	}
	c.Region, c.BaseEndpoint = region, nil
	c.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	if a.HTTP != nil {
		c.HTTPClient = a.HTTP
	}
	if c.HTTPClient == nil {
		c.HTTPClient = awshttp.NewBuildableClient()
	}
	c.HTTPClient = bounded{c.HTTPClient}
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	return c, nil
}

// clients makes and keeps the SDK's clients of one service, one for each place.
type clients[C any] struct {
	aws  AWS
	kind meeting.TargetKind
	make func(aws.Config) C
	kept cache[place, C]
}

// of finds the client for an ARN, and takes the ARN apart.
func (c *clients[C]) of(ctx context.Context, address string) (client C, name arn, at place, err error) {
	if name, err = parseARN(c.kind, address); err != nil {
		return client, name, at, err
	}
	endpoint, err := c.aws.endpointOf(ctx, c.kind, address)
	if err != nil {
		return client, name, at, err
	}
	at = place{name.region, endpoint}
	client, ok := c.kept.get(at)
	if !ok {
		cfg, err := c.aws.config(ctx, name.region, endpoint)
		if err != nil {
			return client, name, at, err
		}
		client = c.make(cfg)
		c.kept.put(at, client)
	}
	return client, name, at, nil
}

// maxReply bounds an answer of a service, which the SDK reads as a whole. That to
// ten messages has a few KiB.
const maxReply = 1 << 20

// bounded is a client whose answers end after maxReply, so that a target costs no
// more memory, whatever it says.
type bounded struct{ aws.HTTPClient }

func (b bounded) Do(req *http.Request) (*http.Response, error) {
	res, err := b.HTTPClient.Do(req)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxReply), res.Body}
	return res, nil
}

// cache remembers a few thousand values, and begins anew when there are more.
type cache[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]V
}

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.m[k]
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxCached {
		c.m = map[K]V{}
	}
	c.m[k] = v
}

func (c *cache[K, V]) drop(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, k)
}

type place struct{ region, endpoint string }
