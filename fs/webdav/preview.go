package webdav

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // decodes sizes
	_ "image/jpeg" // as well
	_ "image/png"  // as well
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	_ "golang.org/x/image/webp" // as well

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// A preview shows what is in a file, for those kinds that a browser does not
// run: text, as text, and pictures of four old formats, by what is in them and
// not by their names. HTML and SVG are text here.
const (
	maxText   = 256 << 10  // bytes that are shown
	maxImage  = 32 << 20   // bytes of a picture
	maxPixels = 64_000_000 // which a browser unpacks to 4 bytes each
	maxSniff  = 64 << 10   // of the beginning, for finding out
)

// preview is what is shown of a file.
type preview struct {
	Size, Modified, Mode string
	Text                 string
	IsText, Cut          bool   // Cut: Text is the beginning only
	Image                string // href of the picture; "" if it is none
	Why                  string // why nothing is shown
	Download, Versions   string // hrefs; Versions may be ""
}

// showPage sends the page of a file.
func (q *request) showPage(s *resource) error {
	if s.folder() {
		return fmt.Errorf("preview of a folder: %w", fault.IsDir)
	}
	d := q.newPage(s.href, false)
	p := &preview{Size: size(s.attr()), Modified: whenExactly(s.attr()), Mode: fmt.Sprintf("%04o", s.attr().Mode), Download: s.href}
	if s.attr().Fixed && !s.way[0].Fixed && !strings.Contains(s.href, "/@") {
		p.Versions = s.href + "?versions"
	}
	if err := q.look(s, p); err != nil {
		return err
	}
	d.Shown = p
	if d.Restore != "" {
		d.Restore += "?" + url.Values{"in": {path.Dir(s.href) + "/"}, "escaped": {path.Base(s.href)}}.Encode()
	}
	q.show("show", d)
	return nil
}

// look finds out what can be shown.
func (q *request) look(s *resource, p *preview) error {
	if s.attr().Size == 0 {
		p.Why = "The file is empty."
		return nil
	}
	head, err := q.head(s, maxText)
	if err != nil {
		return err
	}
	kind := picture(head)
	switch {
	case kind != "" && s.attr().Size > maxImage:
		p.Why = "The picture is too large to be shown here."
	case kind != "":
		if c, _, err := image.DecodeConfig(bytes.NewReader(head)); err == nil && int64(c.Width)*int64(c.Height) > maxPixels {
			p.Why = fmt.Sprintf("The picture has %d × %d points, which is too much to be shown here.", c.Width, c.Height)
			return nil
		}
		p.Image = s.href + "?image"
	default:
		if p.Text, p.IsText = plainText(head, s.attr().Size > uint64(len(head))); p.IsText {
			p.Cut = s.attr().Size > uint64(len(head))
		} else {
			p.Why = "It is neither text nor a picture that can be shown here."
		}
	}
	return nil
}

// head reads the beginning of a file.
func (q *request) head(s *resource, n uint64) ([]byte, error) {
	c := q.open(s.attr())
	defer c.close()
	b := make([]byte, min(n, s.attr().Size))
	got, err := io.ReadFull(c, b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:got], err
}

// picture returns the type of a picture that browsers show and do not run, ""
// if it is none.
func picture(head []byte) string {
	switch kind := http.DetectContentType(head[:min(len(head), 512)]); kind {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		return kind
	}
	return ""
}

// imageFile sends a picture to be shown within a page.
func (q *request) imageFile(s *resource) error {
	if s.attr().Kind != table.File || s.attr().Size == 0 || s.attr().Size > maxImage {
		return fmt.Errorf("show a picture of %d bytes: %w", s.attr().Size, fault.Invalid)
	}
	head, err := q.head(s, maxSniff)
	if err != nil {
		return err
	}
	kind := picture(head)
	if kind == "" {
		return fmt.Errorf("show what is no picture: %w", fault.Invalid)
	}
	h := q.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", "inline")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	return q.send(s)
}

// plainText returns content as text, if it is some. Of what was cut the last
// character may be incomplete.
func plainText(b []byte, cut bool) (string, bool) {
	if wide, ok := wideText(b); ok {
		return printable(wide)
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if cut {
		for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
			if utf8.RuneStart(b[len(b)-i]) {
				if !utf8.FullRune(b[len(b)-i:]) {
					b = b[:len(b)-i]
				}
				break
			}
		}
	}
	if !utf8.Valid(b) {
		return "", false
	}
	return printable(string(b))
}

// wideText reads UTF-16 with its mark, as editors of Windows write it.
func wideText(b []byte) (string, bool) {
	if len(b) < 2 || len(b)%2 != 0 {
		return "", false
	}
	low, high := 0, 1
	switch {
	case b[0] == 0xfe && b[1] == 0xff:
		low, high = 1, 0
	case b[0] != 0xff || b[1] != 0xfe:
		return "", false
	}
	var units []uint16
	for i := 2; i < len(b); i += 2 {
		units = append(units, uint16(b[i+low])|uint16(b[i+high])<<8)
	}
	return string(utf16.Decode(units)), true
}

// printable shows what else would not be seen, or would turn the direction of
// writing. What has many such characters is no text.
func printable(s string) (string, bool) {
	var b strings.Builder
	odd := 0
	for _, r := range s {
		switch {
		case r == '\n', r == '\t', unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\r': // of a line's end
		case r == 0:
			return "", false
		default:
			odd++
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String(), odd*20 <= len(s)
}

// send sends a file's content, or the parts that are asked for.
func (q *request) send(s *resource) error {
	c := q.open(s.attr())
	defer c.close()
	http.ServeContent(q.w, q.r, "", modified(s.attr()), c)
	if c.err != nil {
		// A part is on its way with the length of the whole: only a connection
		// that breaks tells the client that it is not all.
		q.opt.Log.Error("a download was cut short", "path", q.r.URL.Path, "error", c.err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
