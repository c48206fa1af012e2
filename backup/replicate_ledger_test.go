package backup_test

import (
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// say appends records to a place's ledger.
func say(t *testing.T, s *mem.Store, records ...ledger.Record) {
	t.Helper()
	book := bookOf(t, s)
	reading, err := book.Read(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	if _, err := book.Append(t.Context(), key, reading, func(*retain.State, retain.Verdict) ([]ledger.Record, error) { return records, nil }); err != nil {
		t.Fatal(err)
	}
}

func bookOf(t *testing.T, s *mem.Store) *retain.Book {
	t.Helper()
	id, _, err := replicate.Identify(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	book, err := retain.Open(t.Context(), s, retain.Options{Repository: id})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// pointOf returns what a place's ledger says of a point; nil: nothing.
func pointOf(t *testing.T, s *mem.Store, n uint64) (found *retain.Point) {
	t.Helper()
	bookOf(t, s).View(func(state *retain.State) {
		if p := state.Point(n); p != nil {
			q := *p
			found = &q
		}
		if state.Faulty > 0 {
			t.Errorf("the ledger breaks rules: %+v", state.Faults)
		}
	})
	return found
}

func policy(t *testing.T, text string) ledger.Policy {
	t.Helper()
	p, err := retain.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Policy{JSON: p.Marshal()}
}

// The replica's receipts have the tags of the source, none shorter, and what its
// own policy gives beside them. What lives for ever there does so here.
func TestReplicaKeepsTags(t *testing.T) {
	source := grown(t, 3) // without a policy
	before := mem.New()
	mustReplicate(t, source, before, replicateOptions())
	if p := pointOf(t, before, 2); p == nil || len(p.Tags) != 0 {
		t.Errorf("of a source without a policy: %+v", p)
	}
	now := time.Now().Unix()
	tags := []ledger.Tag{{Tier: ledger.Daily, Slot: now - 3600, Expiry: now + 9*86400}, {Tier: ledger.Others, Expiry: now + 7*86400}}
	say(t, source, policy(t, `{"daily":{"keep":9}}`), ledger.Retag{Sequence: 2, Tags: tags}, ledger.Hold{Sequence: 3, Reason: "court"})
	replica := mem.New()
	o := replicateOptions()
	o.Points = []uint64{1}
	mustReplicate(t, source, replica, o)
	say(t, replica, policy(t, `{"weekly":{"keep":52},"others_days":3}`))
	mustReplicate(t, source, replica, replicateOptions())
	if p := pointOf(t, replica, 1); p == nil || len(p.Tags) != 0 {
		t.Errorf("a point without tags: %+v", p)
	}
	p := pointOf(t, replica, 2)
	if p == nil {
		t.Fatal("no receipt")
	}
	for _, want := range tags {
		if !slices.ContainsFunc(p.Tags, func(t ledger.Tag) bool { return t.Tier == want.Tier && t.Slot == want.Slot && t.Expiry >= want.Expiry }) {
			t.Errorf("tag %+v is missing or shorter: %+v", want, p.Tags)
		}
	}
	if p := pointOf(t, replica, 3); p == nil || !p.Held || p.Reason != "court" {
		t.Errorf("a held point: %+v", p)
	}
	// Held since it was copied; released there, it stays held here.
	say(t, source, ledger.Hold{Sequence: 1, Reason: "audit"}, ledger.Release{Sequence: 3})
	mustReplicate(t, source, replica, replicateOptions())
	if p, q := pointOf(t, replica, 1), pointOf(t, replica, 3); !p.Held || !q.Held {
		t.Errorf("holds: %+v, %+v", p, q)
	}
}

// What the replica's own rules removed is not copied again, and a point that was
// put without its receipt gets it from the next run.
func TestReplicateAfterARemoval(t *testing.T) {
	source := grown(t, 3)
	replica := mem.New()
	o := replicateOptions()
	mustReplicate(t, source, replica, o)
	p := pointOf(t, replica, 1)
	now := time.Now().Unix()
	say(t, replica, ledger.Deleted{Sequence: 1, Why: ledger.ByHand, GoneAfter: now + 15*86400})
	book := bookOf(t, replica)
	reading := retain.Reading{Place: now + 16*86400, Machine: now + 16*86400}
	_, err := book.Append(t.Context(), o.Key, reading, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		return []ledger.Record{ledger.Clock(reading), ledger.Removed{Sequence: 1, Point: p.ID, Live: p.Live, Why: ledger.WasDeleted}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Delete(t.Context(), point.Name(1)); err != nil {
		t.Fatal(err)
	}
	if report := mustReplicate(t, source, replica, o); report.Gone != 1 || len(report.Copied) != 0 {
		t.Errorf("%+v", report)
	}
	// A run that was killed between point and receipt.
	late := mem.New()
	o.Points = []uint64{3}
	mustReplicate(t, source, late, o)
	b, err := store.ReadAll(t.Context(), source, point.Name(2), 1<<20)
	if err == nil {
		full := mem.New()
		o.Points = []uint64{2}
		mustReplicate(t, source, full, o)
		for _, prefix := range []string{"packs/", "live/"} {
			for _, name := range objects(t, full, prefix) {
				object, err := store.ReadAll(t.Context(), full, name, 1<<30)
				if err == nil {
					err = late.Put(t.Context(), name, object)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		err = late.Put(t.Context(), point.Name(2), b)
	}
	if err != nil {
		t.Fatal(err)
	}
	mustReplicate(t, source, late, replicateOptions())
	if p := pointOf(t, late, 2); p == nil {
		t.Error("it got no receipt")
	}
}
