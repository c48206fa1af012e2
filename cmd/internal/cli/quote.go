package cli

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Quote returns a name from a file system in a form that a terminal prints
// and does not obey. Most names are returned as they are. Names with control
// characters, bytes that are not UTF-8, or characters that are invisible or
// turn the direction of writing are written as $'…', which shells understand,
// so that they can still be copied into a command.
func Quote(name string) string {
	if isPlain(name) {
		return name
	}
	var b strings.Builder
	b.WriteString("$'")
	escape(&b, name, `'\`)
	b.WriteByte('\'')
	return b.String()
}

// clean makes a text of our own, in which names may stand, safe to print. It
// is for messages, whose quotes are there already.
func clean(text string) string {
	if isPlain(strings.ReplaceAll(text, "\n", "")) {
		return text
	}
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		escape(&b, line, "")
	}
	return b.String()
}

func isPlain(s string) bool {
	if strings.HasPrefix(s, "$'") {
		return false // would read as quoted
	}
	for i, r := range s {
		if !shows(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd") {
			return false
		}
	}
	return true
}

// shows reports whether a character is seen where it stands and does nothing
// else. Spaces other than the usual one could be taken for it.
func shows(r rune) bool { return r == ' ' || unicode.IsPrint(r) }

func escape(b *strings.Builder, s, also string) {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case !shows(r) && r < utf8.RuneSelf:
			fmt.Fprintf(b, `\x%02x`, r)
		case !shows(r) && r <= 0xffff:
			fmt.Fprintf(b, `\u%04x`, r)
		case !shows(r):
			fmt.Fprintf(b, `\U%08x`, r)
		case n == 1 && strings.IndexByte(also, s[i]) >= 0:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
}

// Path is a path in JSON. JSON is text and names are bytes: where a name is
// not UTF-8 the text shows what can be shown, and "path_b64" holds the bytes.
type Path struct {
	Path string `json:"path"`
	B64  string `json:"path_b64,omitempty"`
}

// JSONPath returns the path as it stands in JSON.
func JSONPath(path string) Path {
	if utf8.ValidString(path) {
		return Path{Path: path}
	}
	return Path{
		Path: strings.ToValidUTF8(path, "\ufffd"),
		B64:  base64.StdEncoding.EncodeToString([]byte(path)),
	}
}
