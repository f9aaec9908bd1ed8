package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"belfry/internal/meeting"
)

// The headers of a webhook request.
const (
	// HeaderSignature is t=<seconds since 1970>,v1=<hex>, where the hex is the
	// HMAC-SHA256 of "<t>.<body>" under the secret.
	HeaderSignature = "Belfry-Signature"
	HeaderEventID   = "Belfry-Event-Id"
	// HeaderNumber counts the events of the meeting from 1.
	HeaderNumber = "Belfry-Event-Number"
)

// Webhooks are the URLs of the settings that get all events.
type Webhooks struct {
	URLs   []string
	Secret meeting.Secret // signs every request
	HTTP   *http.Client   // nil: one of its own
}

var errNoWebhook = errors.New("the URL is not among the webhooks of the settings any more")

// Sender posts the envelope. Any status 2xx is a success; redirects are not
// followed, since the body and its signature are meant for this URL.
func (w Webhooks) Sender() Sender {
	client := http.Client{Timeout: time.Minute}
	if w.HTTP != nil {
		client = *w.HTTP
	} else {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = maxWorkers
		client.Transport = t
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w.HTTP = &client
	return w
}

// Send implements Sender.
func (w Webhooks) Send(ctx context.Context, address string, m Message) error {
	if !slices.Contains(w.URLs, address) {
		return errNoWebhook
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(m.Body))
	if err != nil {
		return errors.New("the URL cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "belfry")
	req.Header.Set(HeaderEventID, m.Event.ID)
	req.Header.Set(HeaderNumber, strconv.FormatUint(m.Event.Number, 10))
	req.Header.Set(HeaderSignature, Sign(w.Secret, time.Now(), m.Body))
	res, err := w.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("post to the webhook: %w", withoutURL(err))
	}
	defer res.Body.Close()
	// Read so that the connection can be used again, but not for ever.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %d", res.StatusCode)
	}
	return nil
}

// Sign is the value of HeaderSignature.
func Sign(secret meeting.Secret, at time.Time, body []byte) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return "t=" + stamp + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// withoutURL is an error of net/http without the URL, which may hold a password.
func withoutURL(err error) error {
	var with *url.Error
	if errors.As(err, &with) {
		return with.Err
	}
	return err
}

// hostOf is the host of a URL, which may be told.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "?"
	}
	return u.Host
}
