// Package proof proves that points can be restored: it reads random files of
// them through the tree that mounts and restores read, and compares them with
// the files of this machine where those are as they were, and else with the
// IDs that were recorded when they were saved.
//
// Nouns: a [Sample] is a file, or a part of a large one, that was read; a
// [Report] has the samples of one run; a [Signed] report has this machine's
// signature, so that somebody else can believe it later.
//
// Samples are drawn at random, half of them by number and half by bytes, from
// a seed that the report names: with the same seed and points they are the same
// files. It writes nothing but the report, and nothing into the repository.
package proof

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Options say how much is read.
type Options struct {
	Files int    // samples; 0: DefaultFiles
	Bytes uint64 // of all samples together; 0: DefaultBytes
	Seed  string // 64 hexadecimal digits; "": drawn
	Host  string // of this machine: whose points may be compared with its files
	Now   func() time.Time

	Program  string                        // for the report
	Progress func(files int, bytes uint64) // nil: nobody watches
}

// What holds where Options say nothing, and bounds.
const (
	DefaultFiles = 100
	DefaultBytes = 1 << 30
	MaxFiles     = 100_000

	largest  = 64 << 20 // bytes that are read of one file
	smallest = 1 << 20
	elsewhen = 4 // each fourth sample is of an older point
	tries    = 20
)

// The outcomes of a sample.
const (
	Same    = "same"    // as the source, or as recorded
	Moved   = "moved"   // as recorded; the source differs though its time and size do not
	Broken  = "broken"  // not as recorded
	Unread  = "unread"  // it cannot be read
	Nothing = "nothing" // the point has no file to read
)

// Sample is a file that was read.
type Sample struct {
	Point   string `json:"point"`
	Path    string `json:"path"`
	Offset  uint64 `json:"offset"`
	Length  uint64 `json:"length"`
	Against string `json:"against"` // "source" or "recorded"
	SHA256  string `json:"sha256,omitempty"`
	Outcome string `json:"outcome"`
	Why     string `json:"why,omitempty"`
}

// Failed says that the sample cannot be restored as it was.
func (s *Sample) Failed() bool { return s.Outcome == Broken || s.Outcome == Unread }

// Report is what a run found.
type Report struct {
	Repository string    `json:"repository"`
	Host       string    `json:"host"`
	Program    string    `json:"program"`
	Seed       string    `json:"seed"`
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	Points     int       `json:"points"` // that there were
	Newest     string    `json:"newest"` // of them
	Wanted     int       `json:"wanted"` // samples
	Bytes      uint64    `json:"bytes"`
	Failed     int       `json:"failed"`
	Samples    []Sample  `json:"samples"`
}

// prover is one run.
type prover struct {
	o      Options
	r      *repo.Repository
	random *rand.Rand
	verify *repo.Verifier
	report *Report
	limit  uint64 // bytes of one file
	points []*repo.Point
}

// Run reads samples of the points. The repository must be open for reading. What
// is wrong with files is in the Report; errors are the vault's, or the context's.
func Run(ctx context.Context, r *repo.Repository, o Options) (*Report, error) {
	points, err := r.Points(ctx)
	if len(points) == 0 {
		if err == nil {
			err = fmt.Errorf("there are no recovery points: %w", fault.NotExist)
		}
		return nil, fmt.Errorf("prove: %w", err)
	}
	p, err := newProver(r, o, points)
	if err != nil {
		return nil, err
	}
	picks, err := p.pick(ctx)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	for _, k := range picks {
		if p.report.Bytes >= p.o.Bytes {
			break // the report says how many were wanted
		}
		s := p.sample(ctx, k)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("prove: %w", err)
		}
		p.report.Samples = append(p.report.Samples, s)
		p.report.Bytes += s.Length
		if s.Failed() {
			p.report.Failed++
		}
		if o.Progress != nil {
			o.Progress(len(p.report.Samples), p.report.Bytes)
		}
	}
	p.report.Ended = o.Now().UTC()
	return p.report, nil
}

func newProver(r *repo.Repository, o Options, points []*repo.Point) (*prover, error) {
	if o.Files == 0 {
		o.Files = DefaultFiles
	}
	if o.Bytes == 0 {
		o.Bytes = DefaultBytes
	}
	if o.Files < 0 || o.Files > MaxFiles {
		return nil, fmt.Errorf("prove: %d files, but 1 to %d are possible: %w", o.Files, MaxFiles, fault.Invalid)
	}
	var seed [32]byte
	if o.Seed == "" {
		_, _ = crand.Read(seed[:]) // never fails
		o.Seed = hex.EncodeToString(seed[:])
	} else if b, err := hex.DecodeString(o.Seed); err != nil || copy(seed[:], b) != len(seed) || len(b) != len(seed) {
		return nil, fmt.Errorf("prove: the seed is not 64 hexadecimal digits: %w", fault.Invalid)
	}
	newest := points[len(points)-1]
	return &prover{
		o: o, r: r, points: points, random: rand.New(rand.NewChaCha8(seed)), verify: r.NewVerifier(),
		limit: min(largest, max(smallest, o.Bytes/uint64(o.Files))),
		report: &Report{
			Repository: hex.EncodeToString(r.ID[:]), Host: o.Host, Program: o.Program, Seed: o.Seed, Began: o.Now().UTC(),
			Points: len(points), Newest: newest.ID.String(), Wanted: o.Files, Samples: []Sample{},
		},
	}, nil
}

// pick is a file that is to be read.
type pick struct {
	point *repo.Point
	entry *table.Entry // nil: none was found
	start uint64
}

// pick draws the samples: most from the newest point, half of those by bytes
// and half by number; the others from older points.
func (p *prover) pick(ctx context.Context) ([]pick, error) {
	newest := p.points[len(p.points)-1]
	old := 0
	if len(p.points) > 1 {
		old = p.o.Files / elsewhen
	}
	byBytes := (p.o.Files - old) / 2
	picks, err := p.heavy(ctx, newest, byBytes)
	if err != nil {
		return nil, err
	}
	for i := len(picks); i < p.o.Files; i++ {
		point := newest
		if i >= p.o.Files-old {
			point = p.points[p.random.IntN(len(p.points)-1)]
		}
		k, err := p.any(ctx, point)
		if err != nil {
			return nil, err
		}
		picks = append(picks, k)
	}
	for i := range picks {
		if e := picks[i].entry; e != nil && e.Size > p.limit {
			picks[i].start = p.random.Uint64N(e.Size - p.limit + 1)
		}
	}
	// In any order, so that a budget that ends them early favours none.
	p.random.Shuffle(len(picks), func(i, j int) { picks[i], picks[j] = picks[j], picks[i] })
	return picks, nil
}

// heavy draws n files by their bytes, each once, in one pass over the table:
// those with the largest u^(1/size) (Efraimidis and Spirakis, 2006).
func (p *prover) heavy(ctx context.Context, point *repo.Point, n int) ([]pick, error) {
	tree, err := p.r.Tree(ctx, point, table.Options{ReadAhead: 8})
	if err != nil || n == 0 {
		return nil, err
	}
	var keys []float64
	var picks []pick
	for item, err := range tree.From(ctx, 0) {
		if err != nil {
			return nil, err
		}
		if item.Entry.Kind != table.File || item.Entry.Size == 0 {
			continue
		}
		key := math.Log(1-p.random.Float64()) / float64(item.Entry.Size)
		at := len(keys)
		for at > 0 && keys[at-1] < key {
			at--
		}
		if at == n {
			continue
		}
		keys, picks = insert(keys, at, key, n), insert(picks, at, pick{point: point, entry: item.Entry}, n)
	}
	return picks, nil
}

// insert puts v at a place of a list that keeps n.
func insert[T any](list []T, at int, v T, n int) []T {
	if len(list) < n {
		list = append(list, v)
	}
	copy(list[at+1:], list[at:])
	list[at] = v
	return list
}

// any draws one file by number.
func (p *prover) any(ctx context.Context, point *repo.Point) (pick, error) {
	tree, err := p.r.Tree(ctx, point, table.Options{})
	if err != nil {
		return pick{}, err
	}
	for range tries {
		e, err := tree.At(ctx, p.random.Uint64N(tree.Count()))
		if err != nil {
			return pick{}, err
		}
		if e.Kind == table.File {
			return pick{point: point, entry: e}, nil
		}
	}
	return pick{point: point}, nil
}

// sample reads one file and compares it.
func (p *prover) sample(ctx context.Context, k pick) Sample {
	s := Sample{Point: k.point.ID.String(), Outcome: Nothing}
	if k.entry == nil {
		return s
	}
	s.Path, s.Offset, s.Length = table.Path(k.entry.Key), k.start, min(p.limit, k.entry.Size-k.start)
	tree := fs.New(p.r, fs.Options{Point: k.point})
	node, err := walkTo(ctx, tree, s.Path)
	var sum string
	if err == nil {
		sum, err = hashTree(ctx, tree, node, s.Offset, s.Length)
	}
	if err != nil {
		s.Against, s.Outcome, s.Why = "recorded", Unread, err.Error()
		return s
	}
	s.SHA256 = sum
	source, ok := "", false
	if k.point.Host == p.o.Host {
		source, ok = hashSource(s.Path, k.entry, s.Offset, s.Length)
	}
	if ok && source == sum {
		s.Against, s.Outcome = "source", Same
		return s
	}
	s.Against, s.Outcome = "recorded", Same
	if err := p.recorded(ctx, tree, node, k); err != nil {
		s.Outcome, s.Why = Broken, err.Error()
		return s
	}
	if ok {
		s.Outcome, s.Why = Moved, "the file here has another content, though its size and time are as they were"
	}
	return s
}

func walkTo(ctx context.Context, tree *fs.Tree, path string) (fs.Node, error) {
	node := fs.Root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		a, err := tree.Lookup(ctx, node, name)
		if err != nil {
			return 0, err
		}
		node = a.Node
	}
	return node, nil
}

// hashSource returns the hash of a file of this machine, if its size and time
// are those of the entry, before and after.
func hashSource(path string, e *table.Entry, offset, length uint64) (sum string, ok bool) {
	same := func() bool {
		info, err := os.Lstat(path)
		return err == nil && info.Mode().IsRegular() && uint64(info.Size()) == e.Size &&
			info.ModTime().Unix() == e.MTime.Sec && uint32(info.ModTime().Nanosecond()) == e.MTime.Nsec
	}
	if !same() {
		return "", false
	}
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	sum, err = hashReader(f, offset, length)
	return sum, err == nil && same()
}

// recorded compares what the tree reads with what the IDs of the chunks say.
func (p *prover) recorded(ctx context.Context, tree *fs.Tree, node fs.Node, k pick) error {
	if len(k.entry.Inline) > 0 { // it stands in a page, which has an ID itself
		return nil
	}
	done := uint64(0)
	for x, err := range table.OpenExtents(p.r, k.entry, table.Options{}).From(ctx, k.start) {
		if err != nil {
			return err
		}
		if done += x.Length; !x.Hole {
			if err := p.extent(ctx, tree, node, &x); err != nil {
				return err
			}
		}
		if done >= p.limit {
			break
		}
	}
	return nil
}

// extent compares one run of chunks.
func (p *prover) extent(ctx context.Context, tree *fs.Tree, node fs.Node, x *table.Located) error {
	var buffer []byte
	at := x.Start
	return p.verify.Read(ctx, x.Pack, x.Offset, uint32(x.Length), func(b []byte) error {
		if len(buffer) < len(b) {
			buffer = make([]byte, len(b))
		}
		read := buffer[:len(b)]
		if err := readTree(ctx, tree, node, at, read); err != nil {
			return err
		}
		if string(read) != string(b) {
			return fmt.Errorf("bytes %d to %d are read as others: %w", at, at+uint64(len(b)), fault.Corrupt)
		}
		at += uint64(len(b))
		return nil
	})
}

var errShort = errors.New("the file ends before its size")
