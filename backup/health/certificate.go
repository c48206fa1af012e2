package health

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	certificateWarn     = 21 * day
	certificateCritical = 3 * day
	maxCertificate      = 1 << 20 // bytes of a file
)

// Certificate returns until when the certificates of a PEM file are valid: the
// earliest end of all in it.
func Certificate(path string) (until time.Time, err error) {
	f, err := os.Open(path)
	if err != nil {
		return until, fmt.Errorf("read certificate: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCertificate))
	if err != nil {
		return until, fmt.Errorf("read certificate: %w", err)
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return until, fmt.Errorf("read certificate %s: %w: %w", path, err, fault.Invalid)
		}
		if until.IsZero() || c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	if until.IsZero() {
		return until, fmt.Errorf("read certificate %s: there is none in PEM: %w", path, fault.Invalid)
	}
	return until, nil
}

// JudgeCertificate says whether a certificate runs out.
func JudgeCertificate(until time.Time, err error, now time.Time) Change {
	left := until.Sub(now)
	c := Change{Kind: journal.Certificate, Note: "it is valid until " + stamp(until)}
	switch {
	case err != nil:
		c.Severity, c.Text = journal.SeverityWarning, err.Error()
	case left <= 0:
		c.Severity, c.Text = journal.SeverityCritical, "it ran out on "+stamp(until)
	case left <= certificateCritical:
		c.Severity, c.Text = journal.SeverityCritical, "it runs out on "+stamp(until)
	case left <= certificateWarn:
		c.Severity, c.Text = journal.SeverityWarning, "it runs out on "+stamp(until)
	}
	return c
}
