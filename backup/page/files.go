package page

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// repositoriesPage lists the repositories.
type repositoriesPage struct {
	frame
	Places []placeRow
}

// placeRow is a repository on a page.
type placeRow struct {
	place
	Error  string
	Locked bool
	Typed  bool // it was unlocked by hand
	Points int
}

// repositories lists the repositories; a single one is entered at once.
func (q *request) repositories() error {
	d := repositoriesPage{frame: q.frame("files", "Files")}
	for _, at := range q.places() {
		d.Places = append(d.Places, q.placeRow(at))
	}
	return q.show("repositories", &d)
}

func (q *request) placeRow(at place) placeRow {
	row := placeRow{place: at}
	v, err := q.vaults.take(q.r.Context(), at)
	if err != nil {
		row.Error = sentence(err.Error())
		return row
	}
	defer q.vaults.give(v)
	row.Locked, row.Typed = v.Locked(), v.typed
	if b := v.Book(); b != nil {
		list, err := q.pointsOf(v)
		if err != nil {
			row.Error = sentence(err.Error())
		}
		row.Points = len(list)
	}
	return row
}

// files shows folders and files of a repository's points.
func (q *request) files() error {
	at, err := q.place(q.r.PathValue("vault"))
	if err != nil {
		return err
	}
	v, err := q.vaults.take(q.r.Context(), at)
	if err != nil {
		return err
	}
	defer q.vaults.give(v)
	if v.Locked() {
		return q.askPassphrase(at)
	}
	v.share.ServeHTTP(q.w, q.r)
	return nil
}

// askPassphrase asks for the passphrase of a repository, to go on then.
func (q *request) askPassphrase(at place) error {
	d := lockedPage{frame: q.frame("files", at.Name+" is locked"), Place: at, Next: strings.TrimPrefix(q.r.URL.RequestURI(), q.base)}
	return q.show("locked", &d)
}

// lockedPage asks for a passphrase.
type lockedPage struct {
	frame
	Place place
	Next  string // where to go then, below the base
	Wrong string // what was wrong with the last one
}

// maxPassphrase bounds what is typed, in bytes.
const maxPassphrase = 1 << 10

// unlock opens a repository with a passphrase that was typed in.
func (q *request) unlock() error {
	at, err := q.place(q.r.PathValue("vault"))
	if err != nil {
		return err
	}
	passphrase, next := q.r.PostFormValue("passphrase"), q.r.PostFormValue("next")
	if strings.HasPrefix(next, "/") || strings.Contains(next, `\`) || strings.Contains(next, "//") {
		next = ""
	}
	err = q.unlockWith(at, []byte(passphrase))
	if fault.KindOf(err) == fault.Locked || fault.KindOf(err) == fault.Denied {
		d := lockedPage{frame: q.frame("files", at.Name+" is locked"), Place: at, Next: next, Wrong: "That is not the passphrase of this repository."}
		q.render(q.w, http.StatusForbidden, "locked", &d)
		return nil
	}
	if err != nil {
		return err
	}
	if next == "" {
		next = "files/" + at.Name + "/"
	}
	return q.back(next)
}

func (q *request) unlockWith(at place, passphrase []byte) error {
	if len(passphrase) == 0 || len(passphrase) > maxPassphrase {
		return fmt.Errorf("unlock %s: %w", at.Name, fault.Locked)
	}
	q.vaults.opening.Lock()
	defer q.vaults.opening.Unlock()
	q.vaults.end(at.Address) // so that it is opened anew, with a tree
	v, err := q.openVault(q.r.Context(), at)
	if err != nil {
		return err
	}
	if !v.CanRead() {
		_, err = v.Unlock(q.r.Context(), passphrase)
		debug.FreeOSMemory()
		if err == nil {
			v.typed = true
			q.display(v)
		}
	}
	q.vaults.put(v)
	q.vaults.give(v)
	return err
}

// lock forgets a repository's passphrase.
func (q *request) lock() error {
	at, err := q.place(q.r.PathValue("vault"))
	if err != nil {
		return err
	}
	q.vaults.end(at.Address)
	return q.back("files/")
}
