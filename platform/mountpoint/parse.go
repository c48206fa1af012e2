package mountpoint

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// parse reads one line of /proc/self/mountinfo:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//	id parent major:minor root path options optional-fields - type source super-options
//
// Spaces, tabs, line feeds and backslashes in it are octal escapes.
func parse(line string) (Mount, error) {
	bad := func(what string) (Mount, error) {
		return Mount{}, fmt.Errorf("table of mounts: %s in %q: %w", what, line, fault.Corrupt)
	}
	head, tail, ok := strings.Cut(line, " - ")
	if !ok {
		return bad("no separator")
	}
	h, t := strings.Split(head, " "), strings.Split(tail, " ")
	if len(h) < 6 || len(t) < 2 {
		return bad("too few fields")
	}
	var m Mount
	var err error
	if m.ID, err = strconv.Atoi(h[0]); err != nil {
		return bad("no number")
	}
	if m.Parent, err = strconv.Atoi(h[1]); err != nil {
		return bad("no number")
	}
	major, minor, ok := strings.Cut(h[2], ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return bad("no device")
	}
	m.Major, m.Minor = uint32(a), uint32(b)
	m.Root, m.Path, m.Options = unescape(h[3]), unescape(h[4]), h[5]
	m.Type, m.Source = unescape(t[0]), unescape(t[1])
	if len(t) > 2 {
		m.Super = t[2]
	}
	if !strings.HasPrefix(m.Path, "/") {
		return bad("no path")
	}
	return m, nil
}

// unescape undoes the octal escapes. What is no escape stays.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
