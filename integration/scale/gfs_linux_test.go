package scale

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// years is a server that is backed up every night and a vault that prunes every
// night, by the vault's clock.
type years struct {
	*churn
	now    time.Time
	device *repo.Device
	moved  int64
}

// newYears sets a policy of grandfather, father and son.
func newYears(t *testing.T, files int, policy string) *years {
	// Limits as they are for everybody: nothing is tuned to this test.
	y := &years{churn: newChurn(t, files, 0.01, repo.HollowLimits{}), now: time.Now().Add(time.Hour)}
	y.store.SetClock(func() time.Time { return y.now })
	l := y.local()
	var err error
	if y.device, err = l.Device(); err != nil {
		t.Fatal(err)
	}
	if err := y.repo.OpenLedger(t.Context(), l, repo.LedgerOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err := retain.ParsePolicy([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	b := y.repo.Book()
	reading, err := b.Read(t.Context(), y.now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Append(t.Context(), y.device.Key, reading, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		e, err := s.Edit(p, v)
		if err != nil {
			return nil, err
		}
		return e.Records, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func (y *years) local() repo.Local { return y.repo.Local(filepath.Join(y.dir, "state")) }

// night changes files, backs up and prunes.
func (y *years) night() {
	y.change()
	y.backUpAndPrune()
}

func (y *years) change() {
	for range y.daily {
		y.write(y.random.IntN(y.files))
	}
}

// backUpAndPrune is what happens every night; then it is the next day.
func (y *years) backUpAndPrune() {
	y.backUp()
	started := time.Now()
	y.moved += y.prune(false).Moved
	y.took += time.Since(started)
	y.now = y.now.Add(24 * time.Hour)
}

func (y *years) backUp() {
	job := backup.Job{Paths: []string{filepath.Join(y.dir, "src")}, Now: func() time.Time { return y.now }}
	if s, err := backup.Run(context.Background(), y.repo, y.local(), job); err != nil || s.Statistics.Warnings > 0 {
		y.t.Fatal(err, s)
	}
}

// prune collects; with full it goes by nothing that it counted before.
func (y *years) prune(full bool) *keep.Plan {
	ctx := context.Background()
	book := y.repo.Book()
	if err := book.Refresh(ctx); err != nil {
		y.t.Fatal(err)
	}
	plan, err := keep.Prune(ctx, y.store, book, keep.Options{
		Repository: y.repo.ID, Key: y.device.Key, Counts: filepath.Join(y.dir, "counts"), Machine: func() time.Time { return y.now }, Full: full,
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return plan
}

// bytes returns what is stored, and what the kept points need of content and of
// pages, before compression.
func (y *years) bytes() (stored, content, pages int64, points int) {
	for o, err := range y.store.List(y.t.Context(), "") {
		if err != nil {
			y.t.Fatal(err)
		}
		stored += o.Size
	}
	list, err := y.repo.Points(y.t.Context())
	if err != nil {
		y.t.Fatal(err)
	}
	needed := map[table.Address]bool{}
	seen := map[table.Address]bool{}
	for _, p := range list {
		tree, err := y.repo.Tree(y.t.Context(), p, table.Options{})
		if err != nil {
			y.t.Fatal(err)
		}
		for info, err := range tree.Pages(y.t.Context(), nil) {
			if err != nil {
				y.t.Fatal(err)
			}
			if info.Ref != nil && !seen[info.Ref.Address] {
				seen[info.Ref.Address] = true
				pages += int64(info.Ref.Length)
			}
			if info.Leaf == nil {
				continue
			}
			for i := range info.Leaf.Len() {
				for _, x := range info.Leaf.Entry(i).Extents {
					needed[table.Address{Pack: x.Pack, Offset: x.Offset, Length: uint32(x.Length)}] = true
				}
			}
		}
	}
	for a := range needed {
		content += int64(a.Length)
	}
	return stored, content, pages, len(list)
}

// Three years of scattered change, a point and a prune every night: what is
// stored stays within half as much again as the kept points need.
func TestYearsOfChurn(t *testing.T) {
	files, days := pick(400, 4000), pick(150, 3*365)
	y := newYears(t, files, `{"daily":{"keep":14},"weekly":{"keep":8},"monthly":{"keep":24},"yearly":{"keep":10},"others_days":1}`)
	worst := 0.0
	for d := range days {
		y.night()
		if d%30 != 29 && d != days-1 {
			continue
		}
		stored, content, pages, points := y.bytes()
		ratio := float64(stored) / float64(content)
		worst = max(worst, ratio)
		t.Logf("day %4d: %2d points need %d KiB of content and %d of pages; %d stored, %.2f times; %d moved, pruning took %v",
			d+1, points, content>>10, pages>>10, stored>>10, ratio, y.moved>>10, y.took.Round(time.Millisecond))
	}
	if worst > 1.5 {
		t.Errorf("%.2f times what the points need was stored", worst)
	}
	y.compare()
	report, err := repo.Check(t.Context(), y.repo, repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 {
		t.Error(fmt.Sprint(report), err)
	}
}
