package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"time"

	"belfry/internal/control"
)

const clientEventsUsage = `usage: belfry client-events [MEETING|all] [flags]

Shows what browser clients reported of themselves: without a meeting a list of
meetings, with one its events, with "all" everybody's.

  --attendee ID     of this attendee alone
  --name NAME       of this name alone, such as meetingFailed
  --since DURATION  not older, such as 1h or 90m
  --json            one JSON object a line

--config FILE and --data-dir DIR say whose data directory is meant; the server may run or not.
`

// clientEvents shows what is kept of the events of browser clients.
func clientEvents() command {
	var q control.ClientEventsQuery
	return command{
		name: "client-events", usage: clientEventsUsage,
		flags: func(_ string, set *flag.FlagSet) {
			set.BoolVar(&q.JSON, "json", false, "")
			set.StringVar(&q.Attendee, "attendee", "", "")
			set.StringVar(&q.Name, "name", "", "")
			set.Func("since", "", func(text string) (err error) {
				if q.Since, err = time.ParseDuration(text); err != nil || q.Since <= 0 {
					return errors.New("it is not a duration such as 1h or 90m")
				}
				return nil
			})
		},
		words: func(words []string) action {
			switch len(words) {
			case 0:
			case 1:
				q.Meeting = words[0]
			default:
				return nil
			}
			return func(ctx context.Context, dir string, out io.Writer) error {
				return control.ListClientEvents(ctx, dir, q, out)
			}
		},
	}
}
