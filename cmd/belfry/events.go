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

const eventsUsage = `usage: belfry events dead [--json] [filter] [settings]
       belfry events replay all|NUMBER ... [filter] [settings]
       belfry events discard all|NUMBER ... [filter] [settings]

  dead      list the events that a target did not take for a day; --json: one object a line
  replay    send such events again, and forget those that are taken
  discard   forget such events

A filter says which are meant: --target WORD for those whose target has the word in its ARN or,
of a webhook, in its host; --meeting ID for those of one meeting. With a filter "all" is not needed.
The settings (--config FILE, --data-dir DIR) say which server is meant; it has to run.
`

// events talks to the running server about dead letters.
func events(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	misused := func() int {
		fmt.Fprint(stderr, eventsUsage)
		return 2
	}
	if len(args) == 0 || args[0] != "dead" && args[0] != "replay" && args[0] != "discard" {
		return misused()
	}
	command := args[0]
	var words, settings []string
	var filter app.DeadLetterFilter
	asJSON := false
	for args = args[1:]; len(args) > 0; args = args[1:] {
		name, value, inOne := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		own := map[string]*string{"target": &filter.Target, "meeting": &filter.MeetingID}[name]
		switch {
		case !strings.HasPrefix(args[0], "-") && len(settings) == 0:
			words = append(words, args[0])
		case args[0] == "--json" && command == "dead":
			asJSON = true
		case strings.HasPrefix(args[0], "--") && own != nil:
			if !inOne {
				if len(args) == 1 {
					return misused()
				}
				value, args = args[1], args[1:]
			}
			*own = value
		default:
			settings = append(settings, args[0])
		}
	}
	if len(words) == 0 && command != "dead" && filter != (app.DeadLetterFilter{}) {
		words = []string{"all"}
	}
	if (command == "dead") != (len(words) == 0) {
		return misused()
	}
	cfg, err := config.Load(settings, os.Getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 2
	}
	switch command {
	case "dead":
		err = app.DeadLetters(ctx, cfg.DataDir, filter, asJSON, stdout)
	case "replay":
		err = app.ReplayDeadLetters(ctx, cfg.DataDir, words, filter, stdout)
	case "discard":
		err = app.DiscardDeadLetters(ctx, cfg.DataDir, words, filter, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 1
	}
	return 0
}
