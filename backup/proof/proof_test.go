package proof

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// site is a repository with two points of a folder.
type site struct {
	t     *testing.T
	dir   string
	store *local.Dir
	repo  *repo.Repository
	local repo.Local
}

func (s *site) path(name string) string { return filepath.Join(s.dir, "src", name) }

func (s *site) write(name string, content []byte) {
	s.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(s.path(name)), 0o755), os.WriteFile(s.path(name), content, 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) backup() {
	s.t.Helper()
	if _, err := backup.Run(s.t.Context(), s.repo, s.local, backup.Job{Paths: []string{s.path("")}, Host: "h", Now: time.Now}); err != nil {
		s.t.Fatal(err)
	}
}

// newSite has 300 small files, a large one with a hole, and an empty one.
func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir()}
	var err error
	if s.store, err = local.Create(filepath.Join(s.dir, "vault")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	cost := seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}
	if s.repo, err = repo.Create(t.Context(), s.store, repo.CreateOptions{Passphrase: []byte("correct horse battery staple"), Cost: cost, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s.local = s.repo.Local(filepath.Join(s.dir, "state"))
	for i := range 300 {
		s.write(fmt.Sprintf("%d/%03d", i%5, i), bytes.Repeat([]byte(fmt.Sprint("file ", i, " ")), 1+i*7%400))
	}
	big := make([]byte, 20<<20)
	if _, err := rand.NewChaCha8([32]byte{5}).Read(big); err != nil {
		t.Fatal(err)
	}
	clear(big[5<<20 : 9<<20])
	s.write("big", big)
	s.write("empty", nil)
	s.backup()
	s.write("0/000", []byte("changed"))
	s.backup()
	return s
}

func (s *site) prove(o Options) *Report {
	s.t.Helper()
	o.Now, o.Host = time.Now, "h"
	r, err := Run(s.t.Context(), s.repo, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

const seed = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestProof(t *testing.T) {
	s := newSite(t)
	r := s.prove(Options{Files: 60, Seed: seed})
	against := map[string]int{}
	var older, big int
	for _, k := range r.Samples {
		if k.Outcome != Same || k.SHA256 == "" || k.Why != "" {
			t.Errorf("%+v", k)
		}
		against[k.Against]++
		if k.Point != r.Newest {
			older++
		}
		if k.Path == s.path("big") {
			big++
			if k.Length != r.Samples[0].Length && k.Length > largest {
				t.Errorf("%+v", k)
			}
		}
	}
	if len(r.Samples) != 60 || older < 10 || big < 1 || against["source"] < 50 {
		t.Errorf("%d samples, %d older, %d of the large one, %v", len(r.Samples), older, big, against)
	}
	// The seed says which they are.
	again := s.prove(Options{Files: 60, Seed: seed})
	if !slices.Equal(r.Samples, again.Samples) {
		t.Error("the same seed has other samples")
	}
	if other := s.prove(Options{Files: 60}); slices.Equal(r.Samples, other.Samples) || len(other.Seed) != 64 {
		t.Error("another seed has the same samples")
	}
	// With no source there is what was recorded.
	if err := os.Rename(s.path(""), s.path("")+"-gone"); err != nil {
		t.Fatal(err)
	}
	for _, k := range s.prove(Options{Files: 60, Seed: seed}).Samples {
		if k.Against != "recorded" || k.Outcome != Same {
			t.Errorf("%+v", k)
		}
	}
	// A budget ends it, and the report says so.
	if r := s.prove(Options{Files: 60, Bytes: 1000}); len(r.Samples) >= 60 || r.Wanted != 60 {
		t.Errorf("%d of %d samples", len(r.Samples), r.Wanted)
	}
}

// TestSourceThatLies: a file whose content changed while its time did not is no
// failure of the point, and is told.
func TestSourceThatLies(t *testing.T) {
	s := newSite(t)
	info, err := os.Stat(s.path("big"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.path("big"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < info.Size(); at += 1 << 20 {
		if _, err := f.WriteAt([]byte("rotten"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Close(), os.Chtimes(s.path("big"), info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	r := s.prove(Options{Files: 20})
	if i := slices.IndexFunc(r.Samples, func(k Sample) bool { return k.Outcome == Moved }); r.Failed > 0 || i < 0 || r.Samples[i].Path != s.path("big") {
		t.Errorf("%+v", r)
	}
}

// TestDamage: what cannot be read is a failure, with its reason.
func TestDamage(t *testing.T) {
	s := newSite(t)
	err := filepath.WalkDir(filepath.Join(s.dir, "vault", "packs"), func(path string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() < 4<<20 { // not the pages: without them no file is found
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i := len(b) / 4; i < len(b); i += 4096 {
			b[i] ^= 1
		}
		return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, b, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	r := s.prove(Options{Files: 20})
	if r.Failed == 0 || r.Failed == len(r.Samples) {
		t.Errorf("%d of %d failed", r.Failed, len(r.Samples))
	}
	for _, k := range r.Samples {
		if k.Failed() != (k.Why != "") || k.Failed() && k.Path != s.path("big") {
			t.Errorf("%+v", k)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := newSite(t)
	for _, o := range []Options{{Files: -1}, {Files: MaxFiles + 1}, {Seed: "1234"}, {Seed: strings.Repeat("x", 64)}} {
		o.Now = time.Now
		if _, err := Run(t.Context(), s.repo, o); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func testKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)) }

// TestSigned: whoever changes a byte of a report is seen.
func TestSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "proofs")
	r := &Report{Repository: "aa", Seed: seed, Began: time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC), Failed: 1, Samples: []Sample{{Path: "/<a> & \u2028", Outcome: Broken}}}
	path, err := Save(dir, r, testKey())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got, key, err := Verify(b)
	if err != nil || !key.Equal(testKey().Public()) || got.Failed != 1 || got.Samples[0] != r.Samples[0] {
		t.Errorf("%+v, %x, %v", got, key, err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Verify(pretty.Bytes()); err != nil {
		t.Errorf("with white space: %v", err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if got, _, err := Verify(bad); err == nil && got.Failed != 1 || err != nil && !errors.Is(err, fault.Corrupt) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	if _, _, err := Verify(bytes.Replace(b, []byte(`"failed":1`), []byte(`"failed":0`), 1)); !errors.Is(err, fault.Corrupt) {
		t.Errorf("a failure that was taken out: %v", err)
	}
	for i := range kept + 5 {
		r.Began = r.Began.Add(time.Duration(i) * time.Second)
		if _, err := Save(dir, r, testKey()); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := os.ReadDir(dir); len(names) != kept || err != nil {
		t.Errorf("%d reports, %v", len(names), err)
	}
}

func FuzzVerify(f *testing.F) {
	b, err := Sign(&Report{Seed: seed}, testKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"report":{},"key":"","signature":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, key, err := Verify(b); err == nil && (r == nil || len(key) != ed25519.PublicKeySize) || err != nil && !errors.Is(err, fault.Corrupt) {
			t.Errorf("%q: %v, %v", b, r, err)
		}
	})
}
