package webdav

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// multistatus writes a 207 as it goes: a folder of a million entries takes no
// more memory than one.
//
// W2: Windows needs the prefix to be D. An answer is as short as it can be: a
// file takes about 400 bytes, 671 with golang.org/x/net/webdav.
type multistatus struct {
	q       *request
	want    *wanted
	buf     bytes.Buffer
	written int // bytes
	begun   bool
}

const spaceWin = "urn:schemas-microsoft-com:"

func (q *request) multistatus(w *wanted) *multistatus {
	m := &multistatus{q: q, want: w}
	m.buf.WriteString(xml.Header + `<D:multistatus xmlns:D="DAV:"`)
	if q.agent == microsoft {
		m.buf.WriteString(` xmlns:Z="` + spaceWin + `"`)
	}
	m.buf.WriteString(">")
	return m
}

// flushAt is how much is gathered before it is sent.
const flushAt = 64 << 10

func (m *multistatus) flush() error {
	if !m.begun {
		m.q.w.Header().Set("Content-Type", "application/xml; charset=utf-8")
		m.q.w.WriteHeader(http.StatusMultiStatus)
		m.begun = true
	}
	m.q.extend()
	n, err := m.q.w.Write(m.buf.Bytes())
	m.written += n
	m.buf.Reset()
	if err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
	return nil
}

func (m *multistatus) end() error {
	m.buf.WriteString("</D:multistatus>")
	return m.flush()
}

// abort ends a listing that failed. Before anything was sent it is an error
// like any other.
func (m *multistatus) abort(err error) error {
	if !m.begun {
		return err
	}
	m.q.opt.Log.Error("a listing was cut short", "path", m.q.r.URL.Path, "error", err)
	panic(http.ErrAbortHandler)
}

// usual are the properties of "allprop". RFC 4918 leaves out lock and quota.
func (m *multistatus) usual() []xml.Name {
	names := []string{"resourcetype", "getlastmodified", "creationdate", "getcontentlength", "getetag", "getcontenttype"}
	if m.q.agent == microsoft {
		names = names[:4] // W3: what Explorer shows, and no more
	}
	var all []xml.Name
	for _, n := range names {
		all = append(all, xml.Name{Space: "DAV:", Local: n})
	}
	if m.q.agent == microsoft { // W7
		all = append(all, xml.Name{Space: spaceWin, Local: "Win32FileAttributes"})
	}
	return all
}

// resource writes the answer for one resource.
func (m *multistatus) resource(s *resource) error {
	m.buf.WriteString("<D:response><D:href>" + s.href + "</D:href>")
	names := m.want.props
	if m.want.all || m.want.names {
		names = append(m.usual(), names...)
	}
	start := m.buf.Len()
	m.buf.WriteString("<D:propstat><D:prop>")
	var missing []xml.Name
	found := 0
	for _, name := range names {
		value, ok, err := m.q.property(s, name)
		switch {
		case err != nil:
			return err
		case !ok:
			missing = append(missing, name)
			continue
		case m.want.names:
			value = ""
		}
		m.element(name, value)
		found++
	}
	m.buf.WriteString("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>")
	if found == 0 && len(missing) > 0 {
		m.buf.Truncate(start)
	}
	if len(missing) > 0 && len(m.want.props) > 0 && m.q.r.Header.Get("Brief") != "t" {
		m.propstat(missing, "404 Not Found")
	}
	m.buf.WriteString("</D:response>")
	if m.buf.Len() >= flushAt {
		return m.flush()
	}
	return nil
}

// refusal writes that properties of a resource cannot be changed.
func (m *multistatus) refusal(s *resource, names []xml.Name) {
	m.buf.WriteString("<D:response><D:href>" + s.href + "</D:href>")
	m.propstat(names, "403 Forbidden")
	m.buf.WriteString("</D:response>")
}

func (m *multistatus) propstat(names []xml.Name, status string) {
	m.buf.WriteString("<D:propstat><D:prop>")
	for _, name := range names {
		m.element(name, "")
	}
	m.buf.WriteString("</D:prop><D:status>HTTP/1.1 " + status + "</D:status></D:propstat>")
}

// element writes a property; value is XML already.
func (m *multistatus) element(name xml.Name, value string) {
	tag, space := "D:"+name.Local, ""
	switch {
	case name.Space == "DAV:":
	case name.Space == spaceWin && m.q.agent == microsoft:
		tag = "Z:" + name.Local
	case name.Space == "":
		tag, space = name.Local, ` xmlns=""`
	default:
		var b bytes.Buffer
		_ = xml.EscapeText(&b, []byte(name.Space)) // a bytes.Buffer takes everything
		tag, space = "X:"+name.Local, ` xmlns:X="`+b.String()+`"`
	}
	if value == "" {
		m.buf.WriteString("<" + tag + space + "/>")
		return
	}
	m.buf.WriteString("<" + tag + space + ">" + value + "</" + tag + ">")
}

const locks = "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"

// property returns a property of a resource as XML, and whether it has it.
func (q *request) property(s *resource, name xml.Name) (value string, ok bool, err error) {
	a := s.attr()
	if name.Space == spaceWin {
		return windows(a, name.Local)
	}
	if name.Space != "DAV:" {
		return "", false, nil
	}
	switch name.Local {
	case "resourcetype":
		if s.folder() {
			return "<D:collection/>", true, nil
		}
		return "", true, nil
	case "getlastmodified":
		return modified(a).Format(http.TimeFormat), true, nil
	case "creationdate": // no server that was backed up keeps one everywhere
		return modified(a).Format(time.RFC3339), true, nil
	case "getcontentlength":
		return strconv.FormatUint(a.Size, 10), !s.folder(), nil
	case "getetag":
		if s.folder() {
			return "", false, nil
		}
		id, err := q.ContentID(q.r.Context(), a.Node)
		if gone(err) { // who may see a file and not read it learns nothing of what is in it
			return "", false, nil
		}
		return "&#34;" + id.String() + "&#34;", err == nil, err
	case "getcontenttype":
		if s.folder() {
			return "httpd/unix-directory", true, nil
		}
		return typeOf(s.href), true, nil
	case "displayname":
		return displayName(s.href), true, nil
	case "supportedlock": // L3
		if q.agent == microsoft {
			return locks, true, nil
		}
		return "", true, nil
	case "lockdiscovery":
		return "", true, nil
	case "quota-available-bytes":
		return "0", s.folder(), nil
	case "quota-used-bytes":
		if !s.folder() {
			return "", false, nil
		}
		stats, err := q.Stat(q.r.Context())
		return strconv.FormatUint(stats.Bytes, 10), err == nil, err
	}
	return "", false, nil
}

// windows returns what Explorer and the redirector ask for.
func windows(a *fs.Attr, name string) (string, bool, error) {
	switch name {
	case "Win32FileAttributes":
		if a.Kind == table.Folder {
			return "00000011", true, nil // directory, read-only
		}
		return "00000021", true, nil // archive, read-only
	case "Win32LastModifiedTime", "Win32CreationTime", "Win32LastAccessTime":
		return modified(a).Format(http.TimeFormat), true, nil
	}
	return "", false, nil
}

// modified returns the time of a resource, within what HTTP's dates can say.
func modified(a *fs.Attr) time.Time {
	const year9999 = 253402300799
	return time.Unix(min(max(a.MTime.Sec, 0), year9999), 0).UTC()
}

// typeOf guesses the type by the name. Nothing is opened for it (G10).
func typeOf(href string) string {
	if t := mime.TypeByExtension(strings.ToLower(path.Ext(href))); t != "" {
		return t
	}
	return "application/octet-stream"
}

// displayName is the last name of an href, as text.
func displayName(href string) string {
	name := path.Base(href)
	if parts, err := splitPath("/" + name); err == nil && len(parts) == 1 {
		name = parts[0]
	}
	if name == "/" {
		return ""
	}
	if !utf8.ValidString(name) {
		name = strings.ToValidUTF8(name, "�")
	}
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(name)); err != nil {
		return ""
	}
	return b.String()
}

// etag returns the strong validator of a file (G7).
func (q *request) etag(s *resource) (string, error) {
	id, err := q.ContentID(q.r.Context(), s.attr().Node)
	if err != nil {
		return "", fmt.Errorf("name content: %w", err)
	}
	return `"` + id.String() + `"`, nil
}
