package account

import (
	"encoding/json"
	"fmt"
	"time"

	"belfry/internal/meeting"
)

// entry is what the store keeps of one key, as JSON under entryPrefix and the id.
// One without a secret changes the standing of a key that was given at the start.
// The store seals what it writes when there is a master key, so the secret can
// stand here as it is.
type entry struct {
	Version   int       `json:"v"`
	ID        string    `json:"id"`
	Account   string    `json:"account,omitempty"`
	Name      string    `json:"name,omitempty"`
	Secret    string    `json:"secret,omitempty"`
	Token     string    `json:"token,omitempty"`  // of a session
	Parent    string    `json:"parent,omitempty"` // the key that a session was made of
	Next      string    `json:"next,omitempty"`   // the key that it was rotated to
	Actions   []string  `json:"actions,omitzero"` // nil: all
	Regions   []string  `json:"regions,omitzero"`
	Disabled  bool      `json:"disabled,omitempty"`
	CreatedAt time.Time `json:"created,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
}

const (
	entryPrefix  = "access-key/"
	entryVersion = 1
	// maxEntry bounds what is decoded; the longest that is written is far below.
	maxEntry = 64 << 10
)

func (e entry) encode() []byte {
	e.Version = entryVersion
	data, err := json.Marshal(e)
	if err != nil {
		panic("account: " + err.Error()) // only for years beyond 9999
	}
	return data
}

// decodeEntry is the reverse of encode. The error quotes nothing of the data.
func decodeEntry(id string, data []byte) (entry, error) {
	var e entry
	bad := func(why string) (entry, error) {
		return entry{}, &meeting.Error{Code: meeting.CodeInternal, Message: "a stored access key cannot be read",
			Err: fmt.Errorf("access key %.128q: %s", id, why)}
	}
	if len(data) > maxEntry || json.Unmarshal(data, &e) != nil {
		return bad("it is not what was written")
	}
	switch {
	case e.Version > entryVersion:
		return bad("it was written by a newer version")
	case e.Version < 1 || e.ID != id:
		return bad("it is not what was written")
	case e.Secret == "" && (e.Token != "" || e.Parent != ""):
		return bad("it has no secret")
	case (e.Token == "") != (e.Parent == "") || e.Parent != "" && e.Expires.IsZero():
		return bad("a session has a key that it was made of, a token and an end")
	}
	if e.Secret != "" {
		if err := e.key().check(); err != nil {
			return bad(err.Error())
		}
	}
	for _, list := range [][]string{e.Actions, e.Regions} {
		for _, pattern := range list {
			if !actionForm.MatchString(pattern) && !regionForm.MatchString(pattern) {
				return bad("it has an action or region that is none")
			}
		}
	}
	return e, nil
}

func (e entry) key() Key {
	return Key{ID: e.ID, Secret: meeting.Secret(e.Secret), Account: e.Account, Name: e.Name, SessionToken: meeting.Secret(e.Token),
		Expires: e.Expires, Actions: e.Actions, Regions: e.Regions}
}

// read finds an entry. There being none is no error.
func read(r meeting.Reader, id string) (entry, bool, error) {
	data, ok := r.Setting(entryPrefix + id)
	if !ok {
		return entry{}, false, nil
	}
	e, err := decodeEntry(id, data)
	return e, err == nil, err
}

func write(tx meeting.Tx, e entry) { tx.PutSetting(entryPrefix+e.ID, e.encode()) }
