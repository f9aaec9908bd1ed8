package app

import (
	"fmt"
	"io"
)

// WriteBanner tells a person how to use the server: the endpoint, the key pair
// as lines to paste into a shell, and the address of the meeting page. It is
// for the terminal, not the log: a generated secret is in it.
func (s *Server) WriteBanner(w io.Writer) {
	fmt.Fprintf(w, "Belfry is ready, compatible with the Amazon Chime SDK.\n\n")
	fmt.Fprintf(w, "  Endpoint      %s\n", s.URL())
	if s.pageOn {
		fmt.Fprintf(w, "  Meeting page  %s/meet/\n", s.URL())
	}
	fmt.Fprintf(w, "  Data          %s\n\n", s.cfg.DataDir)
	if s.keyIs != "active" {
		fmt.Fprintf(w, "The key pair %s is %s. Others: belfry keys list\n\n", s.key.ID, s.keyIs)
	} else if s.key.Generated {
		fmt.Fprintf(w, "For AWS clients, paste this into a shell:\n\n")
		fmt.Fprintf(w, "  export AWS_ACCESS_KEY_ID=%s\n", s.key.ID)
		fmt.Fprintf(w, "  export AWS_SECRET_ACCESS_KEY=%s\n", s.key.Secret.Reveal())
	} else {
		fmt.Fprintf(w, "AWS clients sign with the key pair that was configured (%s):\n\n", s.key.ID)
	}
	fmt.Fprintf(w, "  export AWS_DEFAULT_REGION=%s\n", s.cfg.Region)
	fmt.Fprintf(w, "  export AWS_ENDPOINT_URL_CHIME_SDK_MEETINGS=%s\n", s.URL())
	// Many clients send both APIs alike; the path tells the older one.
	fmt.Fprintf(w, "  export AWS_ENDPOINT_URL_CHIME=%s/chime\n\n", s.URL())
	if s.cfg.RequestRate > 0 {
		fmt.Fprintf(w, "An account has %d requests a second for each operation, %d at once; BELFRY_REQUEST_RATE=0 lifts that.\n",
			s.cfg.RequestRate, s.cfg.RequestBurst)
	}
	fmt.Fprintf(w, "Ctrl-C ends it; meetings are kept and clients come back after a restart.\n")
}
