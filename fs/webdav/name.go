package webdav

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Names in a point are a server's bytes. Some clients cannot have some of
// them: one name that Windows refuses makes it hide the whole folder (W5), and
// macOS drops what is not UTF-8 (G4). They see an alias: the name with the
// offending characters replaced and the first digits of the name's hash, so
// that the way back needs no state, only a look through the folder.

// shown returns a name as the agent can have it.
func (a agent) shown(name string) string {
	if a.takes(name) {
		return name
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(name, "_") {
		if a.refuses(r) {
			r = '_'
		}
		b.WriteRune(r)
	}
	text, dot := b.String(), ""
	if i := strings.LastIndexByte(text, '.'); i > 0 && len(text)-i <= 6 {
		text, dot = text[:i], text[i:]
	}
	if a == microsoft {
		dot = strings.TrimRight(dot, ". ")
	}
	return text + aliasMark(name) + dot
}

// aliasMark is what tells an alias: a tilde and 8 digits of the name's hash.
func aliasMark(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "~" + hex.EncodeToString(sum[:4])
}

// isAlias says whether a name may be an alias.
func isAlias(name string) bool {
	i := strings.LastIndexByte(name, '~')
	if i < 0 || len(name) < i+9 {
		return false
	}
	_, err := hex.DecodeString(name[i+1 : i+9])
	return err == nil
}

// takes says whether the agent can have a name as it is.
func (a agent) takes(name string) bool {
	if a == other {
		return true
	}
	if !utf8.ValidString(name) {
		return false
	}
	if a == microsoft {
		if strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || reserved(name) {
			return false
		}
	}
	return !strings.ContainsFunc(name, a.refuses)
}

func (a agent) refuses(r rune) bool {
	if a == microsoft {
		return r < ' ' || strings.ContainsRune(`<>:"|?*\`, r)
	}
	return false
}

// reserved says whether Windows keeps a name for a device.
func reserved(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch base = strings.TrimRight(base, " "); base {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	if len(base) == 4 && (base[:3] == "COM" || base[:3] == "LPT") {
		return base[3] >= '1' && base[3] <= '9'
	}
	return false
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
	if q.agent == microsoft || q.agent != other && isAlias(name) {
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

// twins finds names of a folder that differ in nothing but case, of which
// Windows can have one. It keeps a hash a name, in a listing for Windows only.
type twins struct{ seen map[[8]byte]bool }

// shown returns the name for the agent; of twins all but the first one have an
// alias.
func (t *twins) shown(a agent, name string) string {
	if a != microsoft {
		return a.shown(name)
	}
	if t.seen == nil {
		t.seen = map[[8]byte]bool{}
	}
	shown := a.shown(name)
	sum := sha256.Sum256([]byte(strings.ToLower(shown)))
	if t.seen[[8]byte(sum[:8])] {
		if i := strings.LastIndexByte(shown, '.'); i > 0 {
			return shown[:i] + aliasMark(name) + shown[i:]
		}
		return shown + aliasMark(name)
	}
	t.seen[[8]byte(sum[:8])] = true
	return shown
}
