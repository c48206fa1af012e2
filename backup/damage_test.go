package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// damages are what happens to files on disks.
var damages = []struct {
	name string
	edit func(b []byte, random *rand.Rand) []byte
}{
	{"emptied", func([]byte, *rand.Rand) []byte { return nil }},
	{"halved", func(b []byte, _ *rand.Rand) []byte { return b[:len(b)/2] }},
	{"a byte short", func(b []byte, _ *rand.Rand) []byte { return b[:max(len(b)-1, 0)] }},
	{"a byte long", func(b []byte, _ *rand.Rand) []byte { return append(b, 0) }},
	{"zeros", func(b []byte, _ *rand.Rand) []byte { return make([]byte, len(b)) }},
	{"noise", func(b []byte, random *rand.Rand) []byte { return noise(random.Uint64(), len(b)) }},
	{"a bit flipped in front", flip(0, 0.1)},
	{"a bit flipped", flip(0, 1)},
	{"a bit flipped in the middle", flip(0.3, 0.6)},
	{"a bit flipped at the end", flip(0.95, 1)},
}

func flip(from, to float64) func(b []byte, random *rand.Rand) []byte {
	return func(b []byte, random *rand.Rand) []byte {
		if len(b) > 0 {
			at := int((from + (to-from)*random.Float64()) * float64(len(b)))
			b[min(at, len(b)-1)] ^= 1 << random.IntN(8)
		}
		return b
	}
}

// files returns the files below a part of the local state.
func (m *machine) files(part string) []string {
	m.t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(m.local().Dir, part), func(path string, e iofs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() != "lock" {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		m.t.Fatal(files, err)
	}
	return files
}

// Copy and index may be damaged in any way: a run then does without.
func TestDamagedLocalState(t *testing.T) {
	m := newMachine(t)
	for i := range 300 {
		m.write(fmt.Sprintf("many/%03d %x", i, noise(uint64(i), 60)), noise(uint64(i), 1000))
	}
	m.write("large", noise(1000, 3<<20))
	m.backup()
	m.write("text/new", noise(999, 5000))
	m.backup()
	state := m.state
	random := rand.New(rand.NewPCG(12, 0))
	for _, part := range []string{"copies", "index"} {
		for _, file := range m.files(part) {
			for _, d := range damages {
				rel, err := filepath.Rel(state, file)
				if err != nil {
					t.Fatal(err)
				}
				t.Run(part+"/"+filepath.Base(file)+" "+d.name, func(t *testing.T) {
					other := &machine{t: t, store: m.store.Clone(), state: t.TempDir(), src: m.src, above: m.above}
					copyTree(t, state, other.state)
					rewrite(t, filepath.Join(other.state, rel), func(b []byte) []byte { return d.edit(b, random) })
					if part == "index" {
						// A block may turn out to be damaged when it is asked for,
						// too late to be filled again: what it had is stored anew.
						other.backup()
					} else {
						other.nothingNew("after the damage")
					}
					other.whole()
					other.nothingNew("and then")
				})
			}
		}
	}
}

func rewrite(t *testing.T, path string, edit func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, edit(bytes.Clone(b)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The local state of another repository is as good as none.
func TestForeignLocalState(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	m.sources()
	other.src = m.src
	m.backup()
	other.backup()
	for _, part := range []string{"copies", "index"} {
		m.forget(part)
		copyTree(t, filepath.Join(other.local().Dir, part), filepath.Join(m.local().Dir, part))
		m.nothingNew("with another repository's " + part)
		m.whole()
	}
}

// A machine's keys are used only if they are whole and nobody else's.
func TestDamagedKeys(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	m.sources()
	m.backup()
	keys := func(m *machine, use repo.Use) string {
		r := m.open()
		if err := r.Keep(r.Local(m.state), use); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(r.Local(m.state).Dir, "access")
	}
	random := rand.New(rand.NewPCG(13, 0))
	for _, use := range []repo.Use{repo.Sealed, repo.Unattended} {
		path := keys(m, use)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := os.ReadFile(keys(other, use))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range append(damages, damages[7], damages[7], damages[7]) {
			rewrite(t, path, func([]byte) []byte { return d.edit(bytes.Clone(good), random) })
			m.refused(path, d.name, fault.Corrupt)
		}
		rewrite(t, path, func([]byte) []byte { return foreign })
		m.refused(path, "of another repository", fault.Corrupt)
		rewrite(t, path, func([]byte) []byte { return good })
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		m.refused(path, "readable by all", fault.Denied)
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := repo.Open(t.Context(), m.store, repo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Grant(t.Context(), r.Local(m.state)); err != nil || got != use || !r.CanWrite() || r.CanRead() != (use == repo.Unattended) {
			t.Errorf("%v instead of %v, %v", got, use, err)
		}
	}
}

// refused makes sure that this machine's keys are of no use, and why.
func (m *machine) refused(path, how string, kind fault.Kind) {
	m.t.Helper()
	r, err := repo.Open(m.t.Context(), m.store, repo.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	use, err := r.Grant(m.t.Context(), r.Local(m.state))
	if use != repo.Nothing || !errors.Is(err, kind) || !strings.Contains(err.Error(), path) {
		m.t.Errorf("%s: %v, %v", how, use, err)
	}
	if r.CanRead() || r.CanWrite() {
		m.t.Errorf("%s: and yet they are used", how)
	}
}

// Without its signing key a machine writes nothing, and says what to do.
func TestDamagedDevice(t *testing.T) {
	m := newMachine(t)
	m.write("a", []byte("a"))
	m.backup()
	path := filepath.Join(m.local().Dir, "device")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(14, 0))
	for _, d := range damages {
		rewrite(t, path, func([]byte) []byte { return d.edit(bytes.Clone(good), random) })
		if _, err := m.try(); !errors.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", d.name, err)
		}
	}
	rewrite(t, path, func([]byte) []byte { return good })
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := m.try(); !errors.Is(err, fault.Denied) {
		t.Errorf("readable by others: %v", err)
	}
	if n := len(m.points()); n != 1 {
		t.Errorf("%d points", n)
	}
	m.forget("device")
	m.backup()
	m.whole()
}
