package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"belfry/internal/app"
	"belfry/internal/config"
)

const accountsUsage = `usage: belfry accounts list [settings]
       belfry accounts show ACCOUNT [settings]
       belfry accounts set ACCOUNT QUOTA=NUMBER ... [settings]
       belfry accounts reset ACCOUNT [QUOTA ...] [settings]
       belfry accounts disable|enable ACCOUNT [settings]

  list      list the accounts that are known, with their meetings and the quotas of their own
  show      show what an account may use
  set       give an account quotas of its own; they hold at once and outlive a restart
  reset     give it those of the server's settings again, all or those named
  disable   refuse every request of an account from the next on, whichever key signs; enable
            takes them again. Meetings that are there go on

The settings (--config FILE, --data-dir DIR) say which server is meant; it has to run.
`

// accounts talks to the running server about what accounts may use.
func accounts(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	var words []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		words, args = append(words, args[0]), args[1:]
	}
	misused := func() int {
		fmt.Fprint(stderr, accountsUsage)
		return 2
	}
	var id string
	if command != "list" {
		if len(words) == 0 {
			return misused()
		}
		id, words = words[0], words[1:]
	}
	var do func(dataDir string) error
	switch {
	case command == "list" && len(words) == 0:
		do = func(dataDir string) error { return app.ListAccounts(ctx, dataDir, stdout) }
	case command == "show" && len(words) == 0:
		do = func(dataDir string) error { return app.ShowAccount(ctx, dataDir, id, stdout) }
	case command == "set" && len(words) > 0:
		values := map[string]string{}
		for _, word := range words {
			name, value, found := strings.Cut(word, "=")
			if !found {
				return misused()
			}
			values[name] = value
		}
		do = func(dataDir string) error { return app.SetAccountQuotas(ctx, dataDir, id, values, stdout) }
	case command == "disable" && len(words) == 0:
		do = func(dataDir string) error { return app.DisableAccount(ctx, dataDir, id, stdout) }
	case command == "enable" && len(words) == 0:
		do = func(dataDir string) error { return app.EnableAccount(ctx, dataDir, id, stdout) }
	case command == "reset":
		do = func(dataDir string) error { return app.ResetAccountQuotas(ctx, dataDir, id, words, stdout) }
	default:
		return misused()
	}
	cfg, err := config.Load(args, os.Getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
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
