// Package conformance asks whether real AWS clients get what they expect of an
// endpoint. Every client, from the first SDK versions that had the meetings
// operations to today's, runs the same life of a meeting: each operation that
// the client has, and the refusals that a program has to tell apart. What came
// of it is a table, operation by operation and client by client.
//
// The command in run/ prints that table for any endpoint; the test runs it
// against this tree's server and compares it with docs/conformance.md.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// Target is the endpoint that is asked, and what is signed with.
type Target struct {
	Endpoint    string // base URL, with a path or without
	Region      string // of the credential scope
	AccessKeyID string
	Secret      string
	Session     string // session token, "" for a key that lasts
}

// Outcome is what became of one operation with one client.
type Outcome int

// The outcomes of an operation.
const (
	Absent Outcome = iota // the client does not have the operation
	Passed
	Failed
)

// Result is one client's way through the life of a meeting.
type Result struct {
	Client     string // as Clients lists it
	API        string // "chime" or "chime-sdk-meetings"
	Version    string // as the client tells it
	Operations map[string]Outcome
	Caught     map[string]string // for each of Refusals, what a program catches
	Failures   []string          // what was not as expected, each with its operation
}

// Clients are the names of all clients, in the order of the table.
func Clients() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// Run takes the named clients through the life of a meeting, several at once,
// and returns their results in the order of the names. dir is the directory
// that holds clients/. An error is a client that could not be started or broke
// down; what a client did not get as expected is in its result.
func Run(ctx context.Context, dir string, target Target, names ...string) ([]Result, error) {
	build, err := newBuilder(dir)
	if err != nil {
		return nil, err
	}
	defer build.remove()
	results, errs := make([]Result, len(names)), make([]error, len(names))
	turns := make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))
	var all sync.WaitGroup
	// The clients of the command line take longest by far and begin first.
	order := slices.SortedStableFunc(slices.Values(indexes(len(names))), func(a, b int) int {
		return slowness(names[b]) - slowness(names[a])
	})
	for _, i := range order {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			results[i], errs[i] = runOne(ctx, build, target, names[i])
		})
	}
	all.Wait()
	return results, errors.Join(errs...)
}

func indexes(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func runOne(ctx context.Context, build *builder, target Target, name string) (Result, error) {
	k, ok := kindOf(name)
	if !ok {
		return Result{}, fmt.Errorf("there is no client %q", name)
	}
	c, err := k.start(ctx, build, k, target)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	l := newLife(k, c, target)
	l.run()
	if err := c.close(); err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	return l.result(), l.broken
}
