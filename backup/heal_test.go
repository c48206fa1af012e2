package backup_test

import (
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// While packs are put back, on a store that needs several steps for that, they
// are only in their copies: readers find them there, and nothing that lists
// packs takes them for lost.
func TestReadWhileHealing(t *testing.T) {
	s, _, _ := sample(t)
	var names []string
	for o, err := range s.List(t.Context(), pack.Prefix) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	for _, name := range names {
		b, err := store.ReadAll(t.Context(), s, name, pack.MaxObject)
		if err == nil {
			err = s.Put(t.Context(), place.HealedName(name), b)
		}
		if err == nil {
			err = s.Delete(t.Context(), name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := reopen(t, s)
	if err != nil {
		t.Fatal(err)
	}
	report, err := repo.Check(t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 || report.PacksRead != len(names) || len(names) < 2 {
		t.Fatalf("%+v %v", report, err)
	}
	done, err := scrub.Finish(t.Context(), s)
	if err != nil || len(done) != len(names) {
		t.Fatalf("finished %q of %q: %v", done, names, err)
	}
	for o, err := range s.List(t.Context(), "") {
		if err != nil || strings.HasPrefix(o.Name, place.Healed) {
			t.Fatal(o, err)
		}
	}
}
