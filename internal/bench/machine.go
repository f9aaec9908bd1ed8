package bench

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine is where the figures are from. None of them means much elsewhere.
type Machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	Kernel    string `json:"kernel"`
	System    string `json:"system"`
	Go        string `json:"go"`
	Janus     string `json:"janus,omitempty"`
	Load      string `json:"load"` // averages over 1, 5 and 15 minutes, at the beginning
}

// ThisMachine asks.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	line := func(path, name string) string {
		text, _ := os.ReadFile(path)
		for l := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(l, name); ok {
				return strings.Trim(value, " \t:=\"\n")
			}
		}
		return ""
	}
	m.Processor = line("/proc/cpuinfo", "model name")
	m.Kernel = line("/proc/sys/kernel/osrelease", "")
	if name := line("/etc/os-release", "PRETTY_NAME"); name != "" {
		m.System = name
	}
	if f := strings.Fields(line("/proc/loadavg", "")); len(f) > 2 {
		m.Load = strings.Join(f[:3], " ")
	}
	if out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "janus").Output(); err == nil {
		m.Janus = string(out)
	}
	return m
}
