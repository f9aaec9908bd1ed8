package main

import (
	"context"
	"flag"
	"io"

	"belfry/internal/control"
)

const eventsUsage = `usage: belfry events dead [--json] [filter]
       belfry events replay all|NUMBER ... [filter]
       belfry events discard all|NUMBER ... [filter]

  dead      list the events that a target did not take for a day; --json: one object a line
  replay    send such events again, and forget those that are taken
  discard   forget such events

A filter says which are meant: --target WORD for those whose target has the word in its ARN or,
of a webhook, in its host; --meeting ID for those of one meeting. With a filter "all" is not needed.
--config FILE and --data-dir DIR say which server is meant; it has to run.
`

// events talks to the running server about dead letters.
func events() command {
	var filter control.DeadLetterFilter
	asJSON := false
	return command{
		name: "events", usage: eventsUsage,
		flags: func(verb string, set *flag.FlagSet) {
			set.StringVar(&filter.Target, "target", "", "")
			set.StringVar(&filter.MeetingID, "meeting", "", "")
			if verb == "dead" {
				set.BoolVar(&asJSON, "json", false, "")
			}
		},
		words: func(words []string) action {
			if len(words) == 0 {
				return nil
			}
			verb, which := words[0], words[1:]
			if len(which) == 0 && filter != (control.DeadLetterFilter{}) {
				which = []string{"all"}
			}
			switch {
			case verb == "dead" && len(words) == 1:
				return func(ctx context.Context, dir string, out io.Writer) error {
					return control.ListDeadLetters(ctx, dir, filter, asJSON, out)
				}
			case verb == "replay" && len(which) > 0:
				return func(ctx context.Context, dir string, out io.Writer) error {
					return control.ReplayDeadLetters(ctx, dir, which, filter, out)
				}
			case verb == "discard" && len(which) > 0:
				return func(ctx context.Context, dir string, out io.Writer) error {
					return control.DiscardDeadLetters(ctx, dir, which, filter, out)
				}
			}
			return nil
		},
	}
}
