package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// builder makes the programs of clients/ that have to be built first, each once.
type builder struct {
	dir    string // that holds clients/
	bin    string
	launch func() error
}

func newBuilder(dir string) (*builder, error) {
	bin, err := os.MkdirTemp("", "belfry-conformance-")
	if err != nil {
		return nil, err
	}
	b := &builder{dir: dir, bin: bin}
	b.launch = sync.OnceValue(func() error {
		// A module of its own: it needs another version of a module that we use.
		cmd := exec.Command("go", "build", "-o", filepath.Join(bin, "go-launch"), ".")
		cmd.Dir = filepath.Join(dir, "clients", "go-v1.25.39")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build in %s: %w\n%s", cmd.Dir, err, out)
		}
		return nil
	})
	return b, nil
}

func (b *builder) remove() { _ = os.RemoveAll(b.bin) }

func goLaunch(ctx context.Context, b *builder, _ kind, target Target) (client, error) {
	if err := b.launch(); err != nil {
		return nil, err
	}
	return startProcess(ctx, b, target, filepath.Join(b.bin, "go-launch"), target.Endpoint)
}

// node runs a package of clients/package.json; service is the class in it, ""
// where there is but one.
func node(pkg, service string) func(context.Context, *builder, kind, Target) (client, error) {
	return func(ctx context.Context, b *builder, _ kind, target Target) (client, error) {
		return startProcess(ctx, b, target, "node", "client.mjs", target.Endpoint, pkg, service)
	}
}

// python runs Debian's, for which boto3 is packaged.
func python(service string) func(context.Context, *builder, kind, Target) (client, error) {
	return func(ctx context.Context, b *builder, _ kind, target Target) (client, error) {
		return startProcess(ctx, b, target, "/usr/bin/python3", "boto3_client.py", target.Endpoint, service)
	}
}

func environment(t Target) []string {
	return append(os.Environ(), "AWS_ACCESS_KEY_ID="+t.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+t.Secret, "AWS_SESSION_TOKEN="+t.Session,
		"AWS_DEFAULT_REGION="+t.Region, "AWS_REGION="+t.Region, "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE=1", "NODE_NO_WARNINGS=1", "AWS_PAGER=")
}

// process speaks with a client in a process of its own: a line in and a line
// out for each call, after a first line in which it tells about itself.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
	says   about
	ended  bool
}

func startProcess(ctx context.Context, b *builder, target Target, program string, args ...string) (client, error) {
	p := &process{cmd: exec.CommandContext(ctx, program, args...)}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = filepath.Join(b.dir, "clients"), environment(target), &p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; scripts/conformance installs what is needed", err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := p.read(&p.says); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return errors.Join(fmt.Errorf("the client ended: %w", err), p.close())
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%w: %s", err, line)
	}
	return nil
}

func (p *process) about() about { return p.says }

func (p *process) call(operation string, params map[string]any) (answer, error) {
	line, err := json.Marshal(map[string]any{"operation": operation, "params": params})
	if err != nil {
		return answer{}, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return answer{}, err
	}
	var a answer
	if err := p.read(&a); err != nil {
		return answer{}, err
	}
	return a, nil
}

func (p *process) close() error {
	if p.ended {
		return nil
	}
	p.ended = true
	_ = p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the client ended: %w\n%s", err, p.stderr.String())
	}
	return nil
}

// cli runs the AWS CLI for each call.
type cli struct {
	ctx    context.Context
	kind   kind
	target Target
	says   about
}

var (
	word     = regexp.MustCompile(`([a-z])([A-Z])`)
	cliError = regexp.MustCompile(`An error occurred \((\w+)\) when calling the \w+ operation[^:]*: (.*)`)
	aVersion = regexp.MustCompile(`aws-cli/(\S+)`)
	aCommand = regexp.MustCompile(`[a-z]+(-[a-z]+)+`)
)

func commandOf(operation string) string {
	return strings.ToLower(word.ReplaceAllString(operation, "$1-$2"))
}

func startCLI(ctx context.Context, _ *builder, k kind, target Target) (client, error) {
	return &cli{ctx: ctx, kind: k, target: target}, nil
}

func (c *cli) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.ctx, "/usr/bin/aws", args...)
	cmd.Env = environment(c.target)
	return cmd
}

// about costs two runs of the CLI; not every test needs it.
func (c *cli) about() about {
	if c.says.Version != "" {
		return c.says
	}
	c.says.Version = "unknown"
	if out, err := c.command("--version").Output(); err == nil {
		if found := aVersion.FindSubmatch(out); found != nil {
			c.says.Version = string(found[1])
		}
	}
	// What is no command is answered with those that are.
	list := c.command(c.kind.api, "no-such-command")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	_ = list.Run()
	commands := aCommand.FindAllString(stderr.String(), -1)
	for _, name := range operations {
		if slices.Contains(commands, commandOf(name)) {
			c.says.Operations = append(c.says.Operations, name)
		}
	}
	return c.says
}

func (c *cli) call(operation string, params map[string]any) (answer, error) {
	input, err := json.Marshal(params)
	if err != nil {
		return answer{}, err
	}
	cmd := c.command(c.kind.api, commandOf(operation), "--endpoint-url", c.target.Endpoint,
		"--no-paginate", "--no-cli-pager", "--output", "json", "--cli-input-json", string(input))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		match := cliError.FindStringSubmatch(stderr.String())
		if match == nil {
			return answer{}, fmt.Errorf("aws %s: %w: %s", commandOf(operation), err, stderr.String())
		}
		return answer{Code: match[1], Message: match[2], Class: err.Error()}, nil
	case err != nil:
		return answer{}, fmt.Errorf("%w; scripts/conformance installs what is needed", err)
	}
	a := answer{}
	if stdout.Len() == 0 {
		return a, nil
	}
	return a, json.Unmarshal(stdout.Bytes(), &a.Result)
}

func (c *cli) close() error { return nil }
