package page

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/tidemark-backup/tidemark/backup/restore"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// restorePage asks where what is chosen shall go.
type restorePage struct {
	frame
	*selection
	To         string
	InPlace    bool
	OnConflict string
	OwnerNames bool
	Wrong      string // what was wrong with the form
}

// From is the point that it comes from, if it is one.
func (d *restorePage) From() string {
	for _, c := range d.Items {
		if c.Point != d.Items[0].Point {
			return "several recovery points"
		}
	}
	return "the recovery point of " + d.When(d.Items[0].Point.Started)
}

// conflicts are the rules for what is in the way, as the form says them.
func conflicts() map[string]restore.OnConflict {
	return map[string]restore.OnConflict{"copy": restore.Copy, "overwrite": restore.Overwrite, "skip": restore.Skip}
}

// chosenIn opens the repository of a form and finds what it has chosen in it.
// The repository is to be given back.
func (q *request) chosenIn(form url.Values) (*vault, *selection, error) {
	at, names, err := q.inForm(form.Get("in"))
	if err != nil {
		return nil, nil, err
	}
	v, err := q.vaults.take(q.r.Context(), at)
	if err != nil {
		return nil, nil, err
	}
	if v.Locked() {
		q.vaults.give(v)
		return nil, nil, fmt.Errorf("restore from %s: it is locked: %w", at.Name, fault.Locked)
	}
	s, err := q.choose(v, names, form)
	if err != nil {
		q.vaults.give(v)
		return nil, nil, err
	}
	return v, s, nil
}

// restoreForm shows what is chosen, and asks where to.
func (q *request) restoreForm() error {
	v, s, err := q.chosenIn(q.r.URL.Query())
	if err != nil {
		return err
	}
	defer q.vaults.give(v)
	return q.show("restore", &restorePage{frame: q.frame("files", "Restore"), selection: s, OnConflict: "copy"})
}

// restore begins a restore. One in place is shown once more before.
func (q *request) restore() error {
	if err := q.r.ParseForm(); err != nil {
		return fmt.Errorf("read the form: %w: %w", err, fault.Invalid)
	}
	form := q.r.PostForm
	v, s, err := q.chosenIn(form)
	if err != nil {
		return err
	}
	given := false
	defer func() {
		if !given {
			q.vaults.give(v)
		}
	}()
	d := &restorePage{frame: q.frame("files", "Restore"), selection: s, To: strings.TrimSpace(form.Get("to")), InPlace: form.Get("where") == "place",
		OnConflict: form.Get("conflict"), OwnerNames: form.Get("owners") != ""}
	rule, ok := conflicts()[d.OnConflict]
	if !ok {
		return fmt.Errorf("restore: %q is no rule for what is in the way: %w", d.OnConflict, fault.Invalid)
	}
	if d.Wrong = q.wrongTarget(d, v); d.Wrong != "" {
		return q.show("restore", d)
	}
	if d.InPlace && form.Get("sure") == "" {
		d.Title = "Restore in place"
		return q.show("sure", d)
	}
	t := &restoration{Items: s.Items, Vault: v.Name, OnConflict: rule, OwnerNames: d.OwnerNames}
	if !d.InPlace {
		t.To = filepath.Clean(d.To)
	}
	given = true
	if err := q.restores.begin(t, v, func() { q.vaults.give(v) }); err != nil {
		given = false
		return err
	}
	return q.back(fmt.Sprintf("restores/%d", t.ID))
}

// wrongTarget says what is wrong with where it shall go, "" if nothing is.
func (q *request) wrongTarget(d *restorePage, v *vault) string {
	switch {
	case d.InPlace:
		return ""
	case d.To == "":
		return "Say which folder to restore into."
	case !filepath.IsAbs(d.To):
		return "Give the folder's whole path, as in " + filepath.FromSlash("/tmp/restored") + "."
	}
	for _, kept := range []string{strings.TrimPrefix(v.Address, "file://"), q.o.Dir} {
		rest, err := filepath.Rel(kept, filepath.Clean(d.To))
		if err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator)) {
			return "That folder is Tidemark’s own; restored files do not belong there."
		}
	}
	return ""
}

// restoresPage lists restores.
type restoresPage struct {
	frame
	Restores []restoreState
}

func (q *request) allRestores() error {
	d := &restoresPage{frame: q.frame("files", "Restores"), Restores: q.restores.states()}
	d.Live = true
	return q.show("restores", d)
}

// restorationPage is one restore as it goes on.
type restorationPage struct {
	frame
	Restore restoreState
}

func (q *request) oneRestore() error {
	id, err := q.number()
	if err != nil {
		return err
	}
	t, err := q.restores.find(id)
	if err != nil {
		return err
	}
	d := &restorationPage{frame: q.frame("files", fmt.Sprintf("Restore %d", id)), Restore: t.state()}
	d.Live = t.over().IsZero()
	return q.show("restoration", d)
}

func (q *request) cancelRestore() error {
	id, err := q.number()
	if err != nil {
		return err
	}
	if err := q.restores.stop(id); err != nil {
		return err
	}
	return q.back(fmt.Sprintf("restores/%d", id))
}
