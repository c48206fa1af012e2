package webdav

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Locks are a courtesy to Windows (W6): refused ones can hang its redirector,
// and Office locks whatever it opens. Nothing here ever changes, so a lock that
// nobody remembers protects as well as one that somebody does: it is given to
// whoever asks, for what exists.

// lockTimeout is what a lock says it lasts.
const lockTimeout = "Second-3600"

func (q *request) lock() error {
	s, err := q.resolve()
	if err != nil {
		return err
	}
	owner, err := parseLock(q.r.Body)
	if err != nil {
		return err
	}
	var id [16]byte
	_, _ = rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	token := fmt.Sprintf("opaquelocktoken:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	h := q.w.Header()
	h.Set("Content-Type", "application/xml; charset=utf-8")
	h.Set("Lock-Token", "<"+token+">")
	h.Set("Timeout", lockTimeout)
	q.w.WriteHeader(http.StatusOK)
	_, err = io.WriteString(q.w, xml.Header+`<D:prop xmlns:D="DAV:"><D:lockdiscovery><D:activelock>`+
		`<D:locktype><D:write/></D:locktype><D:lockscope><D:exclusive/></D:lockscope><D:depth>0</D:depth>`+
		`<D:owner>`+owner+`</D:owner><D:timeout>`+lockTimeout+`</D:timeout>`+
		`<D:locktoken><D:href>`+token+`</D:href></D:locktoken><D:lockroot><D:href>`+s.href+`</D:href></D:lockroot>`+
		`</D:activelock></D:lockdiscovery></D:prop>`)
	if err != nil {
		return fmt.Errorf("answer: %w: %w", fault.Canceled, err)
	}
	return nil
}

// parseLock reads the body of a LOCK and returns the owner's text, escaped: an
// empty body refreshes a lock.
func parseLock(r io.Reader) (string, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil {
		return "", fmt.Errorf("read request: %w: %w", fault.Canceled, err)
	}
	if len(body) > maxBody {
		return "", fmt.Errorf("request of more than %d bytes: %w", maxBody, fault.TooLarge)
	}
	var owner bytes.Buffer
	inside := 0
	for d := xml.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return owner.String(), nil
		}
		if err != nil {
			return "", fmt.Errorf("read request: %w: %w", fault.Invalid, err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if inside > 0 || t.Name.Local == "owner" {
				inside++
			}
		case xml.EndElement:
			inside = max(inside-1, 0)
		case xml.CharData:
			if inside > 0 {
				_ = xml.EscapeText(&owner, bytes.TrimSpace(t)) // a bytes.Buffer takes everything
			}
		}
	}
}
