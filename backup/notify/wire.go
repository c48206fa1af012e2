package notify

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"os"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	maxSecret = 4 << 10 // bytes of a file with a password, key or address
	maxCA     = 1 << 20 // bytes of a file with certificates
)

// secret reads a file that nobody else may read.
func secret(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = durable.Private(info)
	}
	if err != nil {
		return "", fmt.Errorf("read the secret in %s: %w", path, err)
	}
	b, err := readBounded(path, maxSecret)
	text := strings.TrimRight(string(b), "\r\n")
	if err == nil && text == "" {
		err = fmt.Errorf("it is empty: %w", fault.Invalid)
	}
	if err != nil {
		return "", fmt.Errorf("read the secret in %s: %w", path, err)
	}
	return text, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes: %w", limit, fault.TooLarge)
	}
	return b, err
}

// trust returns whom to believe: the authorities of a file, or those of the
// host.
func trust(caFile string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return conf, nil
	}
	b, err := readBounded(caFile, maxCA)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read certificates in %s: there is none in PEM: %w", caFile, fault.Invalid)
	}
	return conf, nil
}

// encodeWords writes a text for a header: one line of ASCII, folded.
func encodeWords(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	// Q-encoding is in words of 75 bytes, between which lines may be folded.
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", text), "?= =?", "?=\r\n =?")
}

// quotePrintable writes a text with lines that every server takes. It may hold
// names of files, so that no line in it is of its own making.
func quotePrintable(b *strings.Builder, text string) {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r", "?")
	w := quotedprintable.NewWriter(b)
	_, _ = io.WriteString(w, text) // a Builder takes all
	_ = w.Close()
}
