package local

import (
	"context"
	"errors"
	iofs "io/fs"
	"os"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// lister walks the folders of one List, depth first in the order of names.
type lister struct {
	ctx    context.Context
	dir    *Dir
	prefix string
	yield  func(store.Object, error) bool
}

// startOf returns the deepest folder that holds all names beginning with
// prefix: "" for the root, else with a slash at the end.
func startOf(prefix string) string {
	return prefix[:strings.LastIndexByte(prefix, '/')+1]
}

// folder yields the objects below the folder, whose name ends with a slash or
// is "". It returns false once the caller has seen enough.
func (w *lister) folder(folder string) (more bool, err error) {
	if err := w.ctx.Err(); err != nil {
		return false, err
	}
	if folder != "" && store.ValidName(folder+"x") != nil {
		return true, nil // nothing of ours can be there
	}
	entries, err := os.ReadDir(w.dir.path(folder))
	if err != nil {
		// Gone since its name was read, or never made: no object yet. The
		// root itself is another matter: it may have been unmounted.
		if absent(err) && folder != "" {
			return true, nil
		}
		return false, err
	}
	names := sortable(entries)
	for _, e := range names {
		more, err := w.entry(folder+e.name, e.entry)
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// entry yields one object, or those below one folder.
func (w *lister) entry(name string, e iofs.DirEntry) (more bool, err error) {
	if !overlap(name, w.prefix) {
		return true, nil
	}
	if e.IsDir() {
		return w.folder(name)
	}
	if !e.Type().IsRegular() || !strings.HasPrefix(name, w.prefix) || store.ValidName(name) != nil {
		return true, nil
	}
	info, err := e.Info()
	if errors.Is(err, iofs.ErrNotExist) {
		return true, nil // deleted meanwhile
	}
	if err != nil {
		return false, err
	}
	return w.yield(store.Object{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil), nil
}

// overlap reports whether name begins with prefix, or is on the way there.
func overlap(name, prefix string) bool {
	return strings.HasPrefix(name, prefix) || strings.HasPrefix(prefix, name)
}

type listed struct {
	name  string // a folder's ends with a slash
	entry iofs.DirEntry
}

// sortable sorts by what whole names are compared by: a-b comes before a/x,
// and so the file a-b before the folder a.
func sortable(entries []iofs.DirEntry) []listed {
	names := make([]listed, len(entries))
	for i, e := range entries {
		names[i] = listed{name: e.Name(), entry: e}
		if e.IsDir() {
			names[i].name += "/"
		}
	}
	slices.SortFunc(names, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	return names
}
