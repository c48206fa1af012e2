package backup

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/durable"
)

// Copies of sets of roots that nobody backs up any more are removed, with what
// else is remembered of them: those not written for maxIdle, and the oldest of
// more than maxCopies. One that is wanted again after all costs a pass that
// reads everything.
const (
	maxIdle   = 400 * 24 * time.Hour // more than a year, for what is saved once a year
	maxCopies = 64
)

type idleCopy struct {
	name string
	used time.Time
}

// removeUnused removes what is not used any more. Failures leave room taken,
// and are met again by the next run.
func (c *copies) removeUnused(now time.Time) {
	if c.lock == nil {
		return
	}
	top := filepath.Dir(c.dir)
	names, err := os.ReadDir(top)
	if err != nil {
		return
	}
	var others []idleCopy
	for _, n := range names {
		if !n.IsDir() || n.Name() == c.name() {
			continue
		}
		info, err := os.Stat(filepath.Join(top, n.Name(), "state"))
		if err != nil { // a run that never had a point
			info, err = n.Info()
		}
		if err == nil {
			others = append(others, idleCopy{n.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(others, func(a, b idleCopy) int { return b.used.Compare(a.used) })
	for i, o := range others {
		if i >= maxCopies-1 || now.Sub(o.used) > maxIdle {
			removeCopy(top, o.name)
		}
	}
}

// removeCopy removes one, unless a run is at it.
func removeCopy(top, name string) {
	dir := filepath.Join(top, name)
	lock, err := durable.TryLock(filepath.Join(dir, "lock"))
	if err != nil {
		return
	}
	defer func() { _ = lock.Unlock() }()
	names, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	// The lock last: it holds off runs.
	for _, last := range []bool{false, true} {
		for _, n := range names {
			if ours(n.Name()) && (n.Name() == "lock") == last {
				if err := os.Remove(filepath.Join(dir, n.Name())); err != nil && !errors.Is(err, iofs.ErrNotExist) {
					return
				}
			}
		}
	}
	_ = os.Remove(dir) // with foreign files in it, it stays
	for _, kind := range []string{"needed", "claims"} {
		_ = os.Remove(filepath.Join(filepath.Dir(top), kind, name))
	}
}

// ours says whether a copy has a file of that name.
func ours(name string) bool {
	return name == "state" || name == "lock" || name == historyName || strings.HasPrefix(name, "pages-") || strings.HasPrefix(name, "side-")
}
