package rtp

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Descriptors of Chromium: of the key frame's first packet, and of later ones.
const (
	dependencyL1T3    = "c00001800214eaa860414d141020842703bf021b"                                                                                                                                             // AV1, 960×540
	dependencyL2T2    = "c000018003187aaaf130a0a014d141382304600864222226501df010d03bf021b0"                                                                                                                   // AV1, 480×270 and 960×540
	dependencyL3T3Key = "c0000180081485214eaaaaa8000600004000100002aa80a8000600004000100002a000a800060000400016d549241b5524906d54923157e001974ca864330e222396eca8655304224390eca8775300ef008601df010d03bf021b" // AV1
)

func TestDependencyStructure(t *testing.T) {
	for _, tt := range []struct {
		name, text        string
		targets           int
		spatial, temporal []uint8 // of each target
		width             [MaxSpatial]uint32
		chains            uint8
	}{
		{"L1T3", dependencyL1T3, 3, []uint8{0, 0, 0}, []uint8{0, 1, 2}, [MaxSpatial]uint32{960}, 1},
		{"L2T2", dependencyL2T2, 4, []uint8{0, 0, 1, 1}, []uint8{0, 1, 0, 1}, [MaxSpatial]uint32{480, 960}, 2},
		{"L3T3_KEY", dependencyL3T3Key, 9, []uint8{0, 0, 0, 1, 1, 1, 2, 2, 2}, []uint8{0, 1, 2, 0, 1, 2, 0, 1, 2}, [MaxSpatial]uint32{240, 480, 960}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s DependencyStructure
			var d Dependency
			if !ParseDependency(unhex(t, tt.text), &s, &d) {
				t.Fatal("it is refused")
			}
			if !d.Start || !d.End || !d.Attached || !d.Known || d.Frame != 1 || d.Spatial != 0 || d.Temporal != 0 {
				t.Errorf("the packet's own part reads %+v", d)
			}
			// A key frame is needed by all, and all can begin at it.
			if all := uint32(1)<<tt.targets - 1; d.Present != all || d.Switch != all || s.Active != all {
				t.Errorf("present %b, switch %b, active %b, want %b", d.Present, d.Switch, s.Active, all)
			}
			n := min(int(s.Targets), MaxDecodeTargets)
			if d := cmp.Diff(tt.spatial, slices.Clone(s.TargetSpatial[:n])); d != "" {
				t.Errorf("spatial layers of the targets (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.temporal, slices.Clone(s.TargetTemporal[:n])); d != "" {
				t.Errorf("temporal layers of the targets (-want +got):\n%s", d)
			}
			if s.Width != tt.width || s.chains != tt.chains {
				t.Errorf("widths %v and %d chains, want %v and %d", s.Width, s.chains, tt.width, tt.chains)
			}
			for spatial := range uint8(4) {
				for temporal := range uint8(4) {
					target := s.Target(spatial, temporal)
					wantS, wantT := min(spatial, slices.Max(tt.spatial)), min(temporal, slices.Max(tt.temporal))
					if s.TargetSpatial[target] != wantS || s.TargetTemporal[target] != wantT {
						t.Errorf("up to %d and %d it is target %d", spatial, temporal, target)
					}
				}
			}
			// What has more temporal layers has all of what has fewer.
			if full, base := s.Target(3, 3), s.Target(3, 0); s.Within[full]>>base&1 == 0 || s.Within[base]>>full&1 == 1 {
				t.Errorf("within the full target %b, within the base %b", s.Within[full], s.Within[base])
			}
			full := s.Target(3, 3)
			top := slices.Max(tt.spatial)
			if top > 0 {
				keyed := tt.name == "L3T3_KEY"
				if got := s.Needs(full, 0, 0); got == keyed {
					t.Errorf("the top needs all of the lowest layer: %v", got)
				}
				if got := s.Within[full]>>s.Target(0, 3)&1 == 1; got == keyed {
					t.Errorf("the top has all of the lowest layer: %v", got)
				}
			}
		})
	}
}

func TestDependencyOfLaterPackets(t *testing.T) {
	var s DependencyStructure
	var d Dependency
	if !ParseDependency(unhex(t, "c30002"), &s, &d) || d.Known {
		t.Errorf("without a structure: %+v", d)
	}
	ParseDependency(unhex(t, dependencyL1T3), &s, &d)
	for text, want := range map[string]Dependency{
		"c30002": {Start: true, End: true, Frame: 2, Known: true, Temporal: 2, Present: 0b100},
		"820003": {Start: true, Frame: 3, Known: true, Temporal: 1, Present: 0b110, Switch: 0b100},
		"410004": {End: true, Frame: 4, Known: true, Present: 0b111, Switch: 0b111},
		"c90005": {Start: true, End: true, Frame: 5}, // of no template
	} {
		if !ParseDependency(unhex(t, text), &s, &d) {
			t.Fatalf("%s is refused", text)
		}
		got := d
		got.Targets, got.Active, got.activeAt = 0, 0, 0
		if d := cmp.Diff(want, got, cmp.AllowUnexported(Dependency{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
	for _, text := range []string{"", "c300", "c0000180", dependencyL1T3[:20], "c00001ffffffffffff"} {
		st := s
		if ParseDependency(unhex(t, text), &st, &d) {
			t.Errorf("%q is taken", text)
		}
		if st.Targets != 0 && len(text) > 6 {
			t.Errorf("%q leaves a structure in force", text)
		}
	}
}

func TestRewriteDependency(t *testing.T) {
	var s DependencyStructure
	var d Dependency
	dst := make([]byte, MaxDependency)
	for _, text := range []string{dependencyL1T3, "c30002", "820003", dependencyL3T3Key} {
		b := unhex(t, text)
		if !ParseDependency(b, &s, &d) {
			t.Fatal("it is refused")
		}
		if got := d.Rewrite(dst, b, d.Frame, 0, 0); !bytes.Equal(got, b) {
			t.Errorf("with nothing new it became %x", got)
		}
		was := d
		out := slices.Clone(d.Rewrite(dst, b, 0xABCD, 0b010, s.Targets))
		st := s
		if !ParseDependency(out, &st, &d) || st.Active != 0b010 || d.Frame != 0xABCD {
			t.Fatalf("%s became %x: %+v", text, out, d)
		}
		if d.Present != was.Present || d.Switch != was.Switch || d.Spatial != was.Spatial || d.Temporal != was.Temporal || d.Attached != was.Attached || st.Width != s.Width {
			t.Errorf("%s became %x: %+v, was %+v", text, out, d, was)
		}
		// A mask that is there is replaced.
		again := d.Rewrite(dst, out, 0xABCE, 0b001, s.Targets)
		if !ParseDependency(again, &st, &d) || st.Active != 0b001 || len(again) != len(out) {
			t.Errorf("%x became %x", out, again)
		}
	}
	b := unhex(t, dependencyL3T3Key)
	if n := testing.AllocsPerRun(100, func() {
		ParseDependency(b, &s, &d)
		d.Rewrite(dst, b, 7, 1, s.Targets)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDependency reads hostile descriptors, one after the other as on a stream, and
// rewrites those that can be read.
func FuzzDependency(f *testing.F) {
	for _, text := range []string{dependencyL1T3, dependencyL2T2, dependencyL3T3Key} {
		f.Add(unhex(f, text), unhex(f, "c30002"), uint32(1))
	}
	f.Add(unhex(f, dependencyL1T3), unhex(f, "c3000268ffff"), uint32(3))
	f.Fuzz(func(t *testing.T, first, second []byte, mask uint32) {
		var s DependencyStructure
		var dst [MaxDependency]byte
		for _, b := range [][]byte{first, second, first[:min(len(first), 3)]} {
			if len(b) > 255 {
				return
			}
			var d, again Dependency
			if !ParseDependency(b, &s, &d) {
				continue
			}
			if d.Spatial >= MaxSpatial || d.Temporal >= MaxTemporal || s.Targets > MaxDecodeTargets || d.Switch&^d.Present != 0 {
				t.Fatalf("%x: %+v", b, d)
			}
			if target := s.Target(1, 1); target != 0 && target >= s.Targets {
				t.Fatalf("target %d of %d", target, s.Targets)
			}
			mask &= 1<<s.Targets - 1
			out := d.Rewrite(dst[:], b, d.Frame+1, mask, s.Targets)
			st := s
			if !ParseDependency(slices.Clone(out), &st, &again) {
				t.Fatalf("%x became %x, which cannot be read", b, out)
			}
			if len(out) > len(b)+5 || again.Frame != d.Frame+1 || again.Known != d.Known || again.Present != d.Present || again.Switch != d.Switch {
				t.Fatalf("%x became %x: %+v, was %+v", b, out, again, d)
			}
		}
	})
}
