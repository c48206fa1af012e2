package page

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// maxChosen bounds what is chosen at a time.
const maxChosen = 1000

// selection is what somebody chose in a folder of a repository.
type selection struct {
	Vault string
	In    string   // the folder below the base, with the point's own name for "latest"
	Names []string // that are chosen in it, escaped; none: the folder itself
	Items []chosen
}

// chosen is a file or folder of a point. What somebody chose among deleted
// files or versions is in another point than the one that he looked at.
type chosen struct {
	Point  *repo.Point
	Path   string
	Folder bool
	Size   uint64
}

// Name is its name without the folders above.
func (c *chosen) Name() string { return path.Base(c.Path) }

// whole says whether it is all that is in the point.
func (c *chosen) whole() bool { return c.Path == "/" }

// inForm returns which repository and which names a form's folder is, as it
// was addressed.
func (q *request) inForm(in string) (place, []string, error) {
	below, ok := strings.CutPrefix(in, q.base+"files/")
	parts := strings.Split(strings.Trim(below, "/"), "/")
	if !ok || len(in) > http.DefaultMaxHeaderBytes {
		return place{}, nil, notThere("folder", in)
	}
	at, err := q.place(parts[0])
	if err != nil {
		return at, nil, err
	}
	var names []string
	for _, part := range parts[1:] {
		name, err := url.PathUnescape(part)
		if err != nil || name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return at, nil, notThere("folder", in)
		}
		names = append(names, name)
	}
	return at, names, nil
}

// choose finds what a form has chosen.
func (q *request) choose(v *vault, names []string, form url.Values) (*selection, error) {
	s := &selection{Vault: v.Name, Names: form["escaped"]}
	if len(s.Names) > maxChosen {
		return nil, fmt.Errorf("%d things are chosen, but %d are possible; choose the folder that they are in: %w", len(s.Names), maxChosen, fault.TooLarge)
	}
	node, way, err := q.walk(v, names)
	if err != nil {
		return nil, err
	}
	s.In = q.base + "files/" + v.Name + escapePath("/"+strings.Join(append(way, ""), "/"))
	if len(s.Names) == 0 {
		return s, q.add(v, s, node)
	}
	for _, escaped := range s.Names {
		name, err := url.PathUnescape(escaped)
		if err != nil {
			return nil, notThere("file", escaped)
		}
		a, err := v.tree.Lookup(q.r.Context(), node, name)
		if err != nil {
			return nil, fmt.Errorf("find %q: %w", name, err)
		}
		if err := q.add(v, s, a.Node); err != nil {
			return nil, err
		}
	}
	if len(s.Items) > 1 && slices.ContainsFunc(s.Items, func(c chosen) bool { return c.whole() }) {
		return nil, fmt.Errorf("choose one recovery point, or files in it: %w", fault.Invalid)
	}
	return s, nil
}

// walk finds a folder, and its names with that of the point in place of the link
// "latest": what somebody has chosen must not become something else because a
// point comes.
func (q *request) walk(v *vault, names []string) (fs.Node, []string, error) {
	node := fs.Root
	var way []string
	for _, name := range names {
		a, err := v.tree.Lookup(q.r.Context(), node, name)
		if err != nil {
			return 0, nil, fmt.Errorf("find %q: %w", name, err)
		}
		node, way = a.Node, append(way, name)
		outside := len(way) == 1 || len(way) == 3 && way[0] == fs.ServersName // of all points
		if name != fs.LatestName || a.Kind != table.Symlink || !outside {
			continue
		}
		to, err := v.tree.Readlink(q.r.Context(), a.Node)
		if err != nil {
			return 0, nil, err
		}
		target := path.Join("/", path.Join(way[:len(way)-1]...), to)
		if node, way, err = q.walk(v, strings.Split(target[1:], "/")); err != nil {
			return 0, nil, err
		}
	}
	return node, way, nil
}

// add puts what a node stands for into the selection.
func (q *request) add(v *vault, s *selection, n fs.Node) error {
	if v.tree.MadeUp(n) {
		return fmt.Errorf("this folder shows what is in other points: choose files and folders in it: %w", fault.Invalid)
	}
	e, p, err := v.tree.Entry(q.r.Context(), n)
	if errors.Is(err, fault.IsDir) {
		return fmt.Errorf("choose what to restore: enter a recovery point first: %w", fault.Invalid)
	}
	if err != nil {
		return err
	}
	s.Items = append(s.Items, chosen{Point: p, Path: table.Path(e.Key), Folder: e.Kind == table.Folder, Size: e.Size})
	return nil
}
