package rtp

import "encoding/binary"

// The dependency descriptor (AV1 RTP specification, appendix A) tells of each
// packet which frame it is of, and for whom that frame matters: for each decode
// target, which is one spatial and temporal quality, whether it needs the frame.

// The bounds of a structure.
const (
	MaxDecodeTargets = 32
	maxTemplates     = 64
)

// How a decode target needs a frame (A.8.3).
const (
	dtiNotPresent = 0
	dtiSwitch     = 2
)

// DependencyStructure is what a key frame says of the frames to come: templates,
// which later packets name, and the decode targets. The zero value knows none.
type DependencyStructure struct {
	// Targets is the number of decode targets, 0 while there is no structure.
	Targets uint8
	// Each target's layer, and the size of each spatial layer, 0 when not told.
	TargetSpatial, TargetTemporal [MaxDecodeTargets]uint8
	Width, Height                 [MaxSpatial]uint32
	// Within has, for each target, a bit for each target whose frames it has all of:
	// going on to one of those is possible at any frame.
	Within [MaxDecodeTargets]uint32
	// Apart says that the highest quality does without frames of lower spatial layers,
	// which are for lower targets alone (scalability modes with _KEY, and S).
	Apart bool
	// Active is the mask of the targets that the sender goes on with.
	Active uint32

	offset    uint8 // id of the first template
	count     uint8
	chains    uint8
	templates [maxTemplates]template
}

type template struct {
	spatial, temporal  uint8
	present, switching uint32 // a bit for each decode target
}

// Dependency is the descriptor of one packet.
type Dependency struct {
	Start, End bool   // of the frame
	Frame      uint16 // its number
	// Attached says that a structure comes with the packet.
	Attached bool
	// Known says that the frame's template is one of the structure's; what follows
	// is empty when it is not.
	Known             bool
	Spatial, Temporal uint8
	// Present and Switch have a bit for each decode target: whether it needs the
	// frame, and whether who had another one can go on to it here.
	Present, Switch uint32
	// Targets, Active and Apart are those of the structure in force.
	Targets uint8
	Active  uint32
	Apart   bool

	hasActive bool   // a mask of active decode targets comes with it
	activeAt  uint16 // in bits: where that mask is, or would be
}

// ParseDependency reads a descriptor. s is the structure in force, which one that
// is attached replaces. It reports false for what is no descriptor; a structure
// that cannot be read leaves s with no target.
func ParseDependency(b []byte, s *DependencyStructure, d *Dependency) bool {
	*d = Dependency{}
	if len(b) < 3 {
		return false
	}
	d.Start, d.End = b[0]&0x80 != 0, b[0]&0x40 != 0
	d.Frame = binary.BigEndian.Uint16(b[1:])
	id := b[0] & 0x3F
	r := bitReader{b: b, plain: true, pos: 3}
	var customTargets bool
	if len(b) > 3 {
		flags := r.u(5)
		d.Attached = flags&0x10 != 0
		d.hasActive = flags&0x08 != 0
		customTargets = flags&0x04 != 0
		if d.Attached && !s.read(&r) {
			*s = DependencyStructure{}
			*d = Dependency{}
			return false
		}
		d.activeAt = uint16(8*r.pos + r.bit)
		if d.hasActive {
			if active := r.u(int(s.Targets)); !r.bad {
				s.Active = active
			}
		}
	}
	d.Targets, d.Active, d.Apart = s.Targets, s.Active, s.Apart
	i := (id + maxTemplates - s.offset) % maxTemplates
	if i >= s.count || r.bad {
		return !r.bad
	}
	t := &s.templates[i]
	d.Known, d.Spatial, d.Temporal, d.Present, d.Switch = true, t.spatial, t.temporal, t.present, t.switching
	if customTargets {
		d.Present, d.Switch = r.targets(int(s.Targets))
	}
	return !r.bad
}

// targets reads one indication for each decode target.
func (r *bitReader) targets(n int) (present, switching uint32) {
	for i := range n {
		switch r.u(2) {
		case dtiNotPresent:
		case dtiSwitch:
			switching |= 1 << i
			fallthrough
		default:
			present |= 1 << i
		}
	}
	return present, switching
}

// read takes a structure.
func (s *DependencyStructure) read(r *bitReader) bool {
	*s = DependencyStructure{offset: uint8(r.u(6)), Targets: uint8(r.u(5)) + 1}
	n := int(s.Targets)
	s.Active = 1<<n - 1
	var spatial, temporal uint8
	for more := true; more; {
		if s.count == maxTemplates || r.bad {
			return false
		}
		t := &s.templates[s.count]
		t.spatial, t.temporal = min(spatial, MaxSpatial-1), min(temporal, MaxTemporal-1)
		s.count++
		switch r.u(2) {
		case 1:
			temporal++
		case 2:
			temporal = 0
			spatial++
		case 3:
			more = false
		}
		if spatial > 3 || temporal > 7 {
			return false
		}
	}
	templates := s.templates[:s.count]
	for i := range templates {
		t := &templates[i]
		t.present, t.switching = r.targets(n)
		for d := range n {
			if t.present&(1<<d) != 0 {
				s.TargetSpatial[d] = max(s.TargetSpatial[d], t.spatial)
				s.TargetTemporal[d] = max(s.TargetTemporal[d], t.temporal)
			}
		}
	}
	for range templates {
		for r.u(1) == 1 { // frame differences
			r.u(4)
			if r.bad {
				return false
			}
		}
	}
	if s.chains = uint8(r.nonSymmetric(uint32(n) + 1)); s.chains > 0 {
		for range n {
			r.nonSymmetric(uint32(s.chains))
		}
		for range templates {
			for range s.chains {
				r.u(4)
			}
		}
	}
	if r.u(1) == 1 { // sizes
		for i := range int(spatial) + 1 {
			s.Width[i], s.Height[i] = r.u(16)+1, r.u(16)+1
		}
	}
	for have := range n {
		for d := range n {
			within := true
			for i := range templates {
				p := templates[i].present
				within = within && (p&(1<<d) == 0 || p&(1<<have) != 0)
			}
			if within {
				s.Within[have] |= 1 << d
			}
		}
	}
	top := s.best(MaxSpatial, MaxTemporal, s.Active)
	for i := range templates {
		s.Apart = s.Apart || templates[i].present&(1<<top) == 0
	}
	return !r.bad
}

// nonSymmetric reads a value below n (AV1 specification 4.10.7).
func (r *bitReader) nonSymmetric(n uint32) uint32 {
	w := 0
	for x := n; x != 0; x >>= 1 {
		w++
	}
	m := uint32(1)<<w - n
	v := r.u(w - 1)
	if v < m {
		return v
	}
	return v<<1 - m + r.u(1)
}

// Target is the decode target of the highest quality that does not exceed the
// layers, or the lowest there is. One that the sender has switched off is it only
// where it has all frames of what comes instead.
func (s *DependencyStructure) Target(spatial, temporal uint8) uint8 {
	all := s.best(spatial, temporal, 1<<s.Targets-1)
	if active := s.best(spatial, temporal, s.Active); s.Within[all]>>active&1 == 0 {
		return active
	}
	return all
}

// best is Target among those of a mask, or of all when that is empty.
func (s *DependencyStructure) best(spatial, temporal uint8, mask uint32) (target uint8) {
	if mask &= 1<<s.Targets - 1; mask == 0 {
		mask = 1<<s.Targets - 1
	}
	best := -1
	for d := range int(s.Targets) {
		if mask>>d&1 == 0 {
			continue
		}
		ds, dt := s.TargetSpatial[d], s.TargetTemporal[d]
		rank := int(ds)*MaxTemporal + int(dt)
		if ds > spatial || dt > temporal {
			rank = -2 - rank // not wanted; if need be, the lowest of them
		}
		if best == -1 || rank > best && (rank >= 0 || best < 0) {
			best, target = rank, uint8(d)
		}
	}
	return target
}

// Needs reports, of the frames of a layer, whether the decode target needs all of
// them: with key frame dependencies it needs the lower layers' key frames alone.
func (s *DependencyStructure) Needs(target, spatial, temporal uint8) bool {
	needs := false
	for i := range s.templates[:s.count] {
		t := &s.templates[i]
		if t.spatial != spatial || t.temporal != temporal {
			continue
		}
		if t.present&(1<<target) == 0 {
			return false
		}
		needs = true
	}
	return needs
}

// Layers is how many spatial and temporal layers there are.
func (s *DependencyStructure) Layers() (spatial, temporal uint8) {
	for i := range s.templates[:s.count] {
		spatial = max(spatial, s.templates[i].spatial+1)
		temporal = max(temporal, s.templates[i].temporal+1)
	}
	return spatial, temporal
}

// AttachesStructure tells whether a descriptor has a structure with it.
func AttachesStructure(b []byte) bool { return len(b) > 3 && b[3]&0x80 != 0 }

// MaxDependency is room enough for any descriptor that Rewrite makes of one that a
// header extension can carry.
const MaxDependency = 255

// Rewrite copies the descriptor b, which d was parsed from, into dst with another
// frame number and, when targets is not 0, with a mask of so many active decode
// targets. Where that would be too long, the descriptor keeps the mask it had.
func (d *Dependency) Rewrite(dst, b []byte, frame uint16, active uint32, targets uint8) []byte {
	if targets == 0 || len(b)+1+int(targets+7)/8 > min(MaxDependency, len(dst)) {
		dst = dst[:copy(dst, b)]
		binary.BigEndian.PutUint16(dst[1:], frame)
		return dst
	}
	active &= 1<<targets - 1
	w := bitWriter{b: dst[:0]}
	w.put(uint32(b[0]), 8)
	w.put(uint32(frame), 16)
	if len(b) == 3 {
		w.put(hasActive, 5)
		w.put(active, int(targets))
		return w.bytes()
	}
	w.put(uint32(b[3]>>3)|hasActive, 5)
	w.copyBits(b, 29, int(d.activeAt))
	w.put(active, int(targets))
	rest := int(d.activeAt)
	if d.hasActive {
		rest += int(targets)
	}
	w.copyBits(b, rest, 8*len(b))
	return w.bytes()
}

// hasActive is the flag, among five, of a descriptor with a mask.
const hasActive = 0x08

// bitWriter writes bits, highest first.
type bitWriter struct {
	b    []byte
	acc  uint64
	held int // bits in acc
}

func (w *bitWriter) put(v uint32, n int) {
	w.acc = w.acc<<n | uint64(v)
	for w.held += n; w.held >= 8; {
		w.held -= 8
		w.b = append(w.b, byte(w.acc>>w.held))
	}
}

// copyBits writes the bits of src from one place to another.
func (w *bitWriter) copyBits(src []byte, from, to int) {
	for from < to {
		n := min(8-from%8, to-from)
		w.put(uint32(src[from/8])>>(8-from%8-n)&(1<<n-1), n)
		from += n
	}
}

// bytes fills the last byte with zeros.
func (w *bitWriter) bytes() []byte {
	if w.held > 0 {
		w.put(0, 8-w.held)
	}
	return w.b
}
