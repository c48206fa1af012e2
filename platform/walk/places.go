package walk

import (
	"path"
	"strings"
)

// places says which folders are read elsewhere than their paths say: from a
// snapshot of their volume. Names in the tree stay those of the live folders.
type places struct {
	at    map[string]string // from a path of the walk to a path of this host
	above map[string]bool   // the folders that hold those
}

// newPlaces takes paths of this host, and leaves out what is no path of the
// walk.
func newPlaces(elsewhere map[string]string) *places {
	if len(elsewhere) == 0 {
		return nil
	}
	p := &places{at: map[string]string{}, above: map[string]bool{}}
	for from, to := range elsewhere {
		if from, err := treePath(from); err == nil {
			p.at[from] = to
			p.above[path.Dir(from)] = true
		}
	}
	return p
}

// of returns where just this folder is read; false: where it belongs.
func (p *places) of(path string) (string, bool) {
	if p == nil {
		return "", false
	}
	at, ok := p.at[path]
	return at, ok
}

// hold says whether folders in this one are read elsewhere.
func (p *places) hold(path string) bool { return p != nil && p.above[path] }

// host returns the path of this host of which a path of the walk is read.
func (p *places) host(name string) string {
	if p == nil {
		return hostPath(name)
	}
	for dir := name; ; dir = path.Dir(dir) {
		if at, ok := p.at[dir]; ok {
			rest := strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
			if rest == "" {
				return at
			}
			return strings.TrimSuffix(at, separator) + separator + strings.ReplaceAll(rest, "/", separator)
		}
		if dir == "/" {
			return hostPath(name)
		}
	}
}
