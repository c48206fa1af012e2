package webdav

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// passwd makes an account for a user who is not root.
func (s *share) passwd(file string, args ...string) {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), s.tool[0], append([]string{"serve", "passwd", "--users", file}, args...)...)
	c.Stdin = strings.NewReader("a good password\n")
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
}

// logins has curl log in by name over HTTP/2 with the certificate pinned, and
// with Digest where there is no TLS.
func logins(t *testing.T, s *share) {
	if err := os.WriteFile(filepath.Join(s.source, "private"), []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.tidemark("backup", s.source)
	dir := t.TempDir()
	users := filepath.Join(dir, "accounts.toml")
	s.passwd(users, "--user", "nobody", "--digest", "visitor")
	secure := s.serve("--users", users)
	found, err := filepath.Glob(filepath.Join(s.top, "state", "*", "serve.pem"))
	if more, _ := filepath.Glob(filepath.Join(s.top, "state", "serve.pem")); err != nil || len(found)+len(more) != 1 {
		t.Fatalf("certificates: %v %v %v", found, more, err)
	} else {
		found = append(found, more...)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	pin := "sha256//" + base64.StdEncoding.EncodeToString(sum[:])
	here := "latest" + s.source
	curl := []string{"-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-u", "visitor:a good password"}
	for _, c := range []struct {
		args []string
		url  string
		want string
	}{
		{[]string{"--http2", "--cacert", found[0]}, secure + here + "/big.bin", "2 200"},
		{[]string{"--http2", "-k", "--pinnedpubkey", pin}, secure + here + "/plain.txt", "2 200"},
		{[]string{"--http1.1", "--cacert", found[0]}, secure + here + "/private", "1.1 403"},
		{[]string{"--http2", "--cacert", found[0], "--digest"}, secure + here + "/plain.txt", "2 200"},
		{[]string{"--cacert", found[0], "-u", "visitor:wrong"}, secure + here + "/plain.txt", "2 401"},
	} {
		if out := s.run("curl", append(append(append([]string{}, curl...), c.args...), c.url)...); out != c.want {
			t.Errorf("%q %s: %s", c.args, c.url, out)
		}
	}
	for _, refused := range [][]string{{"-k", "--pinnedpubkey", "sha256//" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, {}} {
		if out, err := exec.CommandContext(t.Context(), "curl", append(append([]string{"-sS"}, refused...), secure)...).CombinedOutput(); err == nil {
			t.Errorf("%q takes the certificate: %s", refused, out)
		}
	}
	plain := s.serve("--users", users, "--no-tls")
	for _, way := range []string{"--digest", "--basic", "--anyauth"} {
		if out := s.run("curl", append(append([]string{}, curl...), way, plain+here+"/plain.txt")...); out != "1.1 200" {
			t.Errorf("%s: %s", way, out)
		}
	}
}
