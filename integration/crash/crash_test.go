package crash

import (
	"bytes"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

const passphrase = "correct horse battery staple"

var cheap = seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}

// place is a repository in a folder, a machine's state and its files.
type place struct {
	t *testing.T
	orders
}

func newPlace(t *testing.T, use repo.Use) *place {
	t.Helper()
	dir := t.TempDir()
	return placeAt(t, use, filepath.Join(dir, "vault"), dir)
}

func placeAt(t *testing.T, use repo.Use, vault, dir string) *place {
	t.Helper()
	p := &place{t: t, orders: orders{Vault: vault, State: filepath.Join(dir, "state"), Source: filepath.Join(dir, "source"), Passphrase: use == repo.Nothing}}
	s, err := local.Create(vault)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: []byte(passphrase), Cost: cheap, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(r.Local(p.State), use); err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens the repository with the passphrase, as nobody's process has it.
func (p *place) open() *repo.Repository {
	p.t.Helper()
	s, err := local.Open(p.Vault)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = s.Close() })
	r, err := repo.Open(p.t.Context(), s, repo.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := r.Unlock(p.t.Context(), []byte(passphrase)); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// local returns a folder of the machine's state.
func (p *place) local(part string) string {
	return filepath.Join(p.open().Local(p.State).Dir, part)
}

func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

func (p *place) write(name string, content []byte) {
	p.t.Helper()
	path := filepath.Join(p.Source, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// fill writes about n MiB: small files, large ones and an image.
func (p *place) fill(n int) {
	p.t.Helper()
	for i := range n * 4 {
		p.write(fmt.Sprintf("small/%d/%d", i%7, i), noise(uint64(i), 64<<10+i))
	}
	for i := range n / 4 {
		p.write(fmt.Sprintf("large %d", i), noise(1<<16+uint64(i), 2<<20))
	}
	p.write("disk.img", noise(1<<17, n/4<<20))
}

// check checks the repository, and the data too if all is set.
func (p *place) check(all bool) []*repo.Point {
	p.t.Helper()
	r := p.open()
	o := repo.CheckOptions{}
	if all {
		o.ReadData = 1
	}
	report, err := repo.Check(p.t.Context(), r, o)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range report.Faults {
		p.t.Errorf("check: %s: %v %v", f.Object, f.Err, f.Files)
	}
	points, err := r.Points(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return points
}

// compare compares the newest point's files with the source.
func (p *place) compare() {
	p.t.Helper()
	ctx := p.t.Context()
	r := p.open()
	points, err := r.Points(ctx)
	if err != nil || len(points) == 0 {
		p.t.Fatal(len(points), err)
	}
	tree, err := r.Tree(ctx, points[len(points)-1], table.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(p.Source, func(path string, e iofs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		files++
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		it, err := tree.Lookup(ctx, table.Key(path))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		got := bytes.Clone(it.Entry.Inline)
		for x, err := range table.OpenExtents(r, it.Entry, table.Options{}).From(ctx, 0) {
			if err != nil {
				return err
			}
			b := make([]byte, x.Length)
			if !x.Hole {
				if err := r.ReadRaw(ctx, x.Pack, x.Offset, b); err != nil {
					return err
				}
			}
			got = append(got, b...)
		}
		if !bytes.Equal(got, want) {
			p.t.Errorf("%s: other bytes", path)
		}
		return nil
	})
	if err != nil || files == 0 {
		p.t.Error(files, err)
	}
}

// stored adds up the objects of the vault.
func (p *place) stored() int64 {
	p.t.Helper()
	s, err := local.Open(p.Vault)
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	n := int64(0)
	for o, err := range s.List(p.t.Context(), "") {
		if err != nil {
			p.t.Fatal(err)
		}
		n += o.Size
	}
	return n
}

// A backup may be killed at any moment, again and again.
func TestKilledAtRandomMoments(t *testing.T) {
	kills := 15
	if os.Getenv("TIDEMARK_LONG") != "" {
		kills = 100
	}
	p := newPlace(t, repo.Unattended)
	p.fill(24)
	p.write("first", []byte("first"))
	run(t, p.orders)
	took := p.howLong()
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	killed := 0
	for i := range kills {
		p.change(i, random)
		cmd, _, errs := start(t, p.orders)
		time.Sleep(time.Duration(random.Float64() * 1.5 * float64(took)))
		if err := cmd.Process.Kill(); err != nil {
			t.Log(err)
		}
		if err := cmd.Wait(); err != nil {
			killed++
		}
		if errs.Len() > 0 {
			t.Errorf("kill %d: %s", i, errs)
		}
		p.check(false)
	}
	t.Logf("%d of %d runs were killed; one takes %v", killed, kills, took)
	if killed < kills/3 {
		t.Errorf("only %d runs of %d were killed", killed, kills)
	}
	run(t, p.orders)
	p.check(true)
	p.compare()
}

// howLong measures a run after a change.
func (p *place) howLong() time.Duration {
	p.change(1<<10, rand.New(rand.NewPCG(0, 0)))
	started := time.Now()
	run(p.t, p.orders)
	return time.Since(started)
}

// change makes some MiB of work for the next run.
func (p *place) change(i int, random *rand.Rand) {
	for k := range 6 {
		p.write(fmt.Sprintf("small/%d/%d", k, random.IntN(96)), noise(random.Uint64()>>40, 60<<10))
	}
	p.write(fmt.Sprintf("large %d", random.IntN(6)), noise(random.Uint64()>>40, 4<<20))
	p.write(fmt.Sprintf("new %d", i), noise(random.Uint64()>>40, 3<<20))
	if err := os.RemoveAll(filepath.Join(p.Source, fmt.Sprintf("new %d", i-5))); err != nil {
		p.t.Fatal(err)
	}
}

// And it may be killed before and after each of its writes.
func TestKilledAtEveryWrite(t *testing.T) {
	p := newPlace(t, repo.Sealed)
	p.write("a", noise(1, 100_000))
	p.write("large", noise(2, 2<<20))
	run(t, p.orders)
	for n := int64(1); ; n++ {
		died := false
		for i, stored := range []bool{false, true} { // news each time, so that each run stores as much
			p.write("b", noise(uint64(10*n+int64(i)), 50_000))
			p.write("large", noise(uint64(10*n+int64(i)+5), 2<<20))
			o := p.orders
			o.KillAt, o.Stored = n, stored
			died = runToDeath(t, o) || died
			p.check(false)
		}
		if !died {
			if n < 6 {
				t.Errorf("a run makes only %d writes", n-1)
			}
			break
		}
	}
	run(t, p.orders)
	p.check(true)
	p.compare()
}
