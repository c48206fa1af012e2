package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// A ledger that has an entry of a year to come says so, and lets the operator
// take its time back.
func TestClockOfTheFuture(t *testing.T) {
	v := newTogether(t)
	dir, err := local.Open(v.in("vault"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r, err := repo.Open(t.Context(), dir, repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	device, err := repo.Local{Dir: v.in("state-one/" + fmt.Sprintf("%x", r.ID[:]))}.Device()
	if err != nil {
		t.Fatal(err)
	}
	book, err := retain.Open(t.Context(), dir, retain.Options{Repository: r.ID})
	if err != nil {
		t.Fatal(err)
	}
	ahead := time.Now().AddDate(10, 0, 0)
	reading := retain.Reading{Place: ahead.Unix(), Machine: ahead.Unix()}
	arrival := []retain.Arrival{{Sequence: 1, ID: [32]byte{1}, Live: [32]byte{2}}}
	if _, err := book.Admit(t.Context(), device.Key, reading, arrival); err != nil {
		t.Fatal(err)
	}
	if _, err := book.Append(t.Context(), device.Key, reading, func(s *retain.State, _ retain.Verdict) ([]ledger.Record, error) { return s.Hold(1, "") }); err != nil {
		t.Fatal(err)
	}
	year := ahead.Format("2006-")
	says := func(want string, args ...string) {
		t.Helper()
		out, report, err := v.runBoth("one", args...)
		if text := string(out) + report; err != nil || !strings.Contains(text, want) {
			t.Errorf("tidemark %s does not say %q: %v\n%s", strings.Join(args, " "), want, err, text)
		}
	}
	says("and the ledger has an entry of "+year, "vault", "clock")
	says("`tidemark vault clock confirm` says so", "vault", "clock")
	if _, report, err := v.runBoth("one", "vault", "clock", "confirm"); err == nil || !strings.Contains(report, "--yes") {
		t.Errorf("nobody was asked: %v\n%s", err, report)
	}
	says("points expire by", "vault", "clock", "confirm", "--yes")
	if out, report, err := v.runBoth("one", "vault", "clock"); err != nil || report != "" || strings.Contains(string(out), year) {
		t.Errorf("%v\n%s%s", err, out, report)
	}
	says("0 removed", "vault", "ledger", "verify")
	says("clock:", "vault", "ledger", "show")
}
