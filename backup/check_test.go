package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

var (
	passphrase = []byte("correct horse battery staple")
	cheap      = seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}
)

// sample makes a repository in memory with one point of a small tree.
func sample(t testing.TB) (*mem.Store, *repo.Repository, string) {
	t.Helper()
	src := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		b := make([]byte, random.IntN(20000))
		for k := range b {
			b[k] = byte(random.Uint32() % 7)
		}
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint("file", i)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	big := make([]byte, 3<<20)
	for k := range big {
		big[k] = byte(random.Uint32() % 30)
	}
	if err := os.WriteFile(filepath.Join(src, "big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	s := mem.New()
	r, err := repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: passphrase, Cost: cheap, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	if _, err := backup.Run(t.Context(), r, r.Local(state), backup.Job{Paths: []string{src}, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	return s, r, src
}

// reopen opens the repository as a new process would.
func reopen(t testing.TB, s *mem.Store) (*repo.Repository, error) {
	t.Helper()
	r, err := repo.Open(t.Context(), s, repo.Options{})
	if err != nil {
		return nil, err
	}
	_, err = r.Unlock(t.Context(), passphrase)
	return r, err
}

func TestCheckOfAWholeRepository(t *testing.T) {
	_, r, _ := sample(t)
	report, err := repo.Check(t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 || report.Points != 1 || report.PacksRead != report.Packs || report.Packs < 2 {
		t.Fatalf("%+v %v", report, err)
	}
}

// Every bit of every object counts: wherever one is flipped, check finds it,
// names the object, and if a file is hurt, the file.
func TestCheckFindsFlippedBits(t *testing.T) {
	pristine, _, _ := sample(t)
	random := rand.New(rand.NewPCG(3, 4))
	hurt := 0
	for object, err := range pristine.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		tries := 12
		if strings.HasPrefix(object.Name, "packs/") {
			tries = 60
		}
		for range tries {
			s := pristine.Clone()
			at := random.Int64N(object.Size)
			bit := byte(1) << random.IntN(8)
			s.Tamper(object.Name, func(b []byte) []byte {
				b = bytes.Clone(b)
				b[at] ^= bit
				return b
			})
			r, err := reopen(t, s)
			if err != nil { // `repository` or the only slot
				if !errors.Is(err, fault.Corrupt) && !errors.Is(err, fault.Unsupported) && !errors.Is(err, fault.Locked) {
					t.Errorf("%s, byte %d: %v", object.Name, at, err)
				}
				continue
			}
			report, err := repo.Check(t.Context(), r, repo.CheckOptions{ReadData: 1})
			if err != nil {
				t.Fatalf("%s, byte %d: the check ended: %v", object.Name, at, err)
			}
			if len(report.Faults) == 0 {
				t.Errorf("%s, byte %d of %d: nobody saw it", object.Name, at, object.Size)
			}
			for _, f := range report.Faults {
				hurt += f.Count
			}
		}
	}
	if hurt == 0 {
		t.Error("no fault named a file")
	}
}

func TestCheckFindsMissingAndTruncatedObjects(t *testing.T) {
	pristine, _, _ := sample(t)
	lastEntry := ""
	for object, err := range pristine.List(t.Context(), "ledger/") {
		if err != nil {
			t.Fatal(err)
		}
		lastEntry = object.Name
	}
	for object, err := range pristine.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if object.Name == "repository" || strings.HasPrefix(object.Name, "keys/slot-") {
			continue // nothing opens without them
		}
		for _, cut := range []bool{false, true} {
			s := pristine.Clone()
			if cut {
				s.Tamper(object.Name, func(b []byte) []byte { return b[:len(b)-1] })
			} else if err := s.Delete(t.Context(), object.Name); err != nil {
				t.Fatal(err)
			}
			r, err := reopen(t, s)
			if err != nil {
				t.Fatal(err)
			}
			report, err := repo.Check(t.Context(), r, repo.CheckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			gone := object.Name == lastEntry && !cut
			if len(report.Faults) == 0 && !gone { // the end of the ledger only those miss who remember it
				t.Errorf("%s (cut: %v): nobody saw it", object.Name, cut)
			}
		}
	}
}

func TestWrongPassphrase(t *testing.T) {
	s, _, _ := sample(t)
	r, err := repo.Open(t.Context(), s, repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unlock(t.Context(), []byte("wrong")); !errors.Is(err, fault.Locked) {
		t.Fatal(err)
	}
	if _, err := r.Points(t.Context()); !errors.Is(err, fault.Locked) {
		t.Fatal(err)
	}
	if r.CanRead() || r.CanWrite() {
		t.Fatal("locked, and yet it can")
	}
}
