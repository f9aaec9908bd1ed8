package vp8

// header is what is said of one frame (RFC 6386, section 9).
type header struct {
	key, show bool
	version   int
	rest      []byte // the partitions of coefficients, behind their sizes

	simpleFilter bool
	filterLevel  int32
	sharpness    int32

	quant [4]quantizer // by segment

	refresh   [4]bool // by reference: it becomes this frame
	copyTo    [4]int32
	keepProbs bool

	updateMap    bool
	segmentProbs [3]uint8
	skipCoded    bool
	skipProb     uint8
	intraProb    uint8
	lastProb     uint8
	goldenProb   uint8
}

// probabilities are those that frames change, for good or for themselves.
type probabilities struct {
	coefficients coefficientProbs
	mv           [2][19]uint8
	yModes       [4]uint8
	uvModes      [3]uint8
}

// persistent is what stays in force until it is changed or a key frame comes.
type persistent struct {
	probabilities
	signBias [4]bool

	segmented     bool
	absolute      bool // values of segments replace those of the frame
	segmentQuant  [4]int32
	segmentFilter [4]int32

	deltas    bool // of the filter's level, by reference and mode
	refDelta  [4]int32
	modeDelta [4]int32
}

// quantizer holds the steps of one segment: [0] of DC, [1] of AC.
type quantizer struct{ y, y2, uv [2]int32 }

// readHeader reads the coded header and answers the partitions of coefficients.
func (d *Decoder) readHeader(b *boolDecoder) ([]boolDecoder, error) {
	h, p := &d.head, &d.persist
	if h.key {
		b.literal(2) // colour space and clamping, which change nothing here
		*p = persistent{probabilities: probabilities{
			coefficients: defaultCoefficients, mv: defaultMVs, yModes: defaultYModes, uvModes: defaultUVModes,
		}}
	}
	if p.segmented = b.flag(); p.segmented {
		d.readSegments(b)
	}
	h.simpleFilter = b.flag()
	h.filterLevel = b.literal(6)
	h.sharpness = b.literal(3)
	if p.deltas = b.flag(); p.deltas && b.flag() {
		for _, list := range []*[4]int32{&p.refDelta, &p.modeDelta} {
			for i := range list {
				if b.flag() {
					list[i] = b.signed(6)
				}
			}
		}
	}
	partitions, err := split(h.rest, 1<<b.literal(2))
	if err != nil {
		return nil, err
	}
	d.readQuantizers(b)
	d.readReferences(b)
	if !h.keepProbs {
		d.saved = p.probabilities
	}
	d.readProbabilities(b)
	return partitions, nil
}

func (d *Decoder) readSegments(b *boolDecoder) {
	p := &d.persist
	d.head.updateMap = b.flag()
	if b.flag() {
		p.absolute = b.flag()
		for i := range p.segmentQuant {
			p.segmentQuant[i] = b.optional(7)
		}
		for i := range p.segmentFilter {
			p.segmentFilter[i] = b.optional(6)
		}
	}
	if d.head.updateMap {
		for i := range d.head.segmentProbs {
			d.head.segmentProbs[i] = 255
			if b.flag() {
				d.head.segmentProbs[i] = uint8(b.literal(8))
			}
		}
	}
}

// split cuts the partitions of coefficients (section 9.5).
func split(data []byte, n int) ([]boolDecoder, error) {
	sizes := 3 * (n - 1)
	if len(data) < sizes {
		return nil, ErrCorrupt
	}
	partitions, rest := make([]boolDecoder, n), data[sizes:]
	for i := range n - 1 {
		size := int(data[3*i]) | int(data[3*i+1])<<8 | int(data[3*i+2])<<16
		if size > len(rest) {
			return nil, ErrCorrupt
		}
		partitions[i] = newBoolDecoder(rest[:size])
		rest = rest[size:]
	}
	partitions[n-1] = newBoolDecoder(rest)
	return partitions, nil
}

// readQuantizers reads the indices and looks the steps up (sections 9.6, 14.1).
func (d *Decoder) readQuantizers(b *boolDecoder) {
	base := b.literal(7)
	ydc, y2dc, y2ac, uvdc, uvac := b.optional(4), b.optional(4), b.optional(4), b.optional(4), b.optional(4)
	step := func(table *[128]int32, index int32) int32 { return table[min(max(index, 0), 127)] }
	for i := range d.head.quant {
		q := base
		if d.persist.segmented {
			if q = d.persist.segmentQuant[i]; !d.persist.absolute {
				q += base
			}
			q = min(max(q, 0), 127)
		}
		d.head.quant[i] = quantizer{
			y:  [2]int32{step(&dcSteps, q+ydc), step(&acSteps, q)},
			y2: [2]int32{2 * step(&dcSteps, q+y2dc), max(step(&acSteps, q+y2ac)*155/100, 8)},
			uv: [2]int32{min(step(&dcSteps, q+uvdc), 132), step(&acSteps, q+uvac)},
		}
	}
}

func (d *Decoder) readReferences(b *boolDecoder) {
	h, p := &d.head, &d.persist
	if h.key {
		h.refresh = [4]bool{refLast: true, refGolden: true, refAlt: true}
		h.keepProbs = b.flag()
		return
	}
	h.refresh[refGolden] = b.flag()
	h.refresh[refAlt] = b.flag()
	if !h.refresh[refGolden] {
		h.copyTo[refGolden] = b.literal(2)
	}
	if !h.refresh[refAlt] {
		h.copyTo[refAlt] = b.literal(2)
	}
	p.signBias[refGolden] = b.flag()
	p.signBias[refAlt] = b.flag()
	h.keepProbs = b.flag()
	h.refresh[refLast] = b.flag()
}

func (d *Decoder) readProbabilities(b *boolDecoder) {
	h, p := &d.head, &d.persist
	for i := range p.coefficients {
		for j := range p.coefficients[i] {
			for k := range p.coefficients[i][j] {
				for t := range p.coefficients[i][j][k] {
					if b.bool(coefficientUpdates[i][j][k][t]) {
						p.coefficients[i][j][k][t] = uint8(b.literal(8))
					}
				}
			}
		}
	}
	if h.skipCoded = b.flag(); h.skipCoded {
		h.skipProb = uint8(b.literal(8))
	}
	if h.key {
		return
	}
	h.intraProb = uint8(b.literal(8))
	h.lastProb = uint8(b.literal(8))
	h.goldenProb = uint8(b.literal(8))
	if b.flag() {
		for i := range p.yModes {
			p.yModes[i] = uint8(b.literal(8))
		}
	}
	if b.flag() {
		for i := range p.uvModes {
			p.uvModes[i] = uint8(b.literal(8))
		}
	}
	for i := range p.mv {
		for j := range p.mv[i] {
			if b.bool(mvUpdates[i][j]) {
				if x := uint8(b.literal(7)); x != 0 {
					p.mv[i][j] = x << 1
				} else {
					p.mv[i][j] = 1
				}
			}
		}
	}
}
