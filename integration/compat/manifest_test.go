package compat

import (
	"crypto/sha256"
	"fmt"
	"sort"
	"strings"
)

// line is one entry of a manifest.
type line struct {
	kind     string // file, folder, symlink, fifo, char, block
	mode     uint32
	uid, gid uint32
	size     uint64
	sec      int64
	nsec     uint32
	path     string
	link     string // identity of the source's file; "" if it has one name
	target   string
	device   string // "major,minor"
	xattrs   [][2]string
	sum      [sha256.Size]byte
	holes    uint64
}

// quoted writes bytes as one word of ASCII, as reader.py does.
func quoted(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/._-", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// sortKey orders paths as a table does: folder by folder.
func sortKey(path string) string {
	i := strings.LastIndexByte(path, '/')
	folder := strings.ReplaceAll(strings.TrimPrefix(path[:i+1], "/"), "/", "\x00")
	return folder + "\x00" + path[i+1:]
}

// manifest renders lines in the order of a table. Paths below root are shown
// below shown instead; others are left out.
func manifest(lines []line, root, shown string) []string {
	sort.Slice(lines, func(i, j int) bool { return sortKey(lines[i].path) < sortKey(lines[j].path) })
	first := map[string]string{}
	var out []string
	for i := range lines {
		l := &lines[i]
		rest, below := strings.CutPrefix(l.path, root)
		if !below || rest != "" && rest[0] != '/' {
			continue
		}
		out = append(out, l.render(shown+rest, first))
	}
	return out
}

func (l *line) render(path string, first map[string]string) string {
	size := l.size
	if l.kind != "file" {
		size = 0
	}
	s := fmt.Sprintf("%s %04o %d:%d %d %d.%09d %s", l.kind, l.mode, l.uid, l.gid, size, l.sec, l.nsec, quoted(path))
	if l.link != "" {
		if first[l.link] == "" {
			first[l.link] = path
		}
		s += " link=" + quoted(first[l.link])
	}
	if l.target != "" {
		s += " target=" + quoted(l.target)
	}
	if l.device != "" {
		s += " device=" + l.device
	}
	for _, x := range l.xattrs {
		s += fmt.Sprintf(" xattr=%s:%x", quoted(x[0]), x[1])
	}
	if l.kind == "file" {
		s += fmt.Sprintf(" sha256=%x holes=%d", l.sum, l.holes)
	}
	return s
}

// differences returns the lines that only one of two manifests has.
func differences(got, want []string) string {
	have := map[string]int{}
	for _, l := range got {
		have[l]++
	}
	var b strings.Builder
	for _, l := range want {
		if have[l]--; have[l] < 0 {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	for _, l := range got {
		if have[l] > 0 {
			have[l]--
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	return b.String()
}

// within keeps the lines of a manifest below a path.
func within(lines []string, root string) []string {
	var out []string
	for _, l := range lines {
		path := strings.Fields(l)[5]
		if path == root || strings.HasPrefix(path, root+"/") {
			out = append(out, l)
		}
	}
	return out
}
