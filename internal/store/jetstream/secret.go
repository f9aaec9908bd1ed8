package jetstream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The user information of a NATS URL is secret, all of it: a user alone is a
// token.

// eachURL gives the URLs of a list as nats.go will take them.
func eachURL(list string) (urls []string) {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		urls = append(urls, one)
	}
	return urls
}

// checkURLs refuses URLs in which a password could be taken for another part,
// which errors would then quote. Its own error quotes nothing.
func checkURLs(list string) error {
	for i, one := range eachURL(list) {
		u, err := url.Parse(one)
		if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path, "@") {
			return fmt.Errorf("NATS URL %d is not one such as nats://user:password@host:4222, "+
				"in which special characters of the password are percent-encoded", i+1)
		}
	}
	return nil
}

// hider returns what takes the secrets of a list of NATS URLs out of errors.
// What it returns does not unwrap, lest the cause still says them.
func hider(list string) func(error) error {
	var pairs []string
	for _, one := range eachURL(list) {
		u, err := url.Parse(one)
		if err != nil || u.User == nil {
			continue
		}
		secrets := []string{u.User.String(), u.User.Username()}
		if password, ok := u.User.Password(); ok {
			secrets = []string{u.User.String(), password, url.QueryEscape(password), url.PathEscape(password)}
		}
		for _, secret := range secrets {
			if secret != "" {
				pairs = append(pairs, secret, "[redacted]")
			}
		}
	}
	replacer := strings.NewReplacer(pairs...)
	return func(err error) error {
		if err == nil {
			return nil
		}
		if text := replacer.Replace(err.Error()); text != err.Error() {
			return errors.New(text)
		}
		return err
	}
}
