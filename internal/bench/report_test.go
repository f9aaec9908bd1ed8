package bench

import (
	"strings"
	"testing"
)

func TestMediansAndRatios(t *testing.T) {
	row := func(server string, spent float64) Row {
		return Row{Server: server, Load: Load{Name: "video 1x50"}, PerPacket: spent}
	}
	var b strings.Builder
	if err := Table(&b, []Row{row("ours", 5), row("theirs", 20), row("ours", 4), row("theirs", 30), row("ours", 9), row("theirs", 25)}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5.00 (4.00–9.00)", "25.00 (20.00–30.00)", " 5.00\n", " 1.00\n"} {
		if !strings.Contains(strings.ReplaceAll(b.String(), "  \n", "\n"), want) {
			t.Errorf("%q is missing:\n%s", want, &b)
		}
	}
	if got := median([]Row{row("", 1), row("", 2), row("", 4), row("", 3)}, func(r Row) float64 { return r.PerPacket }); got != 2.5 {
		t.Errorf("the median of four is %g", got)
	}
}
