package meeting

import "strings"

// Quotas is how much one account may use at a time. Where 0 stands for no limit
// it says so; the other quotas have a least value of 1.
type Quotas struct {
	// Requests for one operation of the API in a second, and how many may come at
	// once (a token bucket). A rate of 0: no limit.
	RequestRate, RequestBurst int
	// Meetings at a time, replicas included. 0: no limit.
	ActiveMeetings int
	// Attendees of one meeting, joined or not.
	Attendees int
	// Cameras that are on in one meeting, content shares not counted.
	Videos int
	// Content shares in one meeting.
	ContentShares int
	// Replicas of one primary meeting.
	Replicas int
	// Data messages of one client in a second, and how many may come at once.
	// What is more comes back to its sender as throttled; a client that sends
	// HardDataMessages is cut. A rate of 0: no limit.
	DataMessageRate, DataMessageBurst int
}

// DefaultQuotas is what AWS gives a new account.
var DefaultQuotas = Quotas{
	RequestRate: 10, RequestBurst: 20,
	ActiveMeetings: 250, Attendees: maxAttendees, Videos: 25, ContentShares: 2, Replicas: 4,
	DataMessageRate: 100, DataMessageBurst: 200,
}

// HardDataMessages is the rate and burst above which a client is cut: AWS's
// 500 a second and 10 000 at once, in proportion to the rate and burst.
func (q Quotas) HardDataMessages() (rate, burst int) {
	return 5 * q.DataMessageRate, 50 * q.DataMessageBurst
}

// Quota is one of the Quotas, under the name that settings and the command line
// have for it.
type Quota struct {
	Name        string
	Least, Most int
	About       string
	value       func(*Quotas) *int
}

// Of returns the quota's value in q.
func (k Quota) Of(q Quotas) int { return *k.value(&q) }

// Unlimited tells whether a value stands for no limit.
func (k Quota) Unlimited(value int) bool { return k.Least == 0 && value == 0 }

// Check refuses a value that is out of bounds, as CodeBadRequest.
func (k Quota) Check(value int) error {
	switch {
	case value >= k.Least && value <= k.Most:
		return nil
	case k.Least == 0:
		return Errorf(CodeBadRequest, "%s: %d is not between 1 and %d, or 0 for no limit", k.Name, value, k.Most)
	}
	return Errorf(CodeBadRequest, "%s: %d is not between %d and %d", k.Name, value, k.Least, k.Most)
}

// AllQuotas lists the quotas in the order in which they are shown.
var AllQuotas = []Quota{
	{quotaRequestRate, 0, 100_000, "requests a second for one operation of the API", func(q *Quotas) *int { return &q.RequestRate }},
	{"request_burst", 1, 1_000_000, "requests for one operation at once", func(q *Quotas) *int { return &q.RequestBurst }},
	{quotaMeetings, 0, 10_000_000, "meetings at a time", func(q *Quotas) *int { return &q.ActiveMeetings }},
	{quotaAttendees, 1, maxAttendees, "attendees of one meeting", func(q *Quotas) *int { return &q.Attendees }},
	{"max_videos", 1, 250, "cameras that are on in one meeting", func(q *Quotas) *int { return &q.Videos }},
	{"max_content_shares", 1, 250, "content shares in one meeting", func(q *Quotas) *int { return &q.ContentShares }},
	{quotaReplicas, 1, 40, "replicas of one primary meeting", func(q *Quotas) *int { return &q.Replicas }},
	{"data_message_rate", 0, 10_000, "data messages of one client a second", func(q *Quotas) *int { return &q.DataMessageRate }},
	{"data_message_burst", 1, 100_000, "data messages of one client at once", func(q *Quotas) *int { return &q.DataMessageBurst }},
}

// The quotas that a refusal names.
const (
	quotaRequestRate = "request_rate"
	quotaMeetings    = "active_meetings"
	quotaAttendees   = "max_attendees"
	quotaReplicas    = "max_replicas"
)

// FindQuota looks a quota up; CodeBadRequest lists those there are.
func FindQuota(name string) (Quota, error) {
	names := make([]string, len(AllQuotas))
	for i, k := range AllQuotas {
		if k.Name == name {
			return k, nil
		}
		names[i] = k.Name
	}
	return Quota{}, Errorf(CodeBadRequest, "%q is not a quota: there are %s", name, strings.Join(names, ", "))
}

// Check refuses quotas of which one is out of bounds.
func (q Quotas) Check() error {
	for _, k := range AllQuotas {
		if err := k.Check(k.Of(q)); err != nil {
			return err
		}
	}
	return nil
}

// withDefaults gives those that cannot be 0 their default.
func (q Quotas) withDefaults() Quotas {
	for _, k := range AllQuotas {
		if k.Check(k.Of(q)) != nil {
			*k.value(&q) = k.Of(DefaultQuotas)
		}
	}
	return q
}

// with returns q with those values that are of a quota and within its bounds.
func (q Quotas) with(own map[string]int) Quotas {
	for _, k := range AllQuotas {
		if v, ok := own[k.Name]; ok && k.Check(v) == nil {
			*k.value(&q) = v
		}
	}
	return q
}

// Throttled is the refusal of a request that comes too fast.
func (q Quotas) Throttled(account, operation string) *Error {
	return Errorf(CodeThrottled, "Rate exceeded: %s is limited to %d requests a second, %d at once. Try again with backoff. %s",
		operation, q.RequestRate, q.RequestBurst, raise(account, quotaRequestRate))
}

// raise says how a quota is changed. Who reads it may not be who can.
func raise(account, quota string) string {
	return "The operator can raise the quota: belfry accounts set " + account + " " + quota + "=NUMBER"
}
