package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// A folder's entry stands in the table before its own entries do, and goes
// there before anybody tries to list the folder. So what becomes of the listing
// is guessed: as it was the last time. If a guess was wrong the table is made
// once more, which takes over all pages but those with such folders.

// maxUnlisted bounds the folders that are remembered as not listed. Whoever may
// not read more than that many sees it from the warnings.
const maxUnlisted = 1 << 17

// unlisted notes that a folder could not be listed wholly.
func (r *run) unlisted(path string) {
	if len(r.failed) < maxUnlisted {
		r.failed[string(table.Key(path))] = true
	}
}

// guess says of an entry what the last table said.
func (it *item) guess(old *table.Entry) {
	it.entry.Incomplete = old != nil && old.Kind == table.Folder && it.stat.IsFolder() && old.Incomplete
}

// guessed notes a folder that the new table calls incomplete.
func (s *saver) guessed(e *table.Entry) {
	if e.Kind == table.Folder && e.Incomplete {
		s.incomplete[string(e.Key)] = true
	}
}

// isRight says whether just those folders are called incomplete that could not
// be listed. A folder whose entry is not in the table does not matter.
func (s *saver) isRight(ctx context.Context, t *table.Tree) (bool, error) {
	for key := range s.incomplete {
		if !s.run.failed[key] {
			return false, nil
		}
	}
	for key := range s.run.failed {
		if s.incomplete[key] {
			continue
		}
		_, err := t.Lookup(ctx, []byte(key))
		if err == nil {
			return false, nil
		}
		if !errors.Is(err, fault.NotExist) {
			return false, err
		}
	}
	return true, nil
}

// correct makes the table again if it is wrong about what could be listed.
func (s *saver) correct(ctx context.Context, root *table.Root) (*table.Root, error) {
	if len(s.incomplete) == 0 && len(s.run.failed) == 0 {
		return root, nil
	}
	tree, err := table.New(s.run.copies, *root, table.Options{ReadAhead: 2})
	if err != nil {
		return nil, fmt.Errorf("read back the new table: %w", err)
	}
	right, err := s.isRight(ctx, tree)
	if err != nil {
		return nil, fmt.Errorf("read back the new table: %w", err)
	}
	if right {
		return root, nil
	}
	s.changed = true
	b, err := table.NewBuilder(s.sink, s.run.repo.PageParams())
	if err != nil {
		return nil, err
	}
	for it, err := range tree.From(ctx, 0) {
		if err != nil {
			return nil, fmt.Errorf("read back the new table: %w", err)
		}
		failed := s.run.failed[string(it.Entry.Key)]
		if it.Entry.Kind != table.Folder || it.Entry.Incomplete == failed {
			err = b.Keep(ctx, it)
		} else {
			e := *it.Entry
			e.Incomplete = failed
			err = b.Add(ctx, &e)
		}
		if err != nil {
			return nil, err
		}
	}
	return b.Finish(ctx)
}
