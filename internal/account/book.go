package account

import (
	"context"
	"slices"
	"strings"
	"time"

	"belfry/internal/meeting"
)

// Book is the Keyring of a server. It holds the keys that it was given, and those
// in the store, which all nodes on one store share: a change is in effect with
// the next request. It keeps nothing beside the store, which answers from memory.
type Book struct {
	store      meeting.Store
	operations []string
	now        func() time.Time
	given      []Given
}

// Origin is where a key comes from.
type Origin string

// The origins of keys. A key of the server's own is not listed, and cannot be
// changed.
const (
	FromStore    Origin = "store"     // added from the command line
	FromSettings Origin = "settings"  // access_key_id
	Generated    Origin = "generated" // at the first start
	Own          Origin = "own"
)

// Given is a key that the server has without the store.
type Given struct {
	Key
	From Origin
}

// NewBook makes a Book over a store, with the names of the operations that there
// are. now may be nil.
func NewBook(store meeting.Store, operations []string, now func() time.Time, given ...Given) (*Book, error) {
	if now == nil {
		now = time.Now
	}
	for _, g := range given {
		if err := g.check(); err != nil {
			return nil, err
		}
	}
	return &Book{store: store, operations: slices.Sorted(slices.Values(operations)), now: now, given: given}, nil
}

// found is a key with its standing.
type found struct {
	Key
	entry entry // zero for a given key of which nothing is stored
	from  Origin
}

func (b *Book) givenKey(id string) (Given, bool) {
	i := slices.IndexFunc(b.given, func(g Given) bool { return g.ID == id })
	if i < 0 {
		return Given{}, false
	}
	return b.given[i], true
}

// find looks a key up, also one that is disabled. The error of one that is not
// there is CodeNotFound.
func (b *Book) find(r meeting.Reader, id string) (found, error) {
	f, err := b.findOne(r, id)
	if err != nil || f.entry.Parent == "" {
		return f, err
	}
	parent, err := b.findOne(r, f.entry.Parent)
	if err != nil {
		return found{}, err
	}
	f.entry.Disabled = f.entry.Disabled || parent.entry.Disabled
	f.Expires = earlier(f.Expires, parent.Expires)
	return f, nil
}

// findOne is find for a key alone, without the one that a session was made of.
func (b *Book) findOne(r meeting.Reader, id string) (found, error) {
	e, stored, err := read(r, id)
	if err != nil {
		return found{}, err
	}
	if g, ok := b.givenKey(id); ok {
		g.Expires = earlier(g.Expires, e.Expires)
		return found{Key: g.Key, entry: e, from: g.From}, nil
	}
	if !stored || e.Secret == "" {
		return found{}, unknown(id)
	}
	return found{Key: e.key(), entry: e, from: FromStore}, nil
}

func unknown(id string) error {
	return meeting.Errorf(meeting.CodeNotFound, "there is no access key %.128q", id)
}

func refuse(format string, args ...any) error {
	return meeting.Errorf(meeting.CodeBadRequest, format, args...)
}

// earlier is the earlier of two times of expiry, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Lookup implements Keyring. A key that has expired is still found: that is for
// the signature's verifier to say.
func (b *Book) Lookup(id string) (Key, error) {
	var f found
	err := b.store.View(context.Background(), func(r meeting.Reader) (err error) {
		if f, err = b.find(r, id); err == nil {
			_, f.AccountDisabled = r.Setting(disabledPrefix + f.Account)
		}
		return err
	})
	switch {
	case meeting.CodeOf(err) == meeting.CodeNotFound, err == nil && f.entry.Disabled:
		return Key{}, ErrUnknownKey
	case err != nil:
		return Key{}, err
	}
	return f.Key, nil
}

// Info is what may be shown of a key.
type Info struct {
	ID        string    `json:"id"`
	Account   string    `json:"account"`
	Name      string    `json:"name,omitempty"`
	From      Origin    `json:"from"`
	State     string    `json:"state"` // active, disabled, expired or unreadable
	Actions   []string  `json:"actions,omitempty"`
	Regions   []string  `json:"regions,omitempty"`
	SessionOf string    `json:"sessionOf,omitempty"`
	RotatedTo string    `json:"rotatedTo,omitempty"`
	CreatedAt time.Time `json:"created,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
}

// List tells of every key: the given ones, then those in the store, oldest first.
func (b *Book) List(ctx context.Context) (list []Info, err error) {
	err = b.store.View(ctx, func(r meeting.Reader) error {
		list = nil
		var stored []Info
		for _, g := range b.given {
			if g.From != Own {
				list = append(list, b.info(r, g.ID))
			}
		}
		for _, name := range r.SettingNames(entryPrefix) {
			id := strings.TrimPrefix(name, entryPrefix)
			if _, given := b.givenKey(id); given {
				continue
			}
			if e, ok, _ := read(r, id); ok && e.Secret == "" {
				continue // of a key that is given no more
			}
			stored = append(stored, b.info(r, id))
		}
		slices.SortStableFunc(stored, func(a, b Info) int { return a.CreatedAt.Compare(b.CreatedAt) })
		list = append(list, stored...)
		return nil
	})
	return list, err
}

func (b *Book) info(r meeting.Reader, id string) Info {
	f, err := b.find(r, id)
	if err != nil {
		return Info{ID: id, From: FromStore, State: "unreadable"}
	}
	out := Info{ID: id, Account: f.Account, Name: f.Name, From: f.from, State: "active", Actions: f.Actions, Regions: f.Regions,
		SessionOf: f.entry.Parent, RotatedTo: f.entry.Next, CreatedAt: f.entry.CreatedAt, Expires: f.Expires}
	switch {
	case f.entry.Disabled:
		out.State = "disabled"
	case f.expired(b.now()):
		out.State = "expired"
	}
	return out
}

func (k Key) expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

// New is what a new key shall be.
type New struct {
	Account string   `json:"account"` // 12 digits
	Name    string   `json:"name,omitempty"`
	Actions []string `json:"actions,omitempty"` // as parseActions reads them
	Regions []string `json:"regions,omitempty"`
	// Lasts is how long the key works; 0: for ever.
	Lasts time.Duration `json:"lasts,omitempty"`
}

const (
	// maxStored bounds the keys in the store, sessions included.
	maxStored = 10_000
	// MaxSession is how long a session lasts at most, as at AWS.
	MaxSession = 36 * time.Hour
	// maxLasting keeps times in what can be written.
	maxLasting = 100 * 365 * 24 * time.Hour
	// forgetAfter is how long a session that has ended is remembered, so that its
	// bearer is told that it expired.
	forgetAfter = 24 * time.Hour
)

// Add makes a key. What cannot be is CodeBadRequest. The secret is in the answer
// and never shown again.
func (b *Book) Add(ctx context.Context, in New) (Key, error) {
	actions, err := parseActions(in.Actions, b.operations)
	if err != nil {
		return Key{}, refuse("action: %v", err)
	}
	regions, err := parseRegions(in.Regions)
	if err != nil {
		return Key{}, refuse("region: %v", err)
	}
	switch {
	case !ValidAccount(in.Account):
		return Key{}, refuse("account: %.20q is not 12 digits", in.Account)
	case in.Name != "" && !nameForm.MatchString(in.Name):
		return Key{}, refuse("name: %.80q is not 1 to 64 letters, digits and _+=,.@-", in.Name)
	case in.Lasts < 0 || in.Lasts > maxLasting:
		return Key{}, refuse("a key cannot last %v", in.Lasts)
	}
	k, err := Generate(nil, in.Account)
	if err != nil {
		return Key{}, err
	}
	k.Name, k.Actions, k.Regions = in.Name, actions, regions
	now := b.now().UTC()
	if in.Lasts > 0 {
		k.Expires = now.Add(in.Lasts)
	}
	err = b.store.Update(ctx, func(tx meeting.Tx) error { return b.put(tx, k, entry{CreatedAt: now}) })
	if err != nil {
		return Key{}, err
	}
	return k, nil
}

// put writes a new key, of which rest says what a Key does not.
func (b *Book) put(tx meeting.Tx, k Key, rest entry) error {
	b.forget(tx)
	if len(tx.SettingNames(entryPrefix)) >= maxStored {
		return meeting.Errorf(meeting.CodeLimitExceeded, "there are %d access keys, and no more may be: remove some", maxStored)
	}
	e := rest
	e.ID, e.Account, e.Name, e.Secret, e.Token = k.ID, k.Account, k.Name, k.Secret.Reveal(), k.SessionToken.Reveal()
	e.Actions, e.Regions, e.Expires = k.Actions, k.Regions, k.Expires
	write(tx, e)
	return nil
}

// forget drops the sessions that ended long ago.
func (b *Book) forget(tx meeting.Tx) {
	for _, name := range tx.SettingNames(entryPrefix + "ASIA") {
		id := strings.TrimPrefix(name, entryPrefix)
		if e, ok, _ := read(tx, id); ok && e.Parent != "" && b.now().Sub(e.Expires) > forgetAfter {
			tx.DeleteSetting(name)
		}
	}
}

// change finds a key that may be changed and has fn change its entry.
func (b *Book) change(ctx context.Context, id string, fn func(meeting.Tx, found, *entry) error) error {
	return b.store.Update(ctx, func(tx meeting.Tx) error {
		f, err := b.find(tx, id)
		if err == nil && f.from == Own {
			err = unknown(id)
		}
		if err != nil {
			return err
		}
		e, _, err := read(tx, id) // f has what its session's key adds
		if err != nil {
			return err
		}
		e.ID = id
		if err := fn(tx, f, &e); err != nil {
			return err
		}
		write(tx, e)
		return nil
	})
}

// SetDisabled has a key refused, and the sessions that were made of it, or taken
// again. A key that is not there is CodeNotFound, and one whose time is over is not
// taken again, which is CodeBadRequest.
func (b *Book) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return b.change(ctx, id, func(_ meeting.Tx, f found, e *entry) error {
		if !disabled && f.expired(b.now()) {
			return refuse("%s has expired: add another", id)
		}
		e.Disabled = disabled
		return nil
	})
}

// Rotate makes a key with the rights of another, which works for keep longer. A
// key that was made to last a while is followed by one that lasts as long. One
// that does not work, or was rotated before, is CodeBadRequest.
func (b *Book) Rotate(ctx context.Context, id string, keep time.Duration) (Key, error) {
	if keep < 0 || keep > maxLasting {
		return Key{}, refuse("a key cannot be kept for %v", keep)
	}
	now := b.now().UTC()
	var next Key
	err := b.change(ctx, id, func(tx meeting.Tx, f found, e *entry) (err error) {
		switch {
		case e.Parent != "":
			return refuse("%s is a session and ends by itself: make another of %s", id, e.Parent)
		case e.Next != "":
			return refuse("%s was rotated to %s: rotate that one", id, e.Next)
		case e.Disabled:
			return refuse("%s is disabled", id)
		case f.expired(now):
			return refuse("%s has expired: add another", id)
		}
		if next, err = Generate(nil, f.Account); err != nil {
			return err
		}
		next.Name, next.Actions, next.Regions = f.Name, f.Actions, f.Regions
		if !f.Expires.IsZero() {
			next.Expires = now.Add(f.Expires.Sub(e.CreatedAt))
		}
		e.Next, e.Expires = next.ID, earlier(f.Expires, now.Add(keep))
		return b.put(tx, next, entry{CreatedAt: now})
	})
	if err != nil {
		return Key{}, err
	}
	return next, nil
}

// Remove forgets a key, and the sessions that were made of it. A key that the
// server was given can only be disabled, which is CodeBadRequest.
func (b *Book) Remove(ctx context.Context, id string) error {
	return b.store.Update(ctx, func(tx meeting.Tx) error {
		if g, ok := b.givenKey(id); ok && g.From != Own {
			return refuse("%s is the %s key, which the server has at every start: disable it instead", id, g.From)
		}
		if _, ok := tx.Setting(entryPrefix + id); !ok { // also one that cannot be read may go
			return unknown(id)
		}
		tx.DeleteSetting(entryPrefix + id)
		for _, name := range tx.SettingNames(entryPrefix + "ASIA") {
			if e, ok, _ := read(tx, strings.TrimPrefix(name, entryPrefix)); ok && e.Parent == id {
				tx.DeleteSetting(name)
			}
		}
		return nil
	})
}

// Session makes a temporary key with a session token, which may do what the key
// that it is made of may do, for up to MaxSession and no longer than that key.
func (b *Book) Session(ctx context.Context, id string, lasts time.Duration) (Key, error) {
	if lasts <= 0 || lasts > MaxSession {
		return Key{}, refuse("a session lasts up to %v, not %v", MaxSession, lasts)
	}
	now := b.now().UTC()
	var session Key
	err := b.store.Update(ctx, func(tx meeting.Tx) error {
		f, err := b.find(tx, id)
		switch {
		case err != nil:
			return err
		case f.from == Own:
			return unknown(id)
		case f.entry.Parent != "":
			return refuse("%s is a session: make another of %s", id, f.entry.Parent)
		case f.entry.Disabled:
			return refuse("%s is disabled", id)
		case f.expired(now):
			return refuse("%s has expired", id)
		}
		if session, err = generateSession(nil, f.Account); err != nil {
			return err
		}
		session.Name, session.Actions, session.Regions = f.Name, f.Actions, f.Regions
		session.Expires = earlier(f.Expires, now.Add(lasts))
		return b.put(tx, session, entry{CreatedAt: now, Parent: id})
	})
	if err != nil {
		return Key{}, err
	}
	return session, nil
}

// disabledPrefix and an account name the Setting that is there while the account
// is disabled.
const disabledPrefix = "disabled-account/"

// SetAccountDisabled has all requests of an account refused, or taken again. Its
// meetings go on. What is no account is CodeBadRequest.
func (b *Book) SetAccountDisabled(ctx context.Context, id string, disabled bool) error {
	if !ValidAccount(id) {
		return refuse("%.20q is not an account: it has 12 digits", id)
	}
	return b.store.Update(ctx, func(tx meeting.Tx) error {
		if disabled {
			tx.PutSetting(disabledPrefix+id, []byte(b.now().UTC().Format(time.RFC3339)))
		} else {
			tx.DeleteSetting(disabledPrefix + id)
		}
		return nil
	})
}

// DisabledAccounts lists the accounts that are disabled, sorted.
func (b *Book) DisabledAccounts(ctx context.Context) (list []string, err error) {
	err = b.store.View(ctx, func(r meeting.Reader) error {
		list = r.SettingNames(disabledPrefix)
		return nil
	})
	for i := range list {
		list[i] = strings.TrimPrefix(list[i], disabledPrefix)
	}
	return list, err
}
