package notify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
)

// Credentials are the server's own, by which it sends to queues and topics. As
// in the SDK's default chain the first of these that is there counts: the
// environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), a
// profile of the shared credentials file (AWS_PROFILE,
// AWS_SHARED_CREDENTIALS_FILE), and a container's credentials
// (AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI). They are looked for
// when first needed, and again when they expire.
func Credentials(getenv func(string) string) aws.CredentialsProvider {
	return aws.NewCredentialsCache(chain{getenv})
}

var errNoCredentials = errors.New("the server has no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile")

type chain struct{ getenv func(string) string }

// Retrieve implements aws.CredentialsProvider.
func (c chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if id, secret := c.getenv("AWS_ACCESS_KEY_ID"), c.getenv("AWS_SECRET_ACCESS_KEY"); id != "" && secret != "" {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret,
			SessionToken: c.getenv("AWS_SESSION_TOKEN"), Source: "environment"}, nil
	}
	found, err := c.fromFile()
	if err != nil || found.HasKeys() {
		return found, err
	}
	uri := c.getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if relative := c.getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); uri == "" && relative != "" {
		uri = "http://169.254.170.2" + relative
	}
	if uri == "" {
		return aws.Credentials{}, errNoCredentials
	}
	return endpointcreds.New(uri, func(o *endpointcreds.Options) {
		o.AuthorizationToken = c.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if file := c.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
			o.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
				token, err := os.ReadFile(file)
				return string(token), err
			})
		}
	}).Retrieve(ctx)
}

// fromFile reads a profile; without the file or the profile it finds nothing.
func (c chain) fromFile() (found aws.Credentials, err error) {
	path := c.getenv("AWS_SHARED_CREDENTIALS_FILE")
	if path == "" {
		path = filepath.Join(c.getenv("HOME"), ".aws", "credentials")
	}
	profile := c.getenv("AWS_PROFILE")
	if profile == "" {
		profile = "default"
	}
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("read the AWS credentials: %w", err)
	}
	defer file.Close()
	found.Source = "file"
	section := ""
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = strings.TrimSpace(line[1 : len(line)-1])
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		if section != profile {
			continue
		}
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			found.AccessKeyID = value
		case "aws_secret_access_key":
			found.SecretAccessKey = value
		case "aws_session_token":
			found.SessionToken = value
		}
	}
	return found, lines.Err()
}
