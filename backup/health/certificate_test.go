package health

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// TestCertificate: the end of the one that ends first, three weeks before.
func TestCertificate(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, days := range []float64{400, 100} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: at(0), NotAfter: at(days)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	path := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	until, err := Certificate(path)
	if err != nil || !until.Equal(at(100)) {
		t.Fatal(until, err)
	}
	for _, c := range []struct {
		day  float64
		want string
	}{{1, ""}, {78, ""}, {80, "warning certificate"}, {98, "critical certificate"}, {101, "critical certificate"}} {
		if got := raisedOf([]Change{JudgeCertificate(until, nil, at(c.day))}); got != c.want {
			t.Errorf("day %v: %q, want %q", c.day, got, c.want)
		}
	}
	if err := os.WriteFile(path, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Certificate(path)
	if got := raisedOf([]Change{JudgeCertificate(until, err, at(1))}); !errors.Is(err, fault.Invalid) || got != "warning certificate" {
		t.Error(got, err)
	}
}
