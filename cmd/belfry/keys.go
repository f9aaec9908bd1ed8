package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"belfry/internal/app"
	"belfry/internal/config"
)

const keysUsage = `usage: belfry keys list [--json]
       belfry keys add [--account N] [--action A,B] [--region R,S] [--expires-in D] [--name NAME]
       belfry keys disable|enable|remove ID
       belfry keys rotate ID [--keep D]
       belfry keys session ID [--for D]

  list      list the access keys, without their secrets
  add       make a key and print it as lines for a shell; without --account for that of the settings.
            --action (such as CreateMeeting, chime:Get*) and --region (eu-central-1, eu-*) limit it
  disable   refuse a key from the next request on; enable takes it again, remove forgets it
  rotate    make a key with the same rights; the old one works for D more (24h)
  session   make a temporary key with a session token, for D (1h, at most 36h)

--config FILE and --data-dir DIR say which server is meant; it has to run.
`

// keys talks to the running server about its access keys.
func keys(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var in app.NewKey
	var asJSON bool
	var keep, lasts time.Duration
	var settings, words []string
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("belfry keys", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	list := func(to *[]string) func(string) error {
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
	for _, name := range []string{"config", "data-dir"} {
		flags.Func(name, "", func(text string) error { settings = append(settings, "--"+name, text); return nil })
	}
	switch command {
	case "list":
		flags.BoolVar(&asJSON, "json", false, "")
	case "add":
		flags.StringVar(&in.Account, "account", "", "")
		flags.StringVar(&in.Name, "name", "", "")
		flags.DurationVar(&in.Lasts, "expires-in", 0, "")
		flags.Func("action", "", list(&in.Actions))
		flags.Func("region", "", list(&in.Regions))
	case "rotate":
		flags.DurationVar(&keep, "keep", 24*time.Hour, "")
	case "session":
		flags.DurationVar(&lasts, "for", time.Hour, "")
	}
	for { // flags may stand before and after the id
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprint(stdout, keysUsage)
				return 0
			}
			fmt.Fprintf(stderr, "belfry: %v\n%s", err, keysUsage)
			return 2
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		words, args = append(words, args[0]), args[1:]
	}
	var do func(dataDir string) error
	switch {
	case command == "list" && len(words) == 0:
		do = func(dir string) error { return app.ListKeys(ctx, dir, asJSON, stdout) }
	case command == "add" && len(words) == 0:
		do = func(dir string) error { return app.AddKey(ctx, dir, in, stdout) }
	case command == "disable" && len(words) == 1:
		do = func(dir string) error { return app.DisableKey(ctx, dir, words[0], stdout) }
	case command == "enable" && len(words) == 1:
		do = func(dir string) error { return app.EnableKey(ctx, dir, words[0], stdout) }
	case command == "remove" && len(words) == 1:
		do = func(dir string) error { return app.RemoveKey(ctx, dir, words[0], stdout) }
	case command == "rotate" && len(words) == 1:
		do = func(dir string) error { return app.RotateKey(ctx, dir, words[0], keep, stdout) }
	case command == "session" && len(words) == 1:
		do = func(dir string) error { return app.SessionKey(ctx, dir, words[0], lasts, stdout) }
	default:
		fmt.Fprint(stderr, keysUsage)
		return 2
	}
	cfg, err := config.Load(settings, os.Getenv, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 2
	}
	if err := do(cfg.DataDir); err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 1
	}
	return 0
}
