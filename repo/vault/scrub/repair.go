package scrub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Healed is an object that was put back.
type Healed struct {
	Object string
	From   []string // the sources that helped
}

// Repaired is what a repair did.
type Repaired struct {
	Scrub    *Report
	Finished []string // objects whose healing had been cut short
	Healed   []Healed
	Left     []Finding        // what stays damaged
	Why      map[string]error // of each object that stays so: why it could not be healed
}

// maxPasses bounds how often a repair looks again: a point leads to live pages
// of a few levels, those to packs.
const maxPasses = 16

// RepairOptions say how a repair goes about it.
type RepairOptions struct {
	Options
	Sources []Source
	// Told, if set, is told of each object that is put back.
	Told func(Healed)
}

// Repair ends healings that were cut short, scrubs, and puts back what sources
// have. It may be repeated, and killed at any moment. An intent that is damaged
// is removed: a claim that falls early costs its writer to send again what was
// condemned meanwhile, and one that nobody can read stops every collection.
func Repair(ctx context.Context, s store.Store, o RepairOptions) (*Repaired, error) {
	d := &Repaired{Why: map[string]error{}}
	var err error
	if d.Finished, err = Finish(ctx, s); err != nil && !errors.Is(err, fault.Corrupt) {
		return d, err
	}
	if o.State == nil {
		o.State = newState(o.Repository)
	}
	begin := o.Now()
	if d.Scrub, err = Run(ctx, s, o.Options); err != nil {
		return d, err
	}
	found := d.Scrub.Findings
	for range maxPasses {
		again, err := d.heal(ctx, s, o, found)
		if err != nil || !again {
			return d, err
		}
		// What a point needs is known only now that it, or its live set, is
		// right. What was found whole just now is not read again.
		more := o.Options
		more.MaxAge = max(o.MaxAge, o.Now().Sub(begin)+time.Second)
		r, err := Run(ctx, s, more)
		if err != nil {
			return d, err
		}
		found = slices.DeleteFunc(r.Findings, func(f Finding) bool { return d.Why[f.Object] != nil })
		d.Scrub.Findings = append(d.Scrub.Findings, found...)
		d.Scrub.Objects, d.Scrub.Packs, d.Scrub.Bytes = d.Scrub.Objects+r.Objects, d.Scrub.Packs+r.Packs, d.Scrub.Bytes+r.Bytes
	}
	return d, fmt.Errorf("repair: objects are damaged again as soon as they are put back: %w", fault.Corrupt)
}

// heal puts back the objects with findings, one after the other.
// again says that there may be more to find.
func (d *Repaired) heal(ctx context.Context, s store.Store, o RepairOptions, found []Finding) (again bool, err error) {
	// Frames first: live sets are rebuilt from what lies in them.
	order := slices.Clone(found)
	slices.SortStableFunc(order, func(a, b Finding) int { return cmp.Compare(rank(a.Object), rank(b.Object)) })
	name := ""
	for _, f := range order {
		if f.Object == name {
			continue
		}
		name = f.Object
		healed, err := healOne(ctx, s, o, name)
		switch {
		case err == nil:
			again = again || leads(name)
			d.Healed = append(d.Healed, *healed)
			if o.Told != nil {
				o.Told(*healed)
			}
		case ctx.Err() != nil || away(err) || full(err):
			return false, fmt.Errorf("repair: %w", err)
		default:
			d.Why[name] = err
		}
	}
	d.Left = append(d.Left, slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return d.Why[f.Object] == nil })...)
	return again, nil
}

// rank says when an object is healed, the lowest first.
func rank(name string) int {
	return slices.IndexFunc([]string{pack.ContainerPrefix, pack.MovedPrefix, pack.Prefix, ""}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// leads says whether an object tells what others must be there.
func leads(name string) bool {
	return strings.HasPrefix(name, live.Prefix) || strings.HasPrefix(name, point.Prefix) ||
		strings.HasPrefix(name, ledger.Prefix) || strings.HasPrefix(name, pack.MovedPrefix)
}

// full says that a place takes nothing more, so that going on is pointless.
func full(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.NoSpace || kind == fault.ReadOnly
}

func healOne(ctx context.Context, s store.Store, o RepairOptions, name string) (*Healed, error) {
	// What counts for nothing as it is, and comes again by itself.
	worthless := map[string]string{intents: "a damaged claim counts for nothing", ledger.Copied: "the next replication copies it again"}
	if why := worthless[shapeOf(name).prefix]; why != "" {
		if err := s.Delete(ctx, name); err != nil {
			return nil, err
		}
		return &Healed{name, []string{"its removal: " + why}}, nil
	}
	rebuilt, err := Rebuild(ctx, s, o.Repository, name, o.Sources)
	if err != nil {
		return nil, err
	}
	if shapeOf(name).unproven && o.State != nil {
		if err := o.State.proof(name, rebuilt.Data); err != nil {
			return nil, fmt.Errorf("from %s: %w", rebuilt.From[0], err)
		}
	}
	if len(rebuilt.From) == 0 { // somebody was faster, or the disk has come to its senses
		return &Healed{name, []string{"itself"}}, nil
	}
	if err := Heal(ctx, s, name, rebuilt.Data); err != nil {
		return nil, err
	}
	return &Healed{name, rebuilt.From}, nil
}
