package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Table writes rows for people to read, and, where several servers ran the same
// load, the medians and their ratios to the first server's.
func Table(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "load\tserver\tpeople\tpkt/s\tcore %\tsys %\tµs/pkt\t%/person\tlost\tdup\treord\trepaired\tbad\tlate\tsilent\tp50 ms\tp99 ms\tsound p50\tsound p99\tRSS MB\tgen core %\tgen lag ms\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%d\t%.0f\t%.1f\t%.0f\t%.2f\t%.3f\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f\t%.1f\t\n",
			r.Load.Name, r.Server, r.People, r.PacketsOut, 100*r.CPU, 100*r.SystemShare, r.PerPacket, r.PerPerson,
			r.Video.Lost()+r.Audio.Lost(), r.Video.Duplicates+r.Audio.Duplicates, r.Video.Reordered+r.Audio.Reordered, r.Video.Repaired,
			r.Video.Corrupt+r.Refused+r.Video.Stale+r.Audio.Stale, r.Audio.Late, r.Audio.Silent,
			r.VideoP50, r.VideoP99, r.AudioP50, r.AudioP99, r.RSS, 100*r.OwnCPU, r.LagP99)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return ratios(w, rows)
}

// ratios writes medians when there is more than one row of a load.
func ratios(w io.Writer, rows []Row) error {
	type key struct{ load, server string }
	groups := map[key][]Row{}
	var order []key
	for _, r := range rows {
		k := key{r.Load.Name, r.Server}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], r)
	}
	if len(order) == len(rows) && len(order) < 2 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nmedians\tserver\truns\tµs/pkt (range)\t%/person\tRSS MB\ttimes the first\t")
	base := map[string]float64{}
	for _, k := range order {
		g := groups[k]
		spent := median(g, func(r Row) float64 { return r.PerPacket })
		low := slices.MinFunc(g, func(a, b Row) int { return cmp.Compare(a.PerPacket, b.PerPacket) }).PerPacket
		high := slices.MaxFunc(g, func(a, b Row) int { return cmp.Compare(a.PerPacket, b.PerPacket) }).PerPacket
		if _, ok := base[k.load]; !ok {
			base[k.load] = spent
		}
		times := "–"
		if base[k.load] > 0 {
			times = fmt.Sprintf("%.2f", spent/base[k.load])
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%.2f (%.2f–%.2f)\t%.3f\t%.0f\t%s\t\n", k.load, k.server, len(g), spent, low, high,
			median(g, func(r Row) float64 { return r.PerPerson }), median(g, func(r Row) float64 { return r.RSS }), times)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the medians: %w", err)
	}
	return nil
}

func median(rows []Row, of func(Row) float64) float64 {
	list := make([]float64, len(rows))
	for i, r := range rows {
		list[i] = of(r)
	}
	slices.Sort(list)
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}

// JSON writes rows for programs to read.
func JSON(w io.Writer, rows []Row) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(rows); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
