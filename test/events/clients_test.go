package events

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"
	"github.com/aws/smithy-go"
)

// client is an application that makes and deletes meetings, and does not mind
// that the server is killed: it goes on with the next one.
type client struct {
	name   int
	p      *process
	l      *ledger
	notify *types.NotificationsConfiguration
	random *rand.Rand
	http   *http.Client
	serial int
}

func newClient(t *testing.T, name int, seed uint64, p *process, l *ledger, to *types.NotificationsConfiguration) *client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{name: name, p: p, l: l, notify: to, random: rand.New(rand.NewPCG(seed, uint64(name))),
		http: &http.Client{Transport: transport, Timeout: time.Minute}}
}

// run works until the process is finished.
func (c *client) run() {
	for c.oneRoom() {
	}
}

var errOver = errors.New("no server any more")

// ask does one call and tells its fate. A refusal is an answer; no answer, or
// one that the server does not know itself, is none.
func (c *client) ask(call func(*meetings.Client, context.Context) error) (fate, error) {
	url, ok := c.p.endpoint()
	if !ok {
		return never, errOver
	}
	time.Sleep(time.Duration(c.random.IntN(20)) * time.Millisecond) // the emulator is slower than the store
	sdk := meetings.New(meetings.Options{BaseEndpoint: &url, Region: region, HTTPClient: c.http, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	err := call(sdk, context.Background())
	var refusal smithy.APIError
	switch {
	case err == nil:
		c.l.count(&c.l.acknowledged)
		return certain, nil
	case errors.As(err, &refusal) && refusal.ErrorFault() == smithy.FaultClient:
		c.l.count(&c.l.refused)
		return never, nil
	default:
		c.l.count(&c.l.unanswered)
		return asked, nil
	}
}

// rarely is true now and then.
func (c *client) rarely() bool { return c.random.IntN(4) == 0 }

// oneRoom leads a meeting through its life. When an answer does not come, it
// asks again, as SDKs do, or gives up.
func (c *client) oneRoom() bool {
	c.serial++
	r := c.l.room(fmt.Sprintf("room-%d-%d", c.name, c.serial))
	if !c.create(r) {
		return c.alive()
	}
	for range 3 + c.random.IntN(6) {
		var err error
		switch c.random.IntN(10) {
		case 0, 1, 2:
			err = c.addOne(r)
		case 3, 4:
			err = c.addMany(r)
		case 5, 6:
			err = c.change(r)
		case 7:
			err = c.changeAllButOne(r)
		case 8:
			err = c.remove(r)
		default:
			err = c.beRefused(r)
		}
		if err != nil {
			return false
		}
	}
	if c.random.IntN(3) > 0 {
		return c.end(r)
	}
	return true
}

func (c *client) alive() bool {
	_, ok := c.p.endpoint()
	return ok
}

func (c *client) create(r *room) bool {
	in := &meetings.CreateMeetingInput{ClientRequestToken: &r.token, ExternalMeetingId: &r.token, MediaRegion: aws.String(region), NotificationsConfiguration: c.notify}
	var users []string
	for i := range c.random.IntN(3) {
		users = append(users, fmt.Sprintf("%s/first-%d", r.token, i))
	}
	for {
		var made []types.Attendee
		f, err := c.ask(func(sdk *meetings.Client, ctx context.Context) error {
			if len(users) == 0 {
				out, err := sdk.CreateMeeting(ctx, in)
				if err == nil {
					c.identify(r, out.Meeting)
				}
				return err
			}
			with := &meetings.CreateMeetingWithAttendeesInput{ClientRequestToken: in.ClientRequestToken, ExternalMeetingId: in.ExternalMeetingId,
				MediaRegion: in.MediaRegion, NotificationsConfiguration: in.NotificationsConfiguration}
			for _, user := range users {
				with.Attendees = append(with.Attendees, types.CreateAttendeeRequestItem{ExternalUserId: aws.String(user)})
			}
			out, err := sdk.CreateMeetingWithAttendees(ctx, with)
			if err == nil {
				c.identify(r, out.Meeting)
				made = out.Attendees
			}
			return err
		})
		if err != nil {
			return false
		}
		r.made = max(r.made, f)
		c.arrive(r, f, users, made)
		if f != asked {
			if f == never {
				c.l.say("meeting %s was refused", r.token)
			}
			return f == certain
		}
		if c.rarely() {
			return false
		}
	}
}

func (c *client) identify(r *room, m *types.Meeting) {
	if r.id != "" && r.id != *m.MeetingId {
		c.l.say("meeting %s was answered as %s before", *m.MeetingId, r.id)
	}
	r.id = *m.MeetingId
}

var everything = types.AttendeeCapabilities{Audio: types.MediaCapabilitiesSendReceive, Video: types.MediaCapabilitiesSendReceive, Content: types.MediaCapabilitiesSendReceive}

// arrive notes the fate of users that were to be made in one step.
func (c *client) arrive(r *room, f fate, users []string, made []types.Attendee) {
	if f == certain && len(made) != len(users) {
		c.l.say("of %d attendees %d were made", len(users), len(made))
	}
	for _, user := range users {
		g := r.guests[user]
		if g == nil {
			g = &guest{user: user, capabilities: []types.AttendeeCapabilities{everything}}
			r.guests[user] = g
		}
		g.made = max(g.made, f)
	}
	if f == asked && len(users) > 1 {
		r.batches = append(r.batches, users)
	}
	for _, a := range made {
		g := r.guests[*a.ExternalUserId]
		if g == nil {
			c.l.say("attendee %s was not asked for", *a.AttendeeId)
			continue
		}
		if g.id != "" && g.id != *a.AttendeeId {
			c.l.say("attendee %s was answered as %s before", *a.AttendeeId, g.id)
		}
		g.id, g.token = *a.AttendeeId, *a.JoinToken
	}
}

func (c *client) user(r *room) string {
	c.serial++
	return fmt.Sprintf("%s/%d", r.token, c.serial)
}

func (c *client) addOne(r *room) error {
	user := c.user(r)
	for {
		var made []types.Attendee
		f, err := c.ask(func(sdk *meetings.Client, ctx context.Context) error {
			out, err := sdk.CreateAttendee(ctx, &meetings.CreateAttendeeInput{MeetingId: &r.id, ExternalUserId: &user})
			if err == nil {
				made = []types.Attendee{*out.Attendee}
			}
			return err
		})
		if err != nil {
			return err
		}
		c.arrive(r, f, []string{user}, made)
		if f != asked || c.rarely() {
			return nil
		}
	}
}

func (c *client) addMany(r *room) error {
	var users []string
	in := &meetings.BatchCreateAttendeeInput{MeetingId: &r.id}
	for range 2 + c.random.IntN(8) {
		users = append(users, c.user(r))
		in.Attendees = append(in.Attendees, types.CreateAttendeeRequestItem{ExternalUserId: &users[len(users)-1]})
	}
	for {
		var made []types.Attendee
		f, err := c.ask(func(sdk *meetings.Client, ctx context.Context) error {
			out, err := sdk.BatchCreateAttendee(ctx, in)
			if err == nil {
				made = out.Attendees
			}
			return err
		})
		if err != nil {
			return err
		}
		c.arrive(r, f, users, made)
		if f != asked || c.rarely() {
			return nil
		}
	}
}

// anyone picks one who is surely there.
func (c *client) anyone(r *room) *guest {
	var there []*guest
	for _, g := range r.guests {
		if g.made == certain && g.deleted == never {
			there = append(there, g)
		}
	}
	if len(there) == 0 {
		return nil
	}
	return there[c.random.IntN(len(there))]
}

func (c *client) capabilities() types.AttendeeCapabilities {
	all := types.MediaCapabilitiesSendReceive.Values()
	return types.AttendeeCapabilities{Audio: all[c.random.IntN(len(all))], Video: all[c.random.IntN(len(all))], Content: all[c.random.IntN(len(all))]}
}

// become notes the fate of a change to the capabilities of one.
func (g *guest) become(f fate, to types.AttendeeCapabilities) {
	known := len(g.capabilities) == 1
	switch {
	case f == certain && known && g.capabilities[0] == to: // nothing changed
	case f == certain && known:
		g.changes++
		g.capabilities = []types.AttendeeCapabilities{to}
	case f == certain:
		g.tries++
		g.capabilities = []types.AttendeeCapabilities{to}
	case f == asked:
		g.tries++
		g.capabilities = append(g.capabilities, to)
	}
}

func (c *client) change(r *room) error {
	g := c.anyone(r)
	if g == nil {
		return nil
	}
	to := c.capabilities()
	f, err := c.ask(func(sdk *meetings.Client, ctx context.Context) error {
		_, err := sdk.UpdateAttendeeCapabilities(ctx, &meetings.UpdateAttendeeCapabilitiesInput{MeetingId: &r.id, AttendeeId: &g.id, Capabilities: &to})
		return err
	})
	if err == nil {
		g.become(f, to)
	}
	return err
}

func (c *client) changeAllButOne(r *room) error {
	g := c.anyone(r)
	if g == nil {
		return nil
	}
	to := c.capabilities()
	f, err := c.ask(func(sdk *meetings.Client, ctx context.Context) error {
		_, err := sdk.BatchUpdateAttendeeCapabilitiesExcept(ctx, &meetings.BatchUpdateAttendeeCapabilitiesExceptInput{MeetingId: &r.id,
			ExcludedAttendeeIds: []types.AttendeeIdItem{{AttendeeId: &g.id}}, Capabilities: &to})
		return err
	})
	if err != nil {
		return err
	}
	for _, other := range r.guests {
		switch {
		case other == g || other.made == never || other.deleted == certain:
		case f == certain && (other.made == asked || other.deleted == asked): // it changed if it was there
			other.become(asked, to)
		default:
			other.become(f, to)
		}
	}
	return nil
}

func (c *client) remove(r *room) error {
	g := c.anyone(r)
	if g == nil {
		return nil
	}
	for {
		f, err := c.ask(func(sdk *meetings.Client, ctx context.Context) error {
			_, err := sdk.DeleteAttendee(ctx, &meetings.DeleteAttendeeInput{MeetingId: &r.id, AttendeeId: &g.id})
			return err
		})
		if err != nil {
			return err
		}
		if f == never && g.deleted == asked {
			f = certain // not there any more: the try before did it
		}
		if f == never {
			c.l.say("the deletion of attendee %s was refused", g.id)
		}
		g.deleted = max(g.deleted, f)
		if f != asked || c.rarely() {
			return nil
		}
	}
}

// beRefused asks for what must not be done.
func (c *client) beRefused(r *room) error {
	user, elsewhere := c.user(r), "00000000-0000-4000-8000-000000000000"
	f, err := c.ask(func(sdk *meetings.Client, ctx context.Context) error {
		in := &meetings.CreateAttendeeInput{MeetingId: &r.id, ExternalUserId: &user, Capabilities: &types.AttendeeCapabilities{Audio: "Shout", Video: "None", Content: "None"}}
		if c.rarely() {
			in.MeetingId, in.Capabilities = &elsewhere, nil
		}
		_, err := sdk.CreateAttendee(ctx, in)
		return err
	})
	if err == nil && f == certain {
		c.l.say("attendee %s was made", user)
	}
	return err
}

func (c *client) end(r *room) bool {
	for {
		f, err := c.ask(func(sdk *meetings.Client, ctx context.Context) error {
			_, err := sdk.DeleteMeeting(ctx, &meetings.DeleteMeetingInput{MeetingId: &r.id})
			return err
		})
		if err != nil {
			return false
		}
		r.deleted = max(r.deleted, f)
		if f == never {
			c.l.say("the deletion of meeting %s was refused", r.id)
		}
		if f != asked || c.rarely() {
			return true
		}
	}
}
