package repo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
)

// RepairOptions say how a repair goes about it.
type RepairOptions struct {
	// Scrub says how what is stored is read; its Repository need not be set.
	Scrub scrub.Options
	// Sources are asked for what is damaged, before the repository's replicas,
	// and before its own keys and content.
	Sources []scrub.Source
	// Local is this machine's folder: its index is rebuilt, and it remembers
	// what stays damaged, so that its next run stores that again.
	Local Local
	// Told, if set, is told of each object that is put back.
	Told func(scrub.Healed)
}

// RepairReport is what a repair did.
type RepairReport struct {
	scrub.Repaired
	Indexed int          // packs in the rebuilt index; 0: it was not, a running backup holds it
	Check   *CheckReport // what stays damaged, with all the files that it hurts; nil without the keys to read
}

// Repair does what scrub.Repair does, with all that the keys at hand can do
// beside it, rebuilds the local index from the packs' chunk lists, and names
// every file that stays damaged. Frames are rebuilt
//
//   - from themselves, if what is wrong lies in one block of 16 bytes: the tag
//     of AES-GCM tells what was there (seal.Box.Undo);
//   - from their content, if all of it is stored elsewhere, too, such as by a
//     run after the damage was remembered. It is encoded and sealed again, and
//     used if just the same bytes come of it, as the SHA-256 in the directory
//     says: so points of before the damage become whole, and nothing is put
//     that was not there before.
//
// Pages of live sets are rebuilt from the tables of their points.
//
// A frame of which a part is stored elsewhere is not put together with what is
// missing left out, and none is sealed anew with other bytes: a reader that
// does not compare content with chunk IDs could not tell what is missing, and
// an object whose bytes are not those that were once put has no proof.
func Repair(ctx context.Context, r *Repository, o RepairOptions) (*RepairReport, error) {
	d := &RepairReport{}
	k := &keySource{r: r, local: o.Local, damage: map[pack.ID]*badPack{}}
	so := scrub.RepairOptions{Options: o.Scrub, Sources: append([]scrub.Source{scrub.FromParity(r.store)}, o.Sources...), Told: o.Told}
	for _, p := range r.replicas {
		name := "replica " + p.Name
		so.Sources = append(so.Sources, scrub.Replica(name, p.Store, r.ID), scrub.Ledgers(name, r.store, p.Store, r.ID))
	}
	if o.Local.Dir != "" {
		so.Sources = append(so.Sources, scrub.Remembered(o.Local.Memory(), r.store, r.ID))
	}
	if r.CanRead() {
		so.Sources = append(so.Sources, undoSource{k})
	}
	so.Sources = append(so.Sources, scrub.Itself())
	so.Repository = r.ID
	found := so.Found
	so.Found = func(f scrub.Finding) {
		k.found(f)
		if found != nil {
			found(f)
		}
	}
	if r.CanRead() {
		so.Sources = append(so.Sources, contentSource{k}, &tableSource{keySource: k})
	}
	s, err := r.place(ctx)
	if err != nil {
		return d, fmt.Errorf("repair: %w", err)
	}
	done, err := scrub.Repair(ctx, s, so)
	d.Repaired = *done
	err = errors.Join(err, k.close())
	if err != nil {
		return d, fmt.Errorf("repair: %w", err)
	}
	r.forgetHeads()
	left := r.badPacks(ctx, d.Left)
	if err := r.rebuildIndex(ctx, o.Local, left, d); err != nil {
		return d, fmt.Errorf("repair: %w", err)
	}
	if r.CanRead() {
		if d.Check, err = r.nameDamage(ctx, o.Local, left, d); err != nil {
			return d, fmt.Errorf("repair: %w", err)
		}
	}
	return d, nil
}

func (r *Repository) forgetHeads() {
	h := &r.reader.heads
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.packs)
}

// badPacks returns the packs that findings hurt. Those of a container are the
// packs whose frames it holds.
func (r *Repository) badPacks(ctx context.Context, findings []scrub.Finding) map[pack.ID]*badPack {
	out := map[pack.ID]*badPack{}
	for _, f := range findings {
		r.addBad(ctx, out, f)
	}
	return out
}

func (r *Repository) addBad(ctx context.Context, out map[pack.ID]*badPack, f scrub.Finding) {
	mark := func(id pack.ID, frame int) {
		b := out[id]
		if b == nil {
			b = &badPack{err: f.Err, frames: map[int]bool{}}
			out[id] = b
		}
		if frame < 0 {
			b.whole = true
		} else {
			b.frames[frame] = true
		}
	}
	if id, err := pack.ParseName(f.Object); err == nil {
		mark(id, f.Frame)
		return
	}
	if id, _, err := pack.ParseMovedName(f.Object); err == nil {
		if _, err := place.Find(ctx, r.store, r.ID, id); err != nil {
			mark(id, -1)
		}
		return
	}
	id, err := pack.ParseContainerName(f.Object)
	if err != nil {
		return
	}
	c, err := place.Container(ctx, r.store, r.ID, id)
	if err != nil {
		return // the packs whose frames were there cannot be found, which the check sees
	}
	for i, s := range c.Frames {
		if f.Frame == i || f.Frame < 0 {
			mark(s.Pack, int(s.Frame))
		}
	}
}

// absentWith returns what no writer may rely on: what collectors have condemned,
// and damage.
func (r *Repository) absentWith(ctx context.Context, bad map[pack.ID]*badPack) (*keep.Absent, error) {
	absent, err := keep.ReadRounds(ctx, r.store, r.ID)
	if damaged(err) {
		// It is named; here it only means that too much may be relied on.
		absent, err = keep.ReadRounds(ctx, catcher{}, r.ID)
	}
	if err != nil {
		return nil, err
	}
	round := &keep.Round{Repository: r.ID}
	for id, b := range bad {
		frames := 0
		if h, err := r.readHead(ctx, id); err == nil {
			frames = h.Frames()
		}
		round.Frames = append(round.Frames, b.need(id, frames))
	}
	absent.Add(round)
	return absent, nil
}

// rebuildIndex empties the local index and fills it from the packs' chunk lists.
func (r *Repository) rebuildIndex(ctx context.Context, l Local, bad map[pack.ID]*badPack, d *RepairReport) error {
	if l.Dir == "" || !r.CanWrite() {
		return nil
	}
	absent, err := r.absentWith(ctx, bad)
	if err != nil {
		return err
	}
	ix, err := index.Open(filepath.Join(l.Dir, "index"), index.Options{Repository: r.ID})
	if err != nil {
		return err
	}
	if !ix.Stats().Owner {
		return ix.Close()
	}
	ix.Drop(func(pack.ID) bool { return true })
	if err := r.fillIndex(ctx, ix, absent); err != nil {
		return errors.Join(err, ix.Close())
	}
	d.Indexed = ix.Stats().Packs
	return ix.Close()
}

// nameDamage checks all points against what stays damaged.
func (r *Repository) nameDamage(ctx context.Context, l Local, bad map[pack.ID]*badPack, d *RepairReport) (*CheckReport, error) {
	whole := map[pack.ID]bool{}
	for _, h := range d.Healed {
		if id, err := pack.ParseName(h.Object); err == nil {
			whole[id] = true
		}
	}
	o := CheckOptions{known: bad, whole: whole, allFiles: true}
	if l.Dir != "" {
		o.Local = &l
	}
	report, err := Check(ctx, r, o)
	if err != nil {
		return nil, err
	}
	// What is no pack's, nor a point's, hurts no file; it is named with the rest.
	named := map[string]bool{}
	for _, f := range report.Faults {
		named[f.Object] = true
	}
	for _, f := range d.Left {
		if !named[f.Object] {
			named[f.Object] = true
			report.Faults = append(report.Faults, Fault{Object: f.Object, Err: f.Err})
		}
	}
	return report, nil
}

// Advice says what people may do about an object that stays damaged; "" if
// there is nothing but what is said of all.
func Advice(object string) string {
	switch {
	case strings.HasPrefix(object, prefixSlots):
		return "this key slot opens nothing any more: while another one opens, make a new one with `tidemark key add` and remove this one"
	case strings.HasPrefix(object, prefixEpochs):
		return "this program does not need the object; a replica has it"
	case object == nameRepository:
		return "without it nothing can be opened: copy it from a replica"
	case strings.HasPrefix(object, pack.Prefix), strings.HasPrefix(object, pack.ContainerPrefix):
		return "back up now, which stores again what the files still have, and repair once more: what was stored again heals older points, too"
	}
	return ""
}
