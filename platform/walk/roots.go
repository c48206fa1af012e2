package walk

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// rootNode is a step on the way to a root, or a root.
type rootNode struct {
	root  bool
	below map[string]*rootNode
	names []string // of below, sorted
}

func (r *rootNode) child(name string) *rootNode {
	if r == nil {
		return nil
	}
	return r.below[name]
}

// childOf is child for a name that is not a string.
func (r *rootNode) childOf(name []byte) *rootNode {
	if r == nil {
		return nil
	}
	return r.below[string(name)]
}

func (r *rootNode) grow(name string) *rootNode {
	if c := r.below[name]; c != nil {
		return c
	}
	if r.below == nil {
		r.below = map[string]*rootNode{}
	}
	c := &rootNode{}
	r.below[name] = c
	at, _ := slices.BinarySearch(r.names, name)
	r.names = slices.Insert(r.names, at, name)
	return c
}

// plantRoots makes the tree of the roots that exist. The errors name those
// that cannot be walked. Roots inside others are kept: they may lie where the
// walk would not go by itself.
func plantRoots(paths []string) (*rootNode, []error) {
	var errs []error
	var roots []string
	for _, p := range paths {
		path, err := treePath(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := statPath(hostPath(path), false); err != nil && !isTop(path) {
			errs = append(errs, fmt.Errorf("root %s: %w", p, err))
			continue
		}
		roots = append(roots, path)
	}
	// The outer ones come first.
	slices.SortStableFunc(roots, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	top := &rootNode{}
	for _, path := range roots {
		if err := plant(top, path); err != nil {
			errs = append(errs, err)
		}
	}
	return top, errs
}

func plant(top *rootNode, path string) error {
	at := top
	if path != "/" {
		done := 0
		inside := top.root
		for name := range strings.SplitSeq(path[1:], "/") {
			if inside && done > 0 {
				st, err := statPath(hostPath(path[:done]), false)
				if err == nil && !st.IsFolder() {
					err = fmt.Errorf("%s is a link, which another root shows as such: %w", path[:done], fault.Invalid)
				}
				if err != nil {
					return fmt.Errorf("root %s: %w", path, err)
				}
			}
			done += 1 + len(name)
			if c := at.child(name); c != nil {
				inside = inside || c.root
			}
			at = at.grow(name)
		}
	}
	at.root = true
	return nil
}
