package control

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"belfry/internal/capacity"
	"belfry/internal/meeting"
)

// Capacity tells how full the server is, and holds what it leaves out.
func Capacity(keeper *capacity.Keeper, log *slog.Logger) Commands {
	return func(mux *http.ServeMux) {
		mux.HandleFunc("GET /capacity", func(w http.ResponseWriter, _ *http.Request) { showCapacity(w, keeper.State()) })
		mux.HandleFunc("POST /capacity/hold/{level}", func(w http.ResponseWriter, r *http.Request) {
			level, err := capacity.Parse(r.PathValue("level"))
			if err != nil {
				refuse(w, &meeting.Error{Code: meeting.CodeBadRequest, Message: err.Error()})
				return
			}
			log.Info("capacity is held", "level", level.String())
			keeper.Hold(level)
			showCapacity(w, keeper.State())
		})
		mux.HandleFunc("POST /capacity/auto", func(w http.ResponseWriter, _ *http.Request) {
			log.Info("capacity is held no more")
			keeper.Release()
			showCapacity(w, keeper.State())
		})
	}
}

// leftOut says of each level what it leaves out.
var leftOut = map[capacity.Level]string{
	capacity.Free:     "nothing is left out",
	capacity.Lower:    "cameras are sent on in their lowest quality",
	capacity.NoCamera: "cameras are paused",
	capacity.Full:     "cameras are paused, and who comes new is told to try again",
	capacity.Sound:    "all video is paused, and who comes new is told to try again",
}

func showCapacity(w io.Writer, s capacity.State) {
	how := "as measured"
	switch {
	case s.Held:
		how = "held"
	case !s.Measured:
		how = "shedding is off"
	}
	fmt.Fprintf(w, "%s: %s (%s, since %s)\n", s.Level, leftOut[s.Level], how, s.Since.UTC().Format(time.RFC3339))
	if s.Measured {
		fmt.Fprintf(w, "the last second: %.0f %% full; %.0f %% of the processors, sound %d ms late\n",
			100*s.Fullness, 100*s.Sample.CPU, s.Sample.Late.Milliseconds())
	}
}

// ShowCapacity has the server that runs on a data directory tell how full it is.
func ShowCapacity(ctx context.Context, dataDir string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodGet, "/capacity", out)
}

// HoldCapacity has it keep a level, whatever it measures.
func HoldCapacity(ctx context.Context, dataDir, level string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, "/capacity/hold/"+url.PathEscape(level), out)
}

// ReleaseCapacity has it go by what it measures again.
func ReleaseCapacity(ctx context.Context, dataDir string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, "/capacity/auto", out)
}
