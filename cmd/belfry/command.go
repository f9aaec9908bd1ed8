package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"belfry/internal/config"
)

// command is a command about the server of a data directory. Its words and flags
// come in any order; --config and --data-dir say which server is meant.
type command struct {
	name, usage string
	// flags defines the flags that there are when verb is the first word; nil: none.
	flags func(verb string, set *flag.FlagSet)
	// words gives what the words ask for, and nil when they are not understood.
	words func(words []string) action
}

// action is what a command does.
type action func(ctx context.Context, dataDir string, out io.Writer) error

// run returns the exit code, as the program's run does.
func (c command) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	misused := func(err error) int {
		if err != nil {
			fmt.Fprintln(stderr, "belfry:", err)
		}
		fmt.Fprint(stderr, c.usage)
		return 2
	}
	set := flag.NewFlagSet("belfry "+c.name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	var settings []string
	for _, name := range []string{"config", "data-dir"} {
		set.Func(name, "", func(text string) error { settings = append(settings, "--"+name, text); return nil })
	}
	if c.flags != nil {
		verb := ""
		if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			verb = args[0]
		}
		c.flags(verb, set)
	}
	var words []string
	for { // each turn ends before a word
		if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stdout, c.usage)
			return 0
		} else if err != nil {
			return misused(err)
		}
		if args = set.Args(); len(args) == 0 {
			break
		}
		words, args = append(words, args[0]), args[1:]
	}
	do := c.words(words)
	if do == nil {
		return misused(nil)
	}
	cfg, err := config.Load(settings, os.Getenv, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 2
	}
	if err := do(ctx, cfg.DataDir, stdout); err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 1
	}
	return 0
}

// list is a flag of items with commas between them, which may be given again.
func list(to *[]string) func(string) error {
	return func(text string) error {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*to = append(*to, item)
			}
		}
		if *to == nil {
			return errors.New("there is nothing in it")
		}
		return nil
	}
}
