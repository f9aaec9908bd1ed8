package meeting

// The most attendees of one meeting (AttendeeMax; the lower one with FHD video or
// UHD content) and of one request.
const (
	maxAttendees           = 250
	maxAttendeesHighRes    = 25
	maxAttendeesPerBatch   = 100
	maxAttendeesAtCreation = 20
)

// validate holds the features to what MeetingFeaturesConfiguration allows.
func (f *Features) validate() error {
	if f == nil {
		return nil
	}
	if !oneOf(f.AudioEchoReduction, "", "AVAILABLE", "UNAVAILABLE") {
		return Errorf(CodeBadRequest, "MeetingFeatures.Audio.EchoReduction must be AVAILABLE or UNAVAILABLE")
	}
	if !oneOf(f.VideoMaxResolution, "", "None", "HD", "FHD") {
		return Errorf(CodeBadRequest, "MeetingFeatures.Video.MaxResolution must be None, HD or FHD")
	}
	if !oneOf(f.ContentMaxResolution, "", "None", "FHD", "UHD") {
		return Errorf(CodeBadRequest, "MeetingFeatures.Content.MaxResolution must be None, FHD or UHD")
	}
	if f.AttendeeMaxCount < 0 || f.AttendeeMaxCount > maxAttendees {
		return Errorf(CodeBadRequest, "MeetingFeatures.Attendee.MaxCount must be between 1 and %d", maxAttendees)
	}
	if !f.highResolution() {
		return nil
	}
	if n := f.AttendeeMaxCount; n == 0 || n > maxAttendeesHighRes {
		return Errorf(CodeBadRequest, "MeetingFeatures.Attendee.MaxCount must be given, and be %d or less, with Video FHD or Content UHD",
			maxAttendeesHighRes)
	}
	return nil
}

func (f *Features) highResolution() bool {
	return f.VideoMaxResolution == "FHD" || f.ContentMaxResolution == "UHD"
}

// Resolution is how large a picture may be in pixels, whichever way it is
// turned. The zero value allows none.
type Resolution struct{ Long, Short uint32 }

// The resolutions that MeetingFeatures name.
var (
	HD  = Resolution{1280, 720}
	FHD = Resolution{1920, 1080}
	UHD = Resolution{3840, 2160}
)

// Fits reports whether a coded picture is no larger. Encoders fill whole
// macroblocks, so that 1080 lines may be coded as 1088.
func (r Resolution) Fits(width, height uint32) bool {
	const macroblock = 16
	up := func(n uint32) uint32 { return (n + macroblock - 1) / macroblock * macroblock }
	return max(width, height) <= up(r.Long) && min(width, height) <= up(r.Short)
}

// MaxVideo is the largest picture of a camera, HD where nothing was said; f may
// be nil.
func (f *Features) MaxVideo() Resolution {
	if f == nil {
		return HD
	}
	switch f.VideoMaxResolution {
	case "None":
		return Resolution{}
	case "FHD":
		return FHD
	}
	return HD
}

// MaxContent is the largest picture of a content share, FHD where nothing was
// said; f may be nil.
func (f *Features) MaxContent() Resolution {
	if f == nil {
		return FHD
	}
	switch f.ContentMaxResolution {
	case "None":
		return Resolution{}
	case "UHD":
		return UHD
	}
	return FHD
}

func oneOf(v string, set ...string) bool {
	for _, s := range set {
		if v == s {
			return true
		}
	}
	return false
}

// mayAdd refuses one more attendee than m may have: by its own MaxCount, or by
// the quota of its account.
func (s *Service) mayAdd(r Reader, m *Meeting) error {
	count, quota := r.AttendeeCount(m.ID), s.quotasOf(r, m.Account).Attendees
	if m.Features != nil && m.Features.AttendeeMaxCount > 0 && m.Features.AttendeeMaxCount <= quota {
		if most := m.Features.AttendeeMaxCount; count >= most {
			return Errorf(CodeLimitExceeded, "Meeting <%s> has its %d attendees already (MeetingFeatures.Attendee.MaxCount)", m.ID, most)
		}
		return nil
	}
	if count < quota {
		return nil
	}
	if quota == maxAttendees {
		return Errorf(CodeLimitExceeded, "Meeting <%s> has its %d attendees already, and no meeting has more", m.ID, quota)
	}
	return Errorf(CodeLimitExceeded, "Meeting <%s> has its %d attendees already (quota %s). %s",
		m.ID, quota, quotaAttendees, raise(m.Account, quotaAttendees))
}

// capabilitiesFor is what a new attendee of m gets that asked for c, nil when it
// left the choice to the meeting.
func capabilitiesFor(m *Meeting, c *Capabilities) (Capabilities, error) {
	video, content := true, true
	if m.Features != nil {
		video, content = m.Features.VideoMaxResolution != "None", m.Features.ContentMaxResolution != "None"
	}
	if c == nil {
		d := DefaultCapabilities
		switch {
		case !video && !content:
			d.Video, d.Content = NoMedia, NoMedia
		case !video:
			d.Video = Receive // as documented, although nobody may ask for it
		case !content:
			d.Content = NoMedia
		}
		return d, nil
	}
	if err := c.validate(); err != nil {
		return Capabilities{}, err
	}
	if !video && c.Video != NoMedia {
		return Capabilities{}, Errorf(CodeBadRequest, "Capabilities.Video must be None: the meeting has no video")
	}
	if !content && c.Content != NoMedia {
		return Capabilities{}, Errorf(CodeBadRequest, "Capabilities.Content must be None: the meeting has no content sharing")
	}
	return *c, nil
}

// validate holds capabilities to the rules that need no meeting.
func (c *Capabilities) validate() error {
	for _, m := range []struct {
		name  string
		value Capability
	}{{"Audio", c.Audio}, {"Video", c.Video}, {"Content", c.Content}} {
		switch m.value {
		case SendReceive, Send, Receive, NoMedia:
		default:
			return Errorf(CodeBadRequest, "Capabilities.%s must be SendReceive, Send, Receive or None", m.name)
		}
	}
	if c.Content.CanReceive() && !c.Video.CanReceive() {
		return Errorf(CodeBadRequest, "Capabilities.Content can receive only when Capabilities.Video is SendReceive or Receive")
	}
	return nil
}
