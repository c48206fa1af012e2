package backup_test

import (
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo"
)

// A check heals what it finds, whole objects that are missing and keys, too.
func TestCheckHeals(t *testing.T) {
	pristine, _ := twoPoints(t)
	s := pristine.Clone()
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	var names []string
	for i, name := range objects(t, s, "") {
		if strings.HasPrefix(name, "keys/slot") || name == "repository" {
			continue // the passphrase has proven these before
		}
		if strings.HasPrefix(name, "ledger/") {
			continue // a replica's ledger is its own
		}
		names = append(names, name)
		var err error
		if lost := i%2 == 0 && !strings.HasPrefix(name, "points/") && !strings.HasPrefix(name, "keys/"); lost {
			err = s.Delete(t.Context(), name)
		} else {
			err = s.Tamper(name, flip)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r, told, err := withReplicas(t, s, pristine)
	if err != nil {
		t.Fatal(err)
	}
	report, err := repo.Check(t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 || report.Points != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if told.of(repo.Healed) != len(names) || told.of(repo.Served) > 0 {
		t.Errorf("%d objects, %+v", len(names), told.all)
	}
	sameObjects(t, s, pristine)
	// Where there is no help it names them as it does without a replica.
	pack := objects(t, s, "packs/")[0]
	if err := s.Delete(t.Context(), pack); err != nil {
		t.Fatal(err)
	}
	r, _, err = withReplicas(t, s, s.Clone())
	if err != nil {
		t.Fatal(err)
	}
	report, err = repo.Check(t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) == 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
