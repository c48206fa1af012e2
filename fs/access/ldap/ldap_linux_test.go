package ldap

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs/access"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

const people = `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=ann,ou=people,dc=example,dc=org
objectClass: account
objectClass: simpleSecurityObject
uid: ann
userPassword: right

dn: uid=a\2Cb,ou=people,dc=example,dc=org
objectClass: account
objectClass: simpleSecurityObject
uid: a,b
userPassword: comma
`

// certificate makes one for 127.0.0.1, and files of it and its key.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ldap"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(t, filepath.Join(dir, "cert.pem"), string(public))
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	return pool
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// slapd starts OpenLDAP's server, and returns host and port of its encrypted
// and of its plain address.
func slapd(t *testing.T) (secure, plain string, roots *x509.CertPool) {
	t.Helper()
	program, err := exec.LookPath("/usr/sbin/slapd")
	if err != nil {
		t.Skip("slapd is not installed")
	}
	dir, err := os.MkdirTemp("/tmp", "tidemark-ldap-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	roots = certificate(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "slapd.conf")
	write(t, config, strings.ReplaceAll(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile DIR/pid
TLSCertificateFile DIR/cert.pem
TLSCertificateKeyFile DIR/key.pem
database mdb
suffix "dc=example,dc=org"
directory DIR/db
maxsize 10485760
`, "DIR", dir))
	write(t, filepath.Join(dir, "people"), people)
	if out, err := exec.Command(program, "-T", "add", "-f", config, "-l", filepath.Join(dir, "people")).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v: %s", err, out)
	}
	secure, plain = free(t), free(t)
	c := exec.CommandContext(t.Context(), program, "-d", "0", "-f", config, "-h", fmt.Sprintf("ldaps://%s ldap://%s", secure, plain))
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Wait() }) // whose error is that it was stopped
	for range 200 {
		if n, err := net.Dial("tcp", plain); err == nil {
			_ = n.Close()
			return secure, plain, roots
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("slapd does not answer")
	return "", "", nil
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const dn = "uid={name},ou=people,dc=example,dc=org"

func TestAgainstSlapd(t *testing.T) {
	secure, plain, roots := slapd(t)
	for _, address := range []string{"ldaps://" + secure, "ldap://" + plain} {
		d, err := New(address, dn, roots)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name, password string
			good           bool
		}{
			{"ann", "right", true}, {"a,b", "comma", true},
			{"ann", "wrong", false}, {"ann", "", false}, {"", "right", false}, {"eve", "right", false},
			{"ann,ou=people", "right", false}, {"ann\x00", "right", false}, {"*", "right", false}, {strings.Repeat("a", 1000), "x", false},
		} {
			err := d.Check(t.Context(), c.name, c.password)
			if c.good && err != nil || !c.good && !errors.Is(err, fault.Denied) {
				t.Errorf("%s: %q with %q: %v", address, c.name, c.password, err)
			}
		}
		stranger, err := New(address, dn, nil) // whose roots do not vouch for it
		if err != nil {
			t.Fatal(err)
		}
		if err := stranger.Check(t.Context(), "ann", "right"); !errors.Is(err, fault.Unavailable) {
			t.Errorf("%s: a certificate that nobody knows: %v", address, err)
		}
	}
	d, err := New("ldaps://"+free(t), dn, roots)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context(), "ann", "right"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a server that is not there: %v", err)
	}
}

// Whom the directory knows is the user of that name, for some minutes.
func TestLoginThroughSlapd(t *testing.T) {
	secure, _, roots := slapd(t)
	d, err := New("ldaps://"+secure, dn, roots)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	uid := uint32(7)
	own := &access.Account{Name: "own", UID: &uid, Password: access.Hash([]byte("here"))}
	l := access.NewLogins(func(name string) *access.Account {
		if name == own.Name {
			return own
		}
		return nil
	}, func() time.Time { return now })
	l.Ask(d)
	for range 3 {
		if u, err := l.Check(t.Context(), "ann", "right", "1.1.1.1"); err != nil || u.Server != "ann" || u.Admin {
			t.Fatalf("%+v %v", u, err)
		}
	}
	if u, err := l.Check(t.Context(), "own", "here", "1.1.1.1"); err != nil || u.UID != 7 || u.Server != "" {
		t.Errorf("an account of this file: %+v %v", u, err)
	}
	if _, err := l.Check(t.Context(), "ann", "wrong", "1.1.1.1"); !errors.Is(err, fault.Denied) {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestBadDirectories(t *testing.T) {
	for _, c := range [][2]string{{"http://x", dn}, {"ldaps://", dn}, {"x", dn}, {"ldaps://x", "uid=ann"}, {"ldaps://x", "{name}"}, {"ldaps://x", "uid={name},cn={name}"}} {
		if _, err := New(c[0], c[1], nil); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", c, err)
		}
	}
}
