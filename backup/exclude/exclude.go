// Package exclude decides which files a backup leaves out.
//
// Its nouns: a [Pattern] is one line a person wrote; a [Matcher] is many of
// them, compiled for the roots of one backup, and answers for each path.
//
// The language is that of gitignore files:
//
//	*.o          every entry named so, at any depth
//	build/       folders only
//	/build       at the top of each backup root only
//	doc/*.pdf    a slash inside anchors a pattern at each backup root, too
//	**/log  a/**/b  tmp/**
//	             ** stands for any number of folders, also none
//	? [a-z] [!a] one character (never a slash)
//	!keep.o      takes back what an earlier pattern excluded
//	\# \! \*     the character itself
//
// The last pattern that matches decides. What lies in an excluded folder is
// never looked at, so nothing in there can be taken back; the roots
// themselves were asked for by name and are never excluded. Letters match
// case-sensitively. Unlike git, one character is a character and not a byte
// where the name is UTF-8, and a pattern that could never match (an open
// bracket, a lone backslash at the end) is an error.
//
// # Absolute paths
//
// People also write whole paths, and expect them to work: with the root
// /home, the pattern /home/*/.cache means exactly these folders. The rule is:
// a pattern with a leading slash is an absolute path if it leads into or to
// one of the backup roots, that is, if its first component is the root's
// first one, letter for letter, and the following ones match the root's as
// far as both go. An absolute pattern counts for all roots and is matched
// against the whole path. All other patterns with a leading slash are
// anchored at each root. Where a root begins with a drive letter, so may a
// pattern (C:/Users/*/AppData). All paths are written with slashes.
//
// The package reads no folders: package walk asks it. It keeps no state
// between calls, so that many may ask at once.
package exclude

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Bounds on what is read from a file of patterns.
const (
	maxPatterns = 1 << 18 // in one Matcher
	maxPattern  = 1 << 14 // bytes of one pattern
)

// Pattern is one pattern as somebody wrote it.
type Pattern struct {
	Text   string // in the language of the package, without the line's end
	Origin string // where it stands, for messages: "--exclude", "FILE:12"
}

// Flags makes patterns of the values of a command-line flag or a list in a
// configuration. There, '#' begins no comment and spaces at the end count.
func Flags(origin string, texts []string) []Pattern {
	list := make([]Pattern, len(texts))
	for i, text := range texts {
		list[i] = Pattern{Text: text, Origin: origin}
	}
	return list
}

// Read reads the patterns of a file, one per line: empty lines and those that
// begin with '#' are skipped, spaces at the end are cut unless a backslash
// stands before them. The name is used in messages only.
func Read(r io.Reader, name string) ([]Pattern, error) {
	var list []Pattern
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxPattern+2)
	lines.Split(scanLines)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		if line = trimSpaces(line); line == "" {
			continue
		}
		if len(list) == maxPatterns {
			return nil, fmt.Errorf("read patterns %s: more than %d: %w", name, maxPatterns, fault.Invalid)
		}
		list = append(list, Pattern{Text: line, Origin: fmt.Sprintf("%s:%d", name, n)})
	}
	err := lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("a line of more than %d bytes: %w", maxPattern, fault.Invalid)
	}
	if err != nil {
		return nil, fmt.Errorf("read patterns %s: %w", name, err)
	}
	return list, nil
}

// scanLines is bufio.ScanLines, but a carriage return at the end of the last
// line, with no newline after it, is part of the pattern, as it is for git.
func scanLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, bytes.TrimSuffix(data[:i], []byte("\r")), nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// trimSpaces cuts the spaces at the end that are not escaped.
func trimSpaces(s string) string {
	end := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			end = i + 1
		case s[i] != ' ':
			end = i + 1
		}
	}
	return s[:end]
}

// Matcher answers for the paths below a list of roots. The zero Matcher and
// a nil one exclude nothing. It may be used by many goroutines.
type Matcher struct {
	roots []string // each with one slash at its end
	names map[string]decision
	paths map[string]decision
	wild  []rule // what the two maps cannot answer, in the order given
}

// decision is what the patterns for one exact name say: the number of the
// last one that matches any entry, and of the last that matches folders,
// both counted from 1, and whether they exclude.
type decision struct {
	any, folder       int
	anyOut, folderOut bool
}

// Compile makes a Matcher of patterns, for a backup of roots: absolute paths
// written with slashes. A pattern that can never match is fault.Invalid.
func Compile(roots []string, patterns []Pattern) (*Matcher, error) {
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("compile exclude patterns: more than %d: %w", maxPatterns, fault.Invalid)
	}
	m := &Matcher{names: map[string]decision{}, paths: map[string]decision{}}
	for _, root := range roots {
		m.roots = append(m.roots, strings.TrimSuffix(path.Clean(root), "/")+"/")
	}
	for i, p := range patterns {
		r, err := parse(p.Text, m.roots)
		if err != nil {
			return nil, fmt.Errorf("read pattern %q of %s: %w", p.Text, p.Origin, err)
		}
		r.number = i + 1
		m.add(r)
	}
	return m, nil
}

// add files a rule where it is found fastest.
func (m *Matcher) add(r rule) {
	literal, isLiteral := r.glob.literal()
	switch {
	case isLiteral && r.scope == byName:
		m.names[literal] = m.names[literal].with(r)
	case isLiteral && r.scope == byPath:
		m.paths[literal] = m.paths[literal].with(r)
	case isLiteral && len(m.roots) == 1:
		literal = m.roots[0] + literal
		m.paths[literal] = m.paths[literal].with(r)
	default:
		m.wild = append(m.wild, r)
	}
}

// with is d after rule r, which comes later than all that d has seen.
func (d decision) with(r rule) decision {
	if !r.foldersOnly {
		d.any, d.anyOut = r.number, !r.negate
	}
	d.folder, d.folderOut = r.number, !r.negate
	return d
}

// last returns the number of the last rule and what it says.
func (d decision) last(isDir bool) (int, bool) {
	if isDir {
		return d.folder, d.folderOut
	}
	return d.any, d.anyOut
}

// Excluded reports whether the entry at path, written with slashes and below
// one of the roots, is left out. It looks at this entry only: a walker asks
// for a folder before it asks for what the folder holds, and does not enter
// an excluded one.
func (m *Matcher) Excluded(path string, isDir bool) bool {
	if m == nil || len(m.names)+len(m.paths)+len(m.wild) == 0 {
		return false
	}
	below, ok := m.below(path)
	if !ok {
		return false
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	number, out := m.names[name].last(isDir)
	if len(m.paths) > 0 {
		if n, o := m.paths[path].last(isDir); n > number {
			number, out = n, o
		}
	}
	for i := len(m.wild) - 1; i >= 0; i-- {
		r := &m.wild[i]
		if r.number < number {
			break
		}
		if r.foldersOnly && !isDir {
			continue
		}
		text := name
		switch r.scope {
		case byRoot:
			text = below
		case byPath:
			text = path
		}
		if r.glob.match(text) {
			return !r.negate
		}
	}
	return out
}

// below cuts the root off a path. It reports false for the roots themselves
// and for what lies elsewhere. Where roots are nested the longest counts.
func (m *Matcher) below(path string) (string, bool) {
	longest := 0
	for _, root := range m.roots {
		if len(root) > longest && strings.HasPrefix(path, root) {
			longest = len(root)
		}
	}
	if longest == 0 || longest == len(path) {
		return "", false
	}
	for _, root := range m.roots {
		if len(root) == len(path)+1 && root[:len(path)] == path {
			return "", false // a root inside another root
		}
	}
	return path[longest:], true
}
