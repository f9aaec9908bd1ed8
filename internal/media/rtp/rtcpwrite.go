package rtp

import "encoding/binary"

// The functions here append one RTCP packet to dst; several in a row make a
// compound packet, whose first must be a report (RFC 3550 6.1) unless
// reduced-size RTCP was negotiated (RFC 5506).

func appendRTCPHeader(dst []byte, format, kind uint8, bodyLen int) []byte {
	words := bodyLen / 4
	return append(dst, 2<<6|format&0x1F, kind, byte(words>>8), byte(words))
}

func appendReports(dst []byte, reports []ReportBlock) []byte {
	for i := range reports {
		r := &reports[i]
		dst = binary.BigEndian.AppendUint32(dst, r.SSRC)
		dst = binary.BigEndian.AppendUint32(dst, uint32(r.FractionLost)<<24|uint32(r.TotalLost)&0xFFFFFF)
		dst = binary.BigEndian.AppendUint32(dst, r.HighestSeq)
		dst = binary.BigEndian.AppendUint32(dst, r.Jitter)
		dst = binary.BigEndian.AppendUint32(dst, r.LastSR)
		dst = binary.BigEndian.AppendUint32(dst, r.Delay)
	}
	return dst
}

// AppendSR appends a sender report with at most 31 report blocks.
func AppendSR(dst []byte, ssrc uint32, s SenderInfo, reports ...ReportBlock) []byte {
	reports = reports[:min(len(reports), 31)]
	dst = appendRTCPHeader(dst, uint8(len(reports)), TypeSR, 4+senderInfoSize+reportBlockSize*len(reports))
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = binary.BigEndian.AppendUint64(dst, s.NTP)
	dst = binary.BigEndian.AppendUint32(dst, s.Timestamp)
	dst = binary.BigEndian.AppendUint32(dst, s.Packets)
	dst = binary.BigEndian.AppendUint32(dst, s.Bytes)
	return appendReports(dst, reports)
}

// AppendRR appends a receiver report with at most 31 report blocks.
func AppendRR(dst []byte, ssrc uint32, reports ...ReportBlock) []byte {
	reports = reports[:min(len(reports), 31)]
	dst = appendRTCPHeader(dst, uint8(len(reports)), TypeRR, 4+reportBlockSize*len(reports))
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	return appendReports(dst, reports)
}

// AppendSDES appends a source description with a CNAME of at most 255 bytes.
func AppendSDES(dst []byte, ssrc uint32, cname string) []byte {
	cname = cname[:min(len(cname), 255)]
	// The chunk ends with at least one null and fills its last word.
	chunk := (4 + 2 + len(cname) + 1 + 3) &^ 3
	dst = appendRTCPHeader(dst, 1, TypeSDES, chunk)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = append(dst, 1, byte(len(cname)))
	dst = append(dst, cname...)
	for i := 4 + 2 + len(cname); i < chunk; i++ {
		dst = append(dst, 0)
	}
	return dst
}

// AppendBYE appends a BYE of one source, without a reason.
func AppendBYE(dst []byte, ssrc uint32) []byte {
	dst = appendRTCPHeader(dst, 1, TypeBYE, 4)
	return binary.BigEndian.AppendUint32(dst, ssrc)
}

// AppendNACK appends a generic NACK for these numbers, which should be in
// rising order so that neighbours share an entry. At most 250 entries are used;
// no numbers append nothing.
func AppendNACK(dst []byte, sender, media uint32, seqs []uint16) []byte {
	if len(seqs) == 0 {
		return dst
	}
	start := len(dst)
	dst = appendRTCPHeader(dst, FormatNACK, TypeRTPFB, 0)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	dst = binary.BigEndian.AppendUint32(dst, media)
	for n := 0; len(seqs) > 0 && n < 250; n++ {
		pid, mask := seqs[0], uint16(0)
		i := 1
		for ; i < len(seqs); i++ {
			d := seqs[i] - pid - 1
			if d > 15 {
				break
			}
			mask |= 1 << d
		}
		dst = binary.BigEndian.AppendUint16(dst, pid)
		dst = binary.BigEndian.AppendUint16(dst, mask)
		seqs = seqs[i:]
	}
	setRTCPLength(dst, start)
	return dst
}

// AppendPLI appends a picture loss indication.
func AppendPLI(dst []byte, sender, media uint32) []byte {
	dst = appendRTCPHeader(dst, FormatPLI, TypePSFB, 8)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	return binary.BigEndian.AppendUint32(dst, media)
}

// AppendFIR appends a full intra request; command grows with each new one.
func AppendFIR(dst []byte, sender, media uint32, command uint8) []byte {
	dst = appendRTCPHeader(dst, FormatFIR, TypePSFB, 16)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, media)
	return append(dst, command, 0, 0, 0)
}

// AppendREMB appends an estimate in bit/s for these streams together.
func AppendREMB(dst []byte, sender uint32, bps uint64, ssrcs ...uint32) []byte {
	ssrcs = ssrcs[:min(len(ssrcs), 255)]
	exp := 0
	for bps>>exp > 0x3FFFF {
		exp++
	}
	mantissa := bps >> exp
	dst = appendRTCPHeader(dst, FormatAFB, TypePSFB, 16+4*len(ssrcs))
	dst = binary.BigEndian.AppendUint32(dst, sender)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = append(dst, "REMB"...)
	dst = append(dst, byte(len(ssrcs)), byte(exp)<<2|byte(mantissa>>16), byte(mantissa>>8), byte(mantissa))
	for _, s := range ssrcs {
		dst = binary.BigEndian.AppendUint32(dst, s)
	}
	return dst
}

// setRTCPLength writes the length of the packet that begins at start and ends
// with dst, which must be whole words.
func setRTCPLength(dst []byte, start int) {
	binary.BigEndian.PutUint16(dst[start+2:], uint16((len(dst)-start)/4-1))
}

// NTP is the 32.32 form, since 1900, of a Unix time in ns.
func NTP(unixNano int64) uint64 {
	sec := uint64(unixNano/1e9) + 2208988800
	frac := uint64(unixNano%1e9) << 32 / 1e9
	return sec<<32 | frac
}

// UnixNano is the Unix time in ns of a 32.32 NTP time of this era.
func UnixNano(ntp uint64) int64 {
	sec := int64(ntp>>32) - 2208988800
	return sec*1e9 + int64((ntp&0xFFFFFFFF)*1e9>>32)
}
