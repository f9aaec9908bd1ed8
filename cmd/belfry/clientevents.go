package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"belfry/internal/app"
	"belfry/internal/config"
)

const clientEventsUsage = `usage: belfry client-events [MEETING|all] [flags] [settings]

Shows what browser clients reported of themselves: without a meeting a list of
meetings, with one its events, with "all" everybody's.

  --attendee ID     of this attendee alone
  --name NAME       of this name alone, such as meetingFailed
  --since DURATION  not older, such as 1h or 90m
  --json            one JSON object a line

The settings (--config FILE, --data-dir DIR) say whose data directory is meant; the server may
run or not.
`

// clientEvents shows what is kept of the events of browser clients.
func clientEvents(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var q app.ClientEventsQuery
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		q.Meeting, args = args[0], args[1:]
	}
	args, err := clientEventFlags(&q, args)
	if err != nil {
		fmt.Fprintf(stderr, "belfry: %v\n%s", err, clientEventsUsage)
		return 2
	}
	cfg, err := config.Load(args, os.Getenv, io.Discard)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, clientEventsUsage)
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 2
	}
	if err := app.ClientEvents(ctx, cfg.DataDir, q, stdout); err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 1
	}
	return 0
}

// clientEventFlags takes the command's own flags out of args. The rest is for
// config.Load, which knows every setting.
func clientEventFlags(q *app.ClientEventsQuery, args []string) (rest []string, err error) {
	for len(args) > 0 {
		name, value, has := strings.Cut(args[0], "=")
		switch flag := strings.Replace(name, "--", "-", 1); flag {
		case "-json":
			q.JSON = true
			if has {
				if q.JSON, err = strconv.ParseBool(value); err != nil {
					return nil, fmt.Errorf("--json: %q is neither true nor false", value)
				}
			}
		case "-attendee", "-name", "-since":
			if !has {
				if len(args) == 1 {
					return nil, fmt.Errorf("%s needs a value", name)
				}
				value, args = args[1], args[1:]
			}
			switch flag {
			case "-attendee":
				q.Attendee = value
			case "-name":
				q.Name = value
			default:
				if q.Since, err = time.ParseDuration(value); err != nil || q.Since <= 0 {
					return nil, fmt.Errorf("--since: %q is not a duration such as 1h or 90m", value)
				}
			}
		default:
			rest = append(rest, args[0])
		}
		args = args[1:]
	}
	return rest, nil
}
