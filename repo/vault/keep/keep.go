// Package keep decides, with no key, what a repository keeps. So far it holds
// what a writer and a collector say to each other while they work side by side
// on a store with no server: the writer claims with an Intent, the collector
// condemns and drops with Rounds. The order of their steps stands in
// FORMAT.md, section 9, and makes the two safe without lock or clock.
package keep

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

const (
	magicIntent = "tidmINT\x01"
	magicRound  = "tidmGCR\x01"
	sizeIntent  = 84
	maxRound    = 64 << 20
	intents     = "intents/"
	rounds      = "gc/"
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

// Round is what a collector condemns, or then drops, in one go.
type Round struct {
	Repository [16]byte
	Number     uint64
	Dropped    bool        // else condemned
	Frames     []live.Need // need 255 for each frame meant, 0 for others; ascending packs
	Pages      []live.Hash // live pages; ascending
}

// Name returns the name of the round's object.
func (r *Round) Name() string {
	kind := "condemned"
	if r.Dropped {
		kind = "dropped"
	}
	return fmt.Sprintf("%s%016x-%s", rounds, r.Number, kind)
}

// Marshal returns the object.
func (r *Round) Marshal() []byte {
	b := append([]byte(magicRound), r.Repository[:]...)
	b = binary.LittleEndian.AppendUint64(b, r.Number)
	kind := byte(0)
	if r.Dropped {
		kind = 1
	}
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Frames)))
	for i := range r.Frames {
		b = live.AppendNeed(b, &r.Frames[i])
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Pages)))
	for _, p := range r.Pages {
		b = append(b, p[:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// ParseRound reads what Marshal wrote.
func ParseRound(b []byte) (*Round, error) {
	bad := func(why string) (*Round, error) { return nil, fmt.Errorf("round: %s: %w", why, fault.Corrupt) }
	n := len(b) - sha256.Size
	if n < 41 || string(b[:8]) != magicRound {
		return bad("not of version 1")
	}
	if sha256.Sum256(b[:n]) != [32]byte(b[n:]) || b[32] > 1 {
		return bad("does not match its hash")
	}
	r := &Round{Repository: [16]byte(b[8:24]), Number: binary.LittleEndian.Uint64(b[24:]), Dropped: b[32] == 1}
	frames := binary.LittleEndian.Uint32(b[33:])
	rest := b[37:n]
	for range frames {
		need, after, err := live.DecodeNeed(rest)
		if err != nil {
			return nil, fmt.Errorf("round: %w", err)
		}
		if k := len(r.Frames); k > 0 && bytes.Compare(r.Frames[k-1].Pack[:], need.Pack[:]) >= 0 {
			return bad("packs out of order")
		}
		if slices.ContainsFunc(need.Runs, func(run live.Run) bool { return run.Need != 0 && run.Need != 255 }) {
			return bad("half a frame")
		}
		r.Frames, rest = append(r.Frames, need), after
	}
	if len(rest) < 4 {
		return bad("cut short")
	}
	pages := binary.LittleEndian.Uint32(rest)
	if rest = rest[4:]; uint64(len(rest)) != uint64(pages)*32 {
		return bad("length of the list of pages")
	}
	for ; len(rest) > 0; rest = rest[32:] {
		p := live.Hash(rest[:32])
		if k := len(r.Pages); k > 0 && bytes.Compare(r.Pages[k-1][:], p[:]) >= 0 {
			return bad("pages out of order")
		}
		r.Pages = append(r.Pages, p)
	}
	return r, nil
}

// Gone says whether an intent is no longer there.
func Gone(ctx context.Context, s store.Store, i *Intent) (bool, error) {
	_, err := store.ReadAll(ctx, s, i.Name(), sizeIntent)
	if errors.Is(err, fault.NotExist) {
		return true, nil
	}
	return false, err
}
