package backup

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/snapshot"
	"github.com/tidemark-backup/tidemark/repo"
)

// SnapshotDir is where a machine keeps the register of its snapshots, below
// its state.
func SnapshotDir(state string) string { return filepath.Join(state, "snapshots") }

// Freeze takes snapshots of the volumes that the job reads, has the job read
// from them, and says what that makes of its point. What processes that are
// dead have left is removed before. The Set is to be closed after the run; it
// is nil if none is wanted. state is the machine's own folder.
func (j *Job) Freeze(ctx context.Context, state string, mode snapshot.Mode) (*snapshot.Set, error) {
	dir := SnapshotDir(state)
	_, sweeping := snapshot.Sweep(ctx, dir) // those of others must not keep this run from its files
	if mode == "" || mode == snapshot.Off || len(j.Paths) == 0 {
		return nil, sweeping
	}
	s, err := snapshot.Take(ctx, snapshot.Options{Dir: dir, Paths: j.Paths, OneFileSystem: j.OneFileSystem, Skip: j.leftOut, Require: mode == snapshot.Require})
	if err != nil {
		return nil, err
	}
	j.Elsewhere = s.Elsewhere
	j.Consistency = frozen(s)
	return s, sweeping
}

// leftOut says whether a folder will not be entered, as it or one above it is
// excluded.
func (j *Job) leftOut(at string) bool {
	if j.Exclude == nil {
		return false
	}
	for at = filepath.ToSlash(at); at != "/" && at != "."; at = path.Dir(at) {
		if j.Exclude.Excluded(at, true) {
			return true
		}
	}
	return false
}

// frozen says what snapshots make of the files that are read from them.
func frozen(s *snapshot.Set) repo.Consistency {
	var live []string
	for _, l := range s.Live {
		live = append(live, fmt.Sprintf("%s is read live: %s", l.Path, l.Why))
	}
	why := strings.Join(live, "; ")
	switch {
	case s.Taken() == 0 && why == "":
		return repo.Consistency{Type: repo.Live, Why: "nothing on the paths can be frozen"}
	case s.Taken() == 0:
		return repo.Consistency{Type: repo.Live, Why: why}
	case why != "":
		return repo.Consistency{Type: repo.Live, Why: s.String() + "; " + why}
	case s.Dirty:
		return repo.Consistency{Type: repo.Crash, Why: s.String() + "; its journal could not be replayed"}
	}
	return repo.Consistency{Type: repo.FileSystem, Why: s.String()}
}
