package hostile

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"

	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
)

// identity is a DTLS certificate and its a=fingerprint value.
type identity struct {
	cert  tls.Certificate
	print string
}

// certificate is the one that all attackers share.
var certificate = sync.OnceValue(func() identity {
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		panic(err) // there is no randomness
	}
	sum := sha256.Sum256(cert.Certificate[0])
	hex := make([]string, len(sum))
	for i, b := range sum {
		hex[i] = fmt.Sprintf("%02X", b)
	}
	return identity{cert, "sha-256 " + strings.Join(hex, ":")}
})
