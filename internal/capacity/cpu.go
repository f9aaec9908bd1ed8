package capacity

import (
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// CPU measures how much of the processors that it may use the process takes. It is
// not safe for concurrent use.
type CPU struct {
	processors float64
	used       time.Duration
	at         time.Time
}

// NewCPU begins to measure.
func NewCPU() *CPU {
	return &CPU{processors: processors(os.DirFS("/"), runtime.GOMAXPROCS(0)), used: processTime(), at: time.Now()}
}

// Processors is how many the process may use.
func (c *CPU) Processors() float64 { return c.processors }

// Share is what it took since it was asked last, 1 being all. It is 0 where the
// system does not say.
func (c *CPU) Share() float64 {
	used, at := processTime(), time.Now()
	passed := at.Sub(c.at)
	share := 0.0
	if passed > 0 {
		share = float64(used-c.used) / float64(passed) / c.processors
	}
	c.used, c.at = used, at
	return share
}

// processors is how many the process may use: those that Go uses, or less where a
// control group gives it a part of one. Go rounds that up.
func processors(root fs.FS, procs int) float64 {
	most := float64(procs)
	// The groups of the second version are nested, and the smallest quota counts.
	list, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return most
	}
	for line := range strings.Lines(string(list)) {
		path, found := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		for ; found; path = path[:max(strings.LastIndexByte(path, '/'), 0)] {
			file := "sys/fs/cgroup/cpu.max"
			if path != "" {
				file = "sys/fs/cgroup/" + path + "/cpu.max"
			}
			if text, err := fs.ReadFile(root, file); err == nil {
				most = min(most, quota(string(text), most))
			}
			found = path != ""
		}
	}
	return most
}

// quota reads cpu.max: the µs that may be used in a period, and its length.
func quota(text string, otherwise float64) float64 {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return otherwise
	}
	may, err := strconv.ParseFloat(fields[0], 64)
	period, err2 := strconv.ParseFloat(fields[1], 64)
	if err != nil || err2 != nil || !(may > 0) || !(period > 0) { // "max" stands for none
		return otherwise
	}
	return may / period
}
