package proof

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Signed is a report with the signature of the machine that made it, as a file
// in JSON: what is signed is context and, behind it, the report's own bytes
// without white space.
type Signed struct {
	Report    json.RawMessage `json:"report"`
	Key       string          `json:"key"`       // Ed25519, hexadecimal
	Signature string          `json:"signature"` // hexadecimal
}

const (
	signing   = "tidemark proof of restore 1\n"
	maxReport = 64 << 20 // bytes
	kept      = 100      // reports in a folder
)

// Sign makes a signed report.
func Sign(r *Report, key ed25519.PrivateKey) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("sign report: %w", err)
	}
	s := Signed{
		Report: b, Key: hex.EncodeToString(key.Public().(ed25519.PublicKey)),
		Signature: hex.EncodeToString(ed25519.Sign(key, append([]byte(signing), b...))),
	}
	out, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("sign report: %w", err)
	}
	return append(out, '\n'), nil
}

// Verify reads a signed report, and returns whose key signed it, which the
// caller must know: anybody can sign with a key of his own. A signature that
// does not fit is fault.Corrupt.
func Verify(b []byte) (*Report, ed25519.PublicKey, error) {
	bad := func(why string) (*Report, ed25519.PublicKey, error) {
		return nil, nil, fmt.Errorf("verify report: %s: %w", why, fault.Corrupt)
	}
	if len(b) > maxReport {
		return bad("it is too long")
	}
	var s Signed
	if err := json.Unmarshal(b, &s); err != nil {
		return bad(err.Error())
	}
	key, err1 := hex.DecodeString(s.Key)
	signature, err2 := hex.DecodeString(s.Signature)
	var signed bytes.Buffer
	signed.WriteString(signing)
	err3 := json.Compact(&signed, s.Report)
	switch {
	case err1 != nil || len(key) != ed25519.PublicKeySize:
		return bad("it has no key")
	case err2 != nil || err3 != nil || !ed25519.Verify(key, signed.Bytes(), signature):
		return bad("the signature does not fit: somebody changed it")
	}
	r := &Report{}
	if err := json.Unmarshal(s.Report, r); err != nil {
		return bad(err.Error())
	}
	return r, key, nil
}

// Load reads a file that Save wrote.
func Load(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxReport+1))
	if err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	return b, nil
}

// Save signs a report and writes it below dir, under the time at which it
// began. The oldest of more than 100 go.
func Save(dir string, r *Report, key ed25519.PrivateKey) (string, error) {
	b, err := Sign(r, key)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("save report: %w", err)
	}
	path := filepath.Join(dir, r.Began.Format("2006-01-02T15-04-05Z")+"-"+r.Seed[:8]+".json")
	if err := durable.WriteFile(path, b, 0o600); err != nil {
		return "", fmt.Errorf("save report: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return path, nil // the next one tidies
	}
	names = slices.DeleteFunc(names, func(e iofs.DirEntry) bool { return !strings.HasSuffix(e.Name(), ".json") })
	for _, e := range names[:max(0, len(names)-kept)] {
		_ = os.Remove(filepath.Join(dir, e.Name())) // the next one tries again
	}
	return path, nil
}

// piece is how much is read at a time, in bytes.
const piece = 1 << 20

func hashReader(r io.ReaderAt, offset, length uint64) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(r, int64(offset), int64(length)))
	if err == nil && uint64(n) != length {
		err = errShort
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// hashTree returns the hash of a part of a file, as a mount reads it.
func hashTree(ctx context.Context, tree *fs.Tree, node fs.Node, offset, length uint64) (string, error) {
	h := sha256.New()
	buffer := make([]byte, min(piece, length))
	for done := uint64(0); done < length; {
		b := buffer[:min(uint64(len(buffer)), length-done)]
		if err := readTree(ctx, tree, node, offset+done, b); err != nil {
			return "", err
		}
		h.Write(b)
		done += uint64(len(b))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readTree fills a buffer.
func readTree(ctx context.Context, tree *fs.Tree, node fs.Node, offset uint64, into []byte) error {
	for len(into) > 0 {
		n, err := tree.Read(ctx, node, offset, into)
		if err != nil {
			return err
		}
		if n == 0 {
			return errShort
		}
		offset, into = offset+uint64(n), into[n:]
	}
	return nil
}
