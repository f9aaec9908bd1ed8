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

const eventsUsage = `usage: belfry events dead [settings]
       belfry events replay all|NUMBER ... [settings]

  dead      list the events that a target did not take for a day
  replay    send such events again, and forget those that are taken

The settings (--config FILE, --data-dir DIR) say which server is meant; it has to run.
`

// events talks to the running server about dead letters.
func events(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] != "dead" && args[0] != "replay" {
		fmt.Fprint(stderr, eventsUsage)
		return 2
	}
	command, args := args[0], args[1:]
	var words []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		words, args = append(words, args[0]), args[1:]
	}
	if (command == "replay") != (len(words) > 0) {
		fmt.Fprint(stderr, eventsUsage)
		return 2
	}
	cfg, err := config.Load(args, os.Getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 2
	}
	if command == "dead" {
		err = app.DeadLetters(ctx, cfg.DataDir, stdout)
	} else {
		err = app.ReplayDeadLetters(ctx, cfg.DataDir, words, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 1
	}
	return 0
}
