package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func open(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() }) // some tests have closed it
	return j
}

func update(t *testing.T, j *Journal, do func(*Tx) error) {
	t.Helper()
	if err := j.Update(do); err != nil {
		t.Fatal(err)
	}
}

func alerts(t *testing.T, j *Journal) (list []Alert) {
	t.Helper()
	err := j.View(func(tx *Tx) error {
		for a, err := range tx.Alerts() {
			if err != nil {
				return err
			}
			list = append(list, *a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestJobs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path)
	seed := j.Seed()
	update(t, j, func(tx *Tx) error {
		for i := range 3 {
			if err := tx.NewJob(&Job{Policy: "p", State: InProgress, Started: noon.Add(time.Duration(i) * time.Hour)}); err != nil {
				return err
			}
		}
		return errors.Join(tx.PutWarnings(2, []Warning{{"/x", "gone"}}), tx.PutProgress("p", Progress{Handled: noon, LastJob: 3}))
	})
	if _, err := Open(path); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a second one opens it: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	j = open(t, path)
	if j.Seed() != seed || len(seed) != 32 {
		t.Errorf("seed %q, then %q", seed, j.Seed())
	}
	err := j.View(func(tx *Tx) error {
		next := uint64(3)
		for job, err := range tx.Jobs() {
			if err != nil || job.ID != next || !job.Started.Equal(noon.Add(time.Duration(next-1)*time.Hour)) {
				t.Errorf("%+v, %v", job, err)
			}
			next--
		}
		w, err := tx.Warnings(2)
		if err != nil || len(w) != 1 || w[0].Reason != "gone" {
			t.Errorf("%v, %v", w, err)
		}
		p, ok, err := tx.Progress("p")
		if err != nil || !ok || p.LastJob != 3 || !p.Handled.Equal(noon) {
			t.Errorf("%+v, %v, %v", p, ok, err)
		}
		if _, ok, err := tx.Progress("q"); ok || err != nil {
			t.Errorf("an unknown policy is there: %v", err)
		}
		if _, err := tx.Job(9); !errors.Is(err, fault.NotExist) {
			t.Errorf("job 9: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestStepIsWhole: what fails at its end leaves nothing.
func TestStepIsWhole(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"))
	broken := errors.New("broken")
	err := j.Update(func(tx *Tx) error {
		return errors.Join(tx.NewJob(&Job{Policy: "p"}), tx.Raise(Alert{Kind: Silent}, noon), broken)
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	err = j.View(func(tx *Tx) error {
		_, err := tx.Job(1)
		return err
	})
	if !errors.Is(err, fault.NotExist) || len(alerts(t, j)) > 0 {
		t.Errorf("something is left: %v, %v", err, alerts(t, j))
	}
}

func TestAlerts(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"))
	raise := func(kind Kind, policy, text string, at time.Time) {
		update(t, j, func(tx *Tx) error {
			return tx.Raise(Alert{Severity: SeverityCritical, Kind: kind, Policy: policy, Text: text}, at)
		})
	}
	raise(BackupFailed, "a", "first", noon)
	raise(BackupFailed, "b", "of another", noon)
	raise(BackupFailed, "a", "second", noon.Add(time.Hour))
	list := alerts(t, j)
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	if a := list[1]; a.Count != 2 || a.Text != "second" || !a.First.Equal(noon) || !a.Last.Equal(noon.Add(time.Hour)) || !a.Active {
		t.Errorf("%+v", a)
	}
	update(t, j, func(tx *Tx) error { return tx.Resolve(BackupFailed, "a", "a point came", noon.Add(2*time.Hour)) })
	update(t, j, func(tx *Tx) error { return tx.Resolve(Silent, "a", "never was", noon) })
	raise(BackupFailed, "a", "third", noon.Add(3*time.Hour))
	list = alerts(t, j)
	if len(list) != 3 || list[0].Count != 1 || !list[0].Active || list[2].Active || list[2].Note != "a point came" {
		t.Fatalf("%+v", list)
	}
	update(t, j, func(tx *Tx) error { return tx.Close(list[0].ID, "seen", noon) })
	for id, kind := range map[uint64]fault.Kind{99: fault.NotExist, list[0].ID: fault.Invalid} {
		if err := j.Update(func(tx *Tx) error { return tx.Close(id, "", noon) }); !errors.Is(err, kind) {
			t.Errorf("closing %d: %v", id, err)
		}
	}
}

func TestForget(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"))
	update(t, j, func(tx *Tx) error {
		return errors.Join(
			tx.NewJob(&Job{State: Completed, Started: noon}), tx.PutWarnings(1, []Warning{{"x", "y"}}),
			tx.NewJob(&Job{State: InProgress, Started: noon}), tx.NewJob(&Job{State: Failed, Started: noon.Add(time.Hour)}),
			tx.Raise(Alert{Kind: Silent, Policy: "ended"}, noon), tx.Resolve(Silent, "ended", "", noon), tx.Raise(Alert{Kind: Silent, Policy: "active"}, noon),
			tx.Forget(noon.Add(time.Minute)))
	})
	err := j.View(func(tx *Tx) error {
		var left []uint64
		for job, err := range tx.Jobs() {
			if err != nil {
				return err
			}
			left = append(left, job.ID)
		}
		w, err := tx.Warnings(1)
		if len(left) != 2 || left[0] != 3 || left[1] != 2 || len(w) > 0 {
			t.Errorf("jobs %v, warnings %v", left, w)
		}
		return err
	})
	if list := alerts(t, j); err != nil || len(list) != 1 || list[0].Policy != "active" {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestDamage: what is no journal is told as such, and nothing panics.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("nonsense"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, fault.Corrupt) {
		t.Errorf("nonsense: %v", err)
	}
	j := open(t, filepath.Join(t.TempDir(), "journal.db"))
	update(t, j, func(tx *Tx) error { return tx.tx.Bucket([]byte("jobs")).Put(number(1), []byte("{")) })
	err := j.View(func(tx *Tx) error {
		for _, err := range tx.Jobs() {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, fault.Corrupt) {
		t.Errorf("a torn job: %v", err)
	}
	update(t, j, func(tx *Tx) error { return tx.tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("another")) })
	at := j.db.Path()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(at); !errors.Is(err, fault.Unsupported) {
		t.Errorf("a later format: %v", err)
	}
}

func TestStates(t *testing.T) {
	over := 0
	for _, s := range States() {
		if s.Over() {
			over++
		}
		if s.Text() == "" {
			t.Errorf("%q has no words", s)
		}
	}
	if len(States()) != 6 || over != 4 {
		t.Errorf("%d states, %d of them over", len(States()), over)
	}
	b, err := json.Marshal(Job{ID: 1, Started: noon})
	if err != nil || bytes.Contains(b, []byte("ended")) || bytes.Contains(b, []byte("due")) {
		t.Errorf("%s, %v", b, err)
	}
}
