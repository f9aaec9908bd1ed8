package main

import (
	"context"
	"io"

	"belfry/internal/control"
)

const capacityUsage = `usage: belfry capacity show
       belfry capacity hold free|lower|no-camera|full|sound
       belfry capacity auto

  show  tell how full the server is and what it leaves out for that reason
  hold  leave so much out, whatever is measured: full keeps new people and meetings away, as
        before maintenance; free leaves nothing out
  auto  go by what is measured again

--config FILE and --data-dir DIR say which server is meant; it has to run.
`

// capacity talks to the running server about how full it is.
func capacity() command {
	return command{name: "capacity", usage: capacityUsage, words: func(words []string) action {
		switch {
		case len(words) == 1 && words[0] == "show":
			return control.ShowCapacity
		case len(words) == 1 && words[0] == "auto":
			return control.ReleaseCapacity
		case len(words) == 2 && words[0] == "hold":
			return func(ctx context.Context, dir string, out io.Writer) error {
				return control.HoldCapacity(ctx, dir, words[1], out)
			}
		}
		return nil
	}}
}
