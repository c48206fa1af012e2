package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tidemark-backup/tidemark/backup/triage"
	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// Alarm is that a run looks as if somebody had encrypted the files that it
// saved.
type Alarm struct {
	Level   triage.Level // triage.Fine: there is none
	Reasons []string
	Held    []uint64 // sequences of earlier points that do not expire from now on
}

// remove counts an entry of the old table that is not there any more.
func (c *comparer) remove() {
	c.run.removed.Add(1)
	if e := c.old.Entry; e.Kind == table.File {
		c.run.removedFiles.Add(1)
		c.gone = append(c.gone[:0], e.Key...)
	}
}

// before says what the last table had of an entry.
func (c *comparer) before(old *table.Entry, side *sideRecord) was {
	if old != nil {
		return was{odd: side.odd, inline: old.Inline}
	}
	rest, ok := bytes.CutPrefix(c.key, c.gone)
	if len(c.gone) == 0 || !ok || len(rest) < 2 || rest[0] != '.' || bytes.IndexByte(rest, 0) >= 0 {
		return was{}
	}
	return was{suffix: string(rest[1:])}
}

// looks says whether a large file looks encrypted.
func looks(name string, f *os.File) bool {
	head := make([]byte, triage.Sample)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false // who reads it all will tell
	}
	return triage.Looks(name, head[:n])
}

// maxSuffixes bounds the suffixes that are counted.
const maxSuffixes = 100

// spot counts what became of a file.
func (s *saver) spot(it *item, e *table.Entry) {
	if it.kept.Entry != nil || it.spare.Entry != nil || it.from != nil {
		return
	}
	c := &s.seen
	odd := it.side.odd
	if !it.isNew {
		if s.fresh || len(e.Inline) > 0 && !bytes.Equal(e.Inline, it.was.inline) {
			c.Rewritten++
			if odd && !it.was.odd {
				c.Spoiled++
			}
		}
		return
	}
	c.New++
	if odd {
		c.NewOdd++
	}
	if triage.IsKnown(it.name) {
		c.Known++
	}
	if triage.IsNote(it.name) {
		c.Notes++
	}
	if suffix := it.was.suffix; suffix != "" {
		c.Renamed++
		if n := s.suffixes[suffix]; n > 0 || len(s.suffixes) < maxSuffixes {
			s.suffixes[suffix] = n + 1
		}
	}
}

// watch is what a run thinks of itself, by what the runs before saw.
type watch struct {
	run     *run
	history *triage.History
	counts  triage.Counts
	verdict triage.Verdict
}

func (r *run) watch(s *saver) *watch {
	w := &watch{run: r, history: readHistory(r.copies.dir), counts: s.seen}
	c := &w.counts
	c.Files, c.Removed = s.stats.Files, uint64(r.removedFiles.Load())
	for suffix, n := range s.suffixes {
		if n > c.Suffixed || n == c.Suffixed && suffix < c.Suffix {
			c.Suffixed, c.Suffix = n, suffix
		}
	}
	if was := w.history.Suspicion; was != nil && r.job.Trust.After(was.At) {
		w.history.Suspicion = nil
	}
	if r.old != nil {
		w.verdict = w.history.Judge(*c)
	} else {
		*c = triage.Counts{Files: c.Files} // all is new, and says nothing
	}
	return w
}

// suspect returns why the point is. One that follows on a suspect one is, too:
// what was encrypted stays so.
func (w *watch) suspect() []string {
	reasons := w.verdict.Reasons
	if was := w.history.Suspicion; was != nil {
		reasons = append(reasons, fmt.Sprintf("it follows on point %.8s, which looked so, and nobody said that it is fine", was.Point))
	}
	return reasons
}

// held is how many of the good points before a bad one are kept.
const held = 10

// after remembers the run, whose point is written, and has the good points
// before it kept.
func (w *watch) after(ctx context.Context, sum *Summary) {
	h := w.history
	if w.verdict.Level > triage.Fine {
		sum.Alarm = Alarm{Level: w.verdict.Level, Reasons: w.verdict.Reasons}
		if h.Suspicion == nil {
			h.Suspicion = &triage.Suspicion{Point: sum.Point.String(), At: w.run.now(), Level: w.verdict.Level, Reasons: w.verdict.Reasons}
		}
		good := h.Good(held)
		if err := w.hold(ctx, good, fmt.Sprintf("good before point %.8s, which looks as if somebody had encrypted its files", h.Suspicion.Point)); err != nil {
			sum.warn(ledger.Prefix, fmt.Sprintf("the points before could not be held, `tidemark points hold` does it: %v", err))
		} else {
			sum.Alarm.Held = good
		}
	}
	h.Add(triage.Past{Sequence: sum.Sequence, Counts: w.counts, Suspect: len(sum.Suspect) > 0})
	if w.run.copies.lock == nil {
		return // another run's is newer
	}
	if err := writeHistory(w.run.copies.dir, h); err != nil {
		sum.warn(w.run.copies.dir, fmt.Sprintf("the next run knows less of what is usual: %v", err))
	}
}

// hold has points kept that the ledger still has. It needs no key but the
// machine's own.
func (w *watch) hold(ctx context.Context, sequences []uint64, reason string) error {
	book := w.run.repo.Book()
	if len(sequences) == 0 {
		return nil
	}
	if book == nil {
		return fmt.Errorf("the ledger cannot be read: %w", fault.Corrupt)
	}
	device, err := w.run.local.Device()
	if err != nil {
		return err
	}
	now := w.run.now()
	if _, err := w.run.repo.Adopt(ctx, device, now); err != nil {
		return err
	}
	reading, err := book.Read(ctx, now)
	if err != nil {
		return err
	}
	_, err = book.Append(ctx, device.Key, reading, func(s *retain.State, _ retain.Verdict) ([]ledger.Record, error) {
		var records []ledger.Record
		for _, n := range sequences {
			more, err := s.Hold(n, reason)
			if err != nil && !errors.Is(err, fault.NotExist) {
				return nil, err
			}
			records = append(records, more...)
		}
		return records, nil
	})
	return err
}

const maxHistory = 1 << 20 // bytes

const historyName = "history.json"

func historyPath(dir string) string { return filepath.Join(dir, historyName) }

// readHistory returns what runs before saw; one that cannot be read is as good
// as none.
func readHistory(dir string) *triage.History {
	h := &triage.History{}
	f, err := os.Open(historyPath(dir))
	if err != nil {
		return h
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHistory))
	if err != nil || json.Unmarshal(b, h) != nil {
		return &triage.History{}
	}
	return h
}

func writeHistory(dir string, h *triage.History) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return durable.WriteFile(historyPath(dir), b, 0o600)
}
