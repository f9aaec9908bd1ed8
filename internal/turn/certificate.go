package turn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// lookAgain is how often the files of a certificate are looked at, at most.
const lookAgain = 10 * time.Second

// certificate is a pair of files, read anew when one of them has changed, so
// that a renewed certificate needs no restart.
type certificate struct {
	certFile, keyFile string
	now               func() time.Time
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]fileStamp // of the files when they were read last
	looked  time.Time
}

type fileStamp struct {
	changed time.Time
	size    int64
}

func openCertificate(certFile, keyFile string, now func() time.Time, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, now: now, log: log}
	stamp, err := c.stamps()
	if err != nil {
		return nil, err
	}
	if err := c.read(stamp); err != nil {
		return nil, err
	}
	c.looked = now()
	return c, nil
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= lookAgain {
		c.looked = now
		c.refresh()
	}
	return c.current, nil
}

// refresh goes on with the old one when the files are not whole, which they may
// be while they are written. The caller holds mu.
func (c *certificate) refresh() {
	stamp, err := c.stamps()
	if err == nil && stamp == c.stamp {
		return
	}
	if err == nil {
		err = c.read(stamp)
	}
	if err != nil {
		c.log.Error("the certificate of TURN over TLS cannot be read anew, going on with the old one", "error", err)
		return
	}
	c.log.Info("certificate of TURN over TLS read anew", "until", c.current.Leaf.NotAfter)
}

func (c *certificate) stamps() (list [2]fileStamp, err error) {
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return list, fmt.Errorf("reading the certificate of TURN over TLS: %w", err)
		}
		list[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return list, nil
}

func (c *certificate) read(stamp [2]fileStamp) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("reading the certificate of TURN over TLS: %w", err)
	}
	c.current, c.stamp = &pair, stamp
	return nil
}

// host is a name that clients can be told.
func (c *certificate) host() (string, error) {
	for _, name := range c.current.Leaf.DNSNames {
		if !strings.Contains(name, "*") {
			return name, nil
		}
	}
	for _, ip := range c.current.Leaf.IPAddresses {
		return ip.String(), nil
	}
	return "", errors.New("turn_tls_advertise is needed: the certificate has no name without a wildcard")
}
