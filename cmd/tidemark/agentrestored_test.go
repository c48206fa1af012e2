package main

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
)

// A restore that fails on the web page is an alert until one is done.
func TestRestoredAlert(t *testing.T) {
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	told := restored(j, time.Now, slog.New(slog.DiscardHandler))
	active := func() (n int) {
		t.Helper()
		if err := j.View(func(tx *journal.Tx) error {
			all, err := tx.Active()
			for _, a := range all {
				if a.Kind != journal.RestoreFailed || a.Severity != journal.SeverityCritical || a.Text != "restore of /etc: no space left" {
					t.Errorf("%+v", a)
				}
			}
			n = len(all)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	told("/etc", errors.New("no space left"))
	told("/etc", errors.New("no space left"))
	if n := active(); n != 1 {
		t.Errorf("%d alerts", n)
	}
	told("/home", nil)
	if n := active(); n != 0 {
		t.Errorf("%d alerts after a restore that was done", n)
	}
}
