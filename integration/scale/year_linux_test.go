package scale

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// project is the history of this project, as trees that change from day to day.
type project struct {
	t       *testing.T
	clone   string
	commits []string
}

// newProject needs git and a history; a copy of the sources alone has none.
func newProject(t *testing.T, dir string) *project {
	p := &project{t: t, clone: dir}
	if err := exec.Command("git", "rev-parse", "HEAD").Run(); err != nil {
		t.Skipf("no git history to back up: %v", err)
	}
	top := strings.TrimSpace(p.run(".", "git", "rev-parse", "--show-toplevel"))
	p.run(".", "git", "clone", "-q", "--shared", "--no-checkout", top, dir)
	p.commits = strings.Fields(p.run(dir, "git", "rev-list", "--first-parent", "--reverse", "HEAD"))
	return p
}

func (p *project) run(dir, name string, args ...string) string {
	p.t.Helper()
	c := exec.CommandContext(p.t.Context(), name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// commit returns that of a day of a year with so many.
func (p *project) commit(d, days int) string { return p.commits[d*len(p.commits)/days] }

// change brings a tree from one day to another, as people do: what stays the
// same is not touched.
func (p *project) change(d, days int, tree string) {
	p.run(p.clone, "git", "--work-tree="+tree, "checkout", "-q", "-f", "--detach", p.commit(d, days))
}

// image is a file of a day in which a part is written anew each day, as in the
// image of a machine: what is left of its packs is worth moving.
func image(d int) []byte {
	const size, part = 8 << 20, 3 << 20
	b := make([]byte, size)
	for i := range d + 1 {
		random := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)})
		at := random.Uint64() % (size - part)
		_, _ = random.Read(b[at : at+part])
	}
	return b
}

// lay makes the tree of a day where there is nothing.
func (p *project) lay(d, days int, tree string) {
	p.run(p.clone, "sh", "-c", `rm -rf "$2" && mkdir "$2" && git archive "$1" | tar -x -C "$2"`, "sh", p.commit(d, days), tree)
}

// dump writes what a place holds into a folder.
func dump(t *testing.T, from *mem.Store, to string) {
	t.Helper()
	dir, err := local.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for o, err := range from.List(t.Context(), "") {
		var b []byte
		if err == nil {
			b, err = store.ReadAll(t.Context(), from, o.Name, 1<<30)
		}
		if err == nil {
			err = dir.Put(t.Context(), o.Name, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A year of daily points of a tree that people change, pruned by grandfather,
// father and son, compacted, and replicated each week. Then a hundredth of the
// packs is damaged, one at least, and the program mounts what is left, with the
// replica: every file of every point reads as it was, and in the end all is whole.
func TestYear(t *testing.T) {
	days := pick(45, 365)
	y := newYears(t, 1, `{"daily":{"keep":7},"weekly":{"keep":4},"monthly":{"keep":12},"others_days":1}`)
	source, replica := filepath.Join(y.dir, "src"), mem.New()
	replica.SetClock(func() time.Time { return y.now })
	p := newProject(t, filepath.Join(y.dir, "clone"))
	if err := os.RemoveAll(source); err != nil { // churn's file
		t.Fatal(err)
	}
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	dayOf := map[string]int{}
	for d := range days {
		p.change(d, days, source)
		y.writeImage(source, d)
		dayOf[y.now.UTC().Format("2006-01-02_15-04-05")] = d
		y.backUpAndPrune()
		if d%7 == 6 || d == days-1 {
			r, err := replicate.Run(t.Context(), y.store, replica, replicate.Options{Key: y.device.Key, Now: func() time.Time { return y.now }})
			if err != nil || len(r.Problems) > 0 {
				t.Fatal(r, err)
			}
		}
	}
	y.settle()
	stored, content, _, points := y.bytes()
	if y.moved == 0 {
		t.Error("nothing was compacted")
	}
	t.Logf("%d days: %d points kept, %d KiB of content in %d KiB; %d KiB moved", days, points, content>>10, stored>>10, y.moved>>10)
	vault := filepath.Join(y.dir, "vault")
	dump(t, y.store, vault)
	dump(t, replica, filepath.Join(y.dir, "replica"))
	t.Logf("damaged: %d packs", damagePacks(t, vault))
	y.readThroughMount(p, vault, days, points, dayOf)
}

// settle holds the points that are there, and prunes until what was condemned is
// dropped: until then a damaged frame counts, though no point needs it.
func (y *years) settle() {
	book := y.repo.Book()
	reading, err := book.Read(y.t.Context(), y.now)
	if err == nil {
		_, err = book.Append(y.t.Context(), y.device.Key, reading, func(s *retain.State, _ retain.Verdict) (records []ledger.Record, err error) {
			for _, p := range s.Shown() {
				some, err := s.Hold(p.Sequence, "they are read now")
				if err != nil {
					return nil, err
				}
				records = append(records, some...)
			}
			return records, nil
		})
	}
	if err != nil {
		y.t.Fatal(err)
	}
	for busy := true; busy; y.now = y.now.Add(25 * time.Hour) {
		p := y.prune(false)
		y.moved += p.Moved
		busy = p.Condemn.Frames > 0 || len(p.Drop) > 0
	}
}

func (y *years) writeImage(tree string, d int) {
	if err := os.WriteFile(filepath.Join(tree, "image"), image(d), 0o600); err != nil {
		y.t.Fatal(err)
	}
}

// damagePacks flips a byte in a hundredth of the packs and containers.
func damagePacks(t *testing.T, vault string) int {
	random := rand.New(rand.NewPCG(7, 7))
	var names []string
	for _, prefix := range []string{pack.Prefix, pack.ContainerPrefix} {
		some, err := filepath.Glob(filepath.Join(vault, prefix, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, some...)
	}
	random.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
	n := (len(names) + 99) / 100
	for _, name := range names[:n] {
		b, err := os.ReadFile(name)
		if err == nil {
			b[random.IntN(len(b))] ^= byte(1 + random.IntN(255))
			err = os.Remove(name)
		}
		if err == nil {
			err = os.WriteFile(name, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (y *years) readThroughMount(p *project, vault string, days, points int, dayOf map[string]int) {
	t := y.t
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(y.dir, "pass"), []byte(passphrase), 0o600); err != nil {
		t.Fatal(err)
	}
	at, tree := filepath.Join(y.dir, "mount"), filepath.Join(y.dir, "tree")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	tidemark := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), binary, append([]string{"-r", vault, "--replica", filepath.Join(y.dir, "replica"), "--cache-dir", filepath.Join(y.dir, "reader"),
			"--passphrase-file", filepath.Join(y.dir, "pass")}, args...)...)
		c.Env = append(os.Environ(), "TZ=UTC", "HOME="+y.dir)
		return c
	}
	if out, err := tidemark("mount", "--background", at).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	defer func() { _ = exec.Command("umount", "-l", at).Run() }()
	list, err := os.ReadDir(filepath.Join(at, "points"))
	if err != nil || len(list) != points {
		t.Fatalf("%d points in the mount, %d kept: %v", len(list), points, err)
	}
	started := time.Now()
	for _, point := range list {
		d, ok := dayOf[point.Name()]
		if !ok {
			t.Fatalf("a point %s, which nobody made", point.Name())
		}
		p.lay(d, days, tree)
		y.writeImage(tree, d)
		p.run(y.dir, "diff", "-r", "--no-dereference", tree, filepath.Join(at, "points", point.Name(), y.dir, "src"))
	}
	t.Logf("read %d points in %v", points, time.Since(started).Round(time.Millisecond))
	if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out bytes.Buffer
	c := tidemark("check", "--read-data")
	c.Stdout, c.Stderr = &out, &out
	err = c.Run()
	t.Logf("%s", out.Bytes())
	// 3: what it read from the replica is a warning.
	if code := c.ProcessState.ExitCode(); err != nil && code != 3 || !strings.Contains(out.String(), "no damage found") {
		t.Error(fmt.Errorf("check: %w", err))
	}
	if out, err := tidemark("vault", "scrub").CombinedOutput(); err != nil {
		t.Errorf("scrub: %v\n%s", err, out)
	}
}
