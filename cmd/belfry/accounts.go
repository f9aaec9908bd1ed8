package main

import (
	"context"
	"io"
	"strings"

	"belfry/internal/control"
)

const accountsUsage = `usage: belfry accounts list
       belfry accounts show ACCOUNT
       belfry accounts set ACCOUNT QUOTA=NUMBER ...
       belfry accounts reset ACCOUNT [QUOTA ...]
       belfry accounts disable|enable ACCOUNT

  list      list the accounts that are known, with their meetings and the quotas of their own
  show      show what an account may use
  set       give an account quotas of its own; they hold at once and outlive a restart
  reset     give it those of the server's settings again, all or those named
  disable   refuse every request of an account from the next on, whichever key signs; enable
            takes them again. Meetings that are there go on

--config FILE and --data-dir DIR say which server is meant; it has to run.
`

// accounts talks to the running server about what accounts may use.
func accounts() command {
	return command{name: "accounts", usage: accountsUsage, words: func(words []string) action {
		if len(words) == 1 && words[0] == "list" {
			return control.ListAccounts
		}
		if len(words) < 2 {
			return nil
		}
		verb, id, words := words[0], words[1], words[2:]
		switch {
		case verb == "reset":
			return func(ctx context.Context, dir string, out io.Writer) error {
				return control.ResetAccountQuotas(ctx, dir, id, words, out)
			}
		case verb == "set" && len(words) > 0:
			values := map[string]string{}
			for _, word := range words {
				name, value, found := strings.Cut(word, "=")
				if !found {
					return nil
				}
				values[name] = value
			}
			return func(ctx context.Context, dir string, out io.Writer) error {
				return control.SetAccountQuotas(ctx, dir, id, values, out)
			}
		case len(words) > 0:
			return nil
		}
		one := map[string]func(ctx context.Context, dir, id string, out io.Writer) error{
			"show": control.ShowAccount, "disable": control.DisableAccount, "enable": control.EnableAccount,
		}[verb]
		if one == nil {
			return nil
		}
		return func(ctx context.Context, dir string, out io.Writer) error { return one(ctx, dir, id, out) }
	}}
}
