package webdav

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/alias"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Names in a point are a server's bytes. Some clients cannot have some of
// them: one name that Windows refuses makes it hide the whole folder (W5), and
// macOS drops what is not UTF-8 (G4). They see an alias.

// shown returns a name as the agent can have it.
func (a agent) shown(name string) string {
	switch {
	case a.takes(name):
		return name
	case a == microsoft:
		return alias.ForWindows(name)
	}
	return alias.Of(name, func(rune) bool { return false })
}

// takes says whether the agent can have a name as it is.
func (a agent) takes(name string) bool {
	switch a {
	case other:
		return true
	case microsoft:
		return alias.Legal(name)
	}
	return utf8.ValidString(name)
}

// lookup finds a name as a client may say it: G5 in another normal form, W5 in
// other case, or by its alias.
func (q *request) lookup(parent fs.Node, name string) (fs.Attr, error) {
	ctx := q.r.Context()
	a, err := q.Lookup(ctx, parent, name)
	if !errors.Is(err, fault.NotExist) {
		return a, err
	}
	for _, form := range []norm.Form{norm.NFC, norm.NFD} {
		if again := form.String(name); again != name {
			if a, err := q.Lookup(ctx, parent, again); !errors.Is(err, fault.NotExist) {
				return a, err
			}
		}
	}
	if q.agent == microsoft || q.agent != other && alias.Is(name) {
		return q.search(ctx, parent, name)
	}
	return fs.Attr{}, err
}

// search looks through a folder for a name that the agent knows otherwise.
func (q *request) search(ctx context.Context, parent fs.Node, name string) (fs.Attr, error) {
	var twins twins
	for d, err := range q.ReadDir(ctx, parent, 0) {
		if err != nil {
			return fs.Attr{}, err
		}
		if n := string(d.Name); n != "." && n != ".." && strings.EqualFold(twins.shown(q.agent, n), name) {
			return q.Lookup(ctx, parent, n)
		}
	}
	return fs.Attr{}, fmt.Errorf("look up %q: %w", name, fault.NotExist)
}

// twins are names of a folder that differ in nothing but case, of which Windows
// can have one. They are kept in a listing for Windows only.
type twins struct{ windows alias.Twins }

// shown returns the name for the agent; of twins all but the first one have an
// alias.
func (t *twins) shown(a agent, name string) string {
	if a != microsoft {
		return a.shown(name)
	}
	return t.windows.Shown(name)
}
