package exclude

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// scope says which text a rule looks at.
type scope uint8

const (
	byName scope = iota // the entry's own name
	byRoot              // the path below the backup root
	byPath              // the whole path
)

// rule is one compiled pattern.
type rule struct {
	glob        glob
	scope       scope
	negate      bool // takes back
	foldersOnly bool
	number      int // its place in the list, from 1
}

// parse compiles one pattern. The roots end with a slash.
func parse(text string, roots []string) (rule, error) {
	var r rule
	if len(text) > maxPattern {
		return r, fmt.Errorf("longer than %d bytes: %w", maxPattern, fault.Invalid)
	}
	if strings.IndexByte(text, 0) >= 0 {
		return r, fmt.Errorf("holds a zero byte: %w", fault.Invalid)
	}
	if rest, ok := strings.CutPrefix(text, "!"); ok {
		r.negate, text = true, rest
	}
	if rest, ok := strings.CutSuffix(text, "/"); ok {
		r.foldersOnly, text = true, rest
	}
	if text == "" {
		return r, fmt.Errorf("it is empty: %w", fault.Invalid)
	}
	switch {
	case isAbsolute(text, roots):
		r.scope = byPath
	case text[0] == '/':
		r.scope, text = byRoot, text[1:]
	case strings.IndexByte(text, '/') >= 0:
		r.scope = byRoot
	}
	if text == "" {
		return r, fmt.Errorf("it names nothing below the top: %w", fault.Invalid)
	}
	// "**/name" says no more than "name", which is found faster.
	if name := strings.TrimLeft(text, "*"); r.scope == byRoot && len(text)-len(name) > 1 &&
		len(name) > 1 && name[0] == '/' && strings.IndexByte(name[1:], '/') < 0 {
		r.scope, text = byName, name[1:]
	}
	var err error
	if r.glob, err = parseGlob(text); err != nil {
		return r, fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	return r, nil
}

// isAbsolute applies the rule of the package comment for absolute paths.
func isAbsolute(text string, roots []string) bool {
	for _, root := range roots {
		if leadsTo(text, root) {
			return true
		}
	}
	return false
}

// leadsTo reports whether a pattern's components are those of root as far as
// both go. The first ones are compared letter for letter: a pattern like
// "/*" says "everything at the top of each root" and is no absolute path.
func leadsTo(text, root string) bool {
	if text[0] != '/' && !hasDrive(root) {
		return false
	}
	want := strings.Split(strings.TrimSuffix(root, "/"), "/")
	have := strings.Split(text, "/")
	if text[0] == '/' && !hasDrive(root) {
		want, have = want[1:], have[1:]
	}
	if len(want) == 0 {
		return true // the root is the top of the file system
	}
	first, err := parseGlob(have[0])
	if name, ok := first.literal(); err != nil || !ok || name != want[0] {
		return false
	}
	for i := 1; i < min(len(want), len(have)); i++ {
		if have[i] == "**" {
			return true
		}
		g, err := parseGlob(have[i])
		if err != nil || !g.match(want[i]) {
			return false
		}
	}
	return true
}

// hasDrive reports whether a path begins with a drive letter, as C:/ does.
func hasDrive(path string) bool {
	if len(path) < 3 || path[1] != ':' || path[2] != '/' {
		return false
	}
	c := path[0] | 0x20
	return 'a' <= c && c <= 'z'
}

var (
	errOpenBracket = errors.New("a '[' without its ']'")
	errBackslash   = errors.New("a backslash at the end")
	errClass       = errors.New("no such character class")
)

// Literal returns the pattern for an absolute path, written with slashes, and
// for nothing else.
func Literal(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(`\*?[`, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// Folders returns patterns for folders, and for where they really are if a link
// leads there. What is no absolute path is left out.
func Folders(paths ...string) []string {
	var patterns []string
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			continue
		}
		patterns = append(patterns, Literal(filepath.ToSlash(filepath.Clean(path))))
		if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
			patterns = append(patterns, Literal(filepath.ToSlash(real)))
		}
	}
	return patterns
}
