// Package keep collects, with no key, what a repository does not need any more,
// beside writers, readers and other collectors, without a lock and without
// trust in any clock.
//
// Nouns:
//
//   - An Intent is a running backup's claim on a live set.
//   - A Round is what a collector condemns in one go, and then drops. A Fold
//     stands for old rounds. What they name is Absent to writers.
//   - Counts say how often kept points need each live page and each frame. They
//     are kept between runs, so that a run costs what has changed.
//   - A view is what a run has read of the repository; a Plan is what follows
//     from it, and is pure. Prune looks, plans and acts.
//   - A movement takes the needed frames of a mostly dead pack, or container,
//     into containers (a compaction).
//
// One run, and what the next ones make of it:
//
//	ledger ─► old intents fall ─► intents ─► points ─► counts ─► rounds, objects
//	  └ view ─► Plan ─► expire ─► erase points ─► drop ─► delete ─► condemn ─► compact ─► fold
//	                                  a day later ▲───────────────────┘
//
// Invariants (FORMAT.md, 9.3, proves from them that no kept point loses a
// frame, whoever is killed, or sleeps for a month, between any two steps):
//
//   - What is dropped was condemned, durably, before intents were listed, and
//     those before points.
//   - Intents that have fallen are deleted before intents are listed.
//   - An object is deleted only after the round is durable that drops all of
//     it, or when its frames lie elsewhere and a moved record counts.
//   - What is dropped stays absent for a year.
//   - A moved record names every frame of its pack that is not dropped, and the
//     one with the highest generation stays while the pack has such frames.
//
// The waits are no part of the proof. They spare writers that are under way a
// second pass, and give whoever reads an old place of a frame time to look
// again.
//
// What is condemned is found by counting pages, not by walking points: a point
// that comes or goes costs the pages that it does not share. Beyond that a run
// lists packs, live pages, containers and records (one request for a thousand
// of them), and reads heads of those packs of which more was dropped since they
// were last looked at. Only where the counts are lost, or do not fit, is
// everything read.
package keep

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

const (
	magicIntent = "tidmINT\x01"
	sizeIntent  = 84
	intents     = "intents/"
)

// Intent is a running backup's claim on a live set.
type Intent struct {
	Repository [16]byte
	Server     [16]byte
	Run        uint64
	Number     uint32 // from 1, within the run; below 2^16
	Live       live.Hash
}

// Name returns the name of the intent's object.
func (i *Intent) Name() string { return fmt.Sprintf("%s%016x-%04x", intents, i.Run, i.Number) }

// IsIntent says whether a name is one of an intent.
func IsIntent(name string) bool {
	var run uint64
	var number uint32
	n, err := fmt.Sscanf(strings.TrimPrefix(name, intents), "%x-%x", &run, &number)
	return err == nil && n == 2 && name == (&Intent{Run: run, Number: number}).Name()
}

// Marshal returns the object.
func (i *Intent) Marshal() []byte {
	b := append([]byte(magicIntent), i.Repository[:]...)
	b = append(b, i.Server[:]...)
	b = binary.LittleEndian.AppendUint64(b, i.Run)
	b = binary.LittleEndian.AppendUint32(b, i.Number)
	return append(b, i.Live[:]...)
}

// ParseIntent reads what Marshal wrote.
func ParseIntent(b []byte) (*Intent, error) {
	if len(b) != sizeIntent || string(b[:8]) != magicIntent {
		return nil, fmt.Errorf("not an intent of version 1: %w", fault.Corrupt)
	}
	return &Intent{
		Repository: [16]byte(b[8:24]), Server: [16]byte(b[24:40]), Run: binary.LittleEndian.Uint64(b[40:]),
		Number: binary.LittleEndian.Uint32(b[48:]), Live: live.Hash(b[52:84]),
	}, nil
}

// Gone says whether an intent is no longer there. One of another run may have
// taken its name since: that is not it.
func Gone(ctx context.Context, s store.Store, i *Intent) (bool, error) {
	b, err := store.ReadAll(ctx, s, i.Name(), sizeIntent)
	if errors.Is(err, fault.NotExist) {
		return true, nil
	}
	return err == nil && !bytes.Equal(b, i.Marshal()), err
}
