package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Counters is what a server counts of its own work, by its metrics. They say how
// much it does, however busy the machine is.
type Counters struct {
	Sent        uint64 `json:"sent"`         // datagrams of media
	SendCalls   uint64 `json:"send_calls"`   // system calls that sent them
	Allocations uint64 `json:"allocations"`  // of memory, by the whole server
	Allocated   uint64 `json:"allocated"`    // bytes
	Collections uint64 `json:"collections"`  // of garbage
	Decodes     uint64 `json:"opus_decodes"` // of sound
	Encodes     uint64 `json:"opus_encodes"`
	Faults      uint64 `json:"faults"`             // of the server, which were caught
	KeyFrames   uint64 `json:"key_frame_requests"` // to senders
	AskedAgain  uint64 `json:"asked_again"`        // packets, of senders
	Resent      uint64 `json:"resent"`             // packets, to receivers
	Paused      uint64 `json:"gc_paused_ns"`       // in which all waited for garbage collections
	LongestGC   uint64 `json:"gc_longest_ns"`      // pause of the last 256 collections, those before the window too
}

// longestGC is the metric of one that is no sum.
const longestGC = `go_gc_duration_seconds{quantile="1"}`

// names are those of the metrics. Times are ns here, and seconds there.
func (c *Counters) names() map[string]*uint64 {
	return map[string]*uint64{
		"belfry_media_packets_out_total":   &c.Sent,
		"belfry_media_send_calls_total":    &c.SendCalls,
		"belfry_media_audio_decodes_total": &c.Decodes,
		"belfry_media_audio_encodes_total": &c.Encodes,
		"belfry_media_faults_total":        &c.Faults,
		"go_memstats_mallocs_total":        &c.Allocations,
		"go_memstats_alloc_bytes_total":    &c.Allocated,
		"go_gc_duration_seconds_count":     &c.Collections,
		"go_gc_duration_seconds_sum":       &c.Paused,
		longestGC:                          &c.LongestGC,

		"belfry_media_key_frame_requests_total": &c.KeyFrames,
		"belfry_media_video_asked_again_total":  &c.AskedAgain,
		"belfry_media_video_resent_total":       &c.Resent,
	}
}

// since is what was counted after an earlier look.
func (c Counters) since(before Counters) Counters {
	now, then := c.names(), before.names()
	for name, v := range now {
		if name == longestGC {
			continue
		}
		*v -= min(*v, *then[name])
	}
	return c
}

// readCounters reads metrics in Prometheus' text format. All that are wanted must be there.
func readCounters(r io.Reader) (c Counters, err error) {
	names := c.names()
	found := 0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		to := names[name]
		if to == nil {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || !(v >= 0 && v < 1<<63) {
			return c, fmt.Errorf("the metric %s is %q", name, value)
		}
		if to == &c.Paused || to == &c.LongestGC {
			v *= 1e9
		}
		*to = uint64(v)
		found++
	}
	if err := lines.Err(); err != nil {
		return c, fmt.Errorf("read the metrics: %w", err)
	}
	if found != len(names) {
		return c, fmt.Errorf("the server has %d of %d metrics", found, len(names))
	}
	return c, nil
}

// Counters asks the server.
func (s *belfry) Counters(ctx context.Context) (Counters, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		return Counters{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Counters{}, fmt.Errorf("read the metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Counters{}, fmt.Errorf("read the metrics: %s", resp.Status)
	}
	return readCounters(resp.Body)
}
