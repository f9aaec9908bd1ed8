package main

import (
	"context"
	"flag"
	"io"
	"time"

	"belfry/internal/control"
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
func keys() command {
	var in control.NewKey
	var asJSON bool
	var keep, lasts time.Duration
	return command{
		name: "keys", usage: keysUsage,
		flags: func(verb string, set *flag.FlagSet) {
			switch verb {
			case "list":
				set.BoolVar(&asJSON, "json", false, "")
			case "add":
				set.StringVar(&in.Account, "account", "", "")
				set.StringVar(&in.Name, "name", "", "")
				set.DurationVar(&in.Lasts, "expires-in", 0, "")
				set.Func("action", "", list(&in.Actions))
				set.Func("region", "", list(&in.Regions))
			case "rotate":
				set.DurationVar(&keep, "keep", 24*time.Hour, "")
			case "session":
				set.DurationVar(&lasts, "for", time.Hour, "")
			}
		},
		words: func(words []string) action {
			switch {
			case len(words) == 1 && words[0] == "list":
				return func(ctx context.Context, dir string, out io.Writer) error {
					return control.ListKeys(ctx, dir, asJSON, out)
				}
			case len(words) == 1 && words[0] == "add":
				return func(ctx context.Context, dir string, out io.Writer) error { return control.AddKey(ctx, dir, in, out) }
			case len(words) != 2:
				return nil
			}
			one := map[string]func(ctx context.Context, dir, id string, out io.Writer) error{
				"disable": control.DisableKey, "enable": control.EnableKey, "remove": control.RemoveKey,
				"rotate": func(ctx context.Context, dir, id string, out io.Writer) error {
					return control.RotateKey(ctx, dir, id, keep, out)
				},
				"session": func(ctx context.Context, dir, id string, out io.Writer) error {
					return control.SessionKey(ctx, dir, id, lasts, out)
				},
			}[words[0]]
			if one == nil {
				return nil
			}
			return func(ctx context.Context, dir string, out io.Writer) error { return one(ctx, dir, words[1], out) }
		},
	}
}
