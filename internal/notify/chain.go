package notify

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Credentials are the server's own, by which it sends to queues, topics and
// functions, found as AWS's SDKs and tools find them: the environment, the
// profile of the shared files with what it names (keys, a role, single sign-on,
// a process), web identity, a container. The metadata service of an EC2 instance
// is asked only where AWS_EC2_METADATA_DISABLED says "false", for a request to an
// address that is nowhere but there would be made elsewhere. Nothing is read or
// asked before something is to be sent. An AWS that has them also takes endpoints
// from the profile.
func Credentials(getenv func(string) string) aws.CredentialsProvider {
	return &chain{metadata: getenv("AWS_EC2_METADATA_DISABLED") == "false"}
}

// chain is what the SDK makes of environment and shared files, read at first
// need; when that fails, at the next.
type chain struct {
	metadata bool

	mu     sync.Mutex
	loaded *aws.Config
}

func (c *chain) load(ctx context.Context) (aws.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil {
		return *c.loaded, nil
	}
	state := imds.ClientDisabled
	if c.metadata {
		state = imds.ClientEnabled
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSClientEnableState(state), config.WithHTTPClient(newClient()))
	if err != nil {
		return cfg, fmt.Errorf("read the AWS settings: %w", err)
	}
	c.loaded = &cfg
	return cfg, nil
}

// newClient is the client of those that were given none.
func newClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(time.Minute).
		WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = maxWorkers })
}

// Retrieve implements aws.CredentialsProvider.
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	cfg, err := c.load(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	found, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return found, fmt.Errorf("the server has no AWS credentials that it can use; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile: %w", err)
	}
	return found, nil
}

// endpoint is what the profile says of a service by its SDK id, or of all
// services; "" for nothing.
func (c *chain) endpoint(ctx context.Context, sdkID string) (string, error) {
	cfg, err := c.load(ctx)
	if err != nil {
		return "", err
	}
	if ignored, _, err := config.GetIgnoreConfiguredEndpoints(ctx, cfg.ConfigSources); err != nil || ignored {
		return "", err
	}
	for _, source := range cfg.ConfigSources {
		profile, ok := source.(config.SharedConfig)
		if !ok {
			continue
		}
		if at, found, err := profile.GetServiceBaseEndpoint(ctx, sdkID); found || err != nil {
			return at, err
		}
		return profile.BaseEndpoint, nil
	}
	return "", nil
}
