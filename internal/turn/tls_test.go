package turn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/logging"
	pion "github.com/pion/turn/v5"

	"belfry/test/kit"
)

// writeCertificate makes a self-signed one for localhost with this serial number.
func writeCertificate(t *testing.T, dir string, serial int64, names ...string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func serialOf(t *testing.T, s *Server) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", s.AddrTLS().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// A relay over TLS reaches our media and nothing else, and its address is told
// under a name of the certificate.
func TestRelayOverTLS(t *testing.T) {
	media := echoPort(t)
	cert, key := writeCertificate(t, t.TempDir(), 1, "*.example.org", "relay.example.org")
	s := start(t, Config{Mode: Always, Media: []MediaAddress{{media, media}}, TLSListen: "127.0.0.1:0", TLSCert: cert, TLSKey: key})
	c := s.Credentials("attendee", netip.Addr{}, false)
	want := uri("turns", "relay.example.org", s.AddrTLS().Port(), "tcp")
	if len(c.URIs) != 3 || c.URIs[2] != want {
		t.Errorf("clients are told %v, not %s", c.URIs, want)
	}
	conn, err := tls.Dial("tcp", s.AddrTLS().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	cl, err := pion.NewClient(&pion.ClientConfig{
		TURNServerAddr: s.AddrTLS().String(), STUNServerAddr: s.AddrTLS().String(), Conn: pion.NewSTUNConn(conn),
		Username: c.Username, Password: c.Password.Reveal(), Realm: realm, LoggerFactory: logging.NewDefaultLoggerFactory(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close(); conn.Close() })
	if err := cl.Listen(); err != nil {
		t.Fatal(err)
	}
	relay, err := cl.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	if got, _, err := roundTrip(relay, media, 30*time.Second); err != nil || got != "hello" {
		t.Errorf("our media through the relay: got %q, %v", got, err)
	}
	if _, err := relay.WriteTo([]byte("hello"), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}); err == nil {
		t.Error("a permission for another host was given")
	}
}

// A renewed certificate is used without a restart, a broken one is not.
func TestCertificateIsReadAnew(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, 1, "localhost")
	var later atomic.Int64
	s := start(t, Config{
		Mode: Auto, TLSListen: "127.0.0.1:0", TLSCert: cert, TLSKey: key,
		Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
	})
	if got := serialOf(t, s); got != 1 {
		t.Fatalf("certificate %d", got)
	}
	if err := os.WriteFile(cert, []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	later.Add(int64(time.Hour))
	if got := serialOf(t, s); got != 1 {
		t.Errorf("with a broken file: certificate %d", got)
	}
	writeCertificate(t, dir, 2, "localhost")
	later.Add(int64(time.Hour))
	if got := serialOf(t, s); got != 2 {
		t.Errorf("with a new file: certificate %d", got)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	later.Add(int64(time.Hour))
	if got := serialOf(t, s); got != 2 {
		t.Errorf("without a file: certificate %d", got)
	}
}

func TestTLSRefuses(t *testing.T) {
	cert, key := writeCertificate(t, t.TempDir(), 1)
	wild, wildKey := writeCertificate(t, t.TempDir(), 1, "*.example.org")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"no file":        {Config{TLSListen: "127.0.0.1:0", TLSCert: cert + "x", TLSKey: key}, "no such file"},
		"another's key":  {Config{TLSListen: "127.0.0.1:0", TLSCert: cert, TLSKey: wildKey}, "private key does not match"},
		"a taken port":   {Config{TLSListen: taken.Addr().String(), TLSCert: cert, TLSKey: key}, "turn_tls_listen"},
		"a port unknown": {Config{TLSListen: "127.0.0.1:0", TLSCert: wild, TLSKey: wildKey, TLSAdvertise: "a:b"}, "turn_tls_advertise"},
	} {
		tt.cfg.Mode, tt.cfg.Listen, tt.cfg.Library = Auto, "127.0.0.1:0", logging.NewDefaultLoggerFactory()
		s, err := Start(tt.cfg)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestURIs(t *testing.T) {
	cert, key := writeCertificate(t, t.TempDir(), 1, "relay.example.org")
	for name, tt := range map[string]struct {
		cfg  Config
		want []string
	}{
		"addresses": {
			Config{Advertise: "203.0.113.10", TLSAdvertise: "203.0.113.10:443"},
			[]string{"turn:203.0.113.10:PORT?transport=udp", "turn:203.0.113.10:PORT?transport=tcp", "turns:203.0.113.10:443?transport=tcp"},
		},
		"IPv6": {
			Config{Advertise: "2001:db8::1", TLSAdvertise: "[2001:db8::1]"},
			[]string{"turn:[2001:db8::1]:PORT?transport=udp", "turn:[2001:db8::1]:PORT?transport=tcp", "turns:[2001:db8::1]:TLS?transport=tcp"},
		},
		"IPv6 with a port": {
			Config{Advertise: "[2001:db8::1]:40000"},
			[]string{"turn:[2001:db8::1]:40000?transport=udp", "turn:[2001:db8::1]:40000?transport=tcp", "turns:relay.example.org:TLS?transport=tcp"},
		},
	} {
		tt.cfg.Mode, tt.cfg.TLSListen, tt.cfg.TLSCert, tt.cfg.TLSKey = Always, "127.0.0.1:0", cert, key
		s := start(t, tt.cfg)
		var want []string
		for _, u := range tt.want {
			u = strings.Replace(u, "PORT", portOf(s.Addr()), 1)
			want = append(want, strings.Replace(u, "TLS", portOf(s.AddrTLS()), 1))
		}
		if diff := cmp.Diff(want, s.Credentials("a", netip.Addr{}, false).URIs); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func portOf(a netip.AddrPort) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// Who comes to the port of TLS and does not shake hands, or shakes hands and says
// nothing, has the same time and numbers as without TLS.
func TestTLSHasToBeProved(t *testing.T) {
	cert, key := writeCertificate(t, t.TempDir(), 1, "localhost")
	s := start(t, Config{Mode: Auto, TLSListen: "127.0.0.1:0", TLSCert: cert, TLSKey: key})
	crowd := make([]net.Conn, maxTCPFrom+1)
	for i := range crowd {
		conn, err := net.Dial("tcp", s.AddrTLS().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		crowd[i] = conn
	}
	_ = crowd[maxTCPFrom].SetReadDeadline(time.Now().Add(kit.Patience))
	if _, err := io.Copy(io.Discard, crowd[maxTCPFrom]); err != nil && errTimeout(err) == err {
		t.Error("one more than there may be is let in")
	}
	eventually(t, "the refusal counted", func() bool { return s.Stats.Refused.Load() > 0 })
}
