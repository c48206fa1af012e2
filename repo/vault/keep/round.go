package keep

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
)

const (
	magicRound = "tidmGCR\x01"
	magicFold  = "tidmGCF\x01"
	maxRound   = 64 << 20

	// Rounds is where rounds of collection and their folds are in a store.
	Rounds = "gc/"

	kindCondemned = "condemned"
	kindDropped   = "dropped"
	kindFolded    = "folded"
)

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
	kind := kindCondemned
	if r.Dropped {
		kind = kindDropped
	}
	return fmt.Sprintf("%s%016x-%s", Rounds, r.Number, kind)
}

// Marshal returns the object.
func (r *Round) Marshal() []byte {
	b := append([]byte(magicRound), r.Repository[:]...)
	b = binary.LittleEndian.AppendUint64(b, r.Number)
	kind := byte(0)
	if r.Dropped {
		kind = 1
	}
	b = r.appendLists(append(b, kind))
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func (r *Round) appendLists(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Frames)))
	for i := range r.Frames {
		b = live.AppendNeed(b, &r.Frames[i])
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Pages)))
	for _, p := range r.Pages {
		b = append(b, p[:]...)
	}
	return b
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
	rest, err := r.parseLists(b[33:n])
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return bad("bytes after the last page")
	}
	return r, nil
}

// parseLists reads what appendLists wrote and returns what follows it.
func (r *Round) parseLists(b []byte) (rest []byte, err error) {
	bad := func(why string) ([]byte, error) { return nil, fmt.Errorf("round: %s: %w", why, fault.Corrupt) }
	if len(b) < 8 {
		return bad("cut short")
	}
	frames, rest := binary.LittleEndian.Uint32(b), b[4:]
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
	if rest = rest[4:]; uint64(len(rest)) < uint64(pages)*32 {
		return bad("length of the list of pages")
	}
	for range pages {
		p := live.Hash(rest[:32])
		if k := len(r.Pages); k > 0 && bytes.Compare(r.Pages[k-1][:], p[:]) >= 0 {
			return bad("pages out of order")
		}
		r.Pages, rest = append(r.Pages, p), rest[32:]
	}
	return rest, nil
}

// empty says whether the round names nothing.
func (r *Round) empty() bool { return len(r.Frames)+len(r.Pages) == 0 }

// VerifyRound says whether bytes are right for the name of a round or a fold.
// What is wrong is fault.Corrupt.
func VerifyRound(name string, b []byte) error {
	var right string
	if strings.HasSuffix(name, kindFolded) {
		f, err := ParseFold(b)
		if err != nil {
			return err
		}
		right = f.Name()
	} else {
		r, err := ParseRound(b)
		if err != nil {
			return err
		}
		right = r.Name()
	}
	if right != name {
		return fmt.Errorf("it holds %s: %w", right, fault.Corrupt)
	}
	return nil
}

// Fold stands for all rounds up to one: it repeats what they dropped, as far
// as writers must still know it.
type Fold struct {
	Repository [16]byte
	Number     uint64   // of the last round that it stands for
	Rounds     []Folded // ascending numbers
}

// Folded is one round of a Fold.
type Folded struct {
	Number uint64
	Time   int64 // vault's time at which it was dropped, Unix seconds
	Frames []live.Need
	Pages  []live.Hash
}

func foldName(number uint64) string { return fmt.Sprintf("%s%016x-%s", Rounds, number, kindFolded) }

// Name returns the name of the fold's object.
func (f *Fold) Name() string { return foldName(f.Number) }

// Marshal returns the object.
func (f *Fold) Marshal() []byte {
	b := append([]byte(magicFold), f.Repository[:]...)
	b = binary.LittleEndian.AppendUint64(b, f.Number)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Rounds)))
	for i := range f.Rounds {
		r := &f.Rounds[i]
		b = binary.LittleEndian.AppendUint64(b, r.Number)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Time))
		b = (&Round{Frames: r.Frames, Pages: r.Pages}).appendLists(b)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// ParseFold reads what Marshal wrote.
func ParseFold(b []byte) (*Fold, error) {
	bad := func(why string) (*Fold, error) { return nil, fmt.Errorf("fold: %s: %w", why, fault.Corrupt) }
	n := len(b) - sha256.Size
	if n < 36 || string(b[:8]) != magicFold {
		return bad("not of version 1")
	}
	if sha256.Sum256(b[:n]) != [32]byte(b[n:]) {
		return bad("does not match its hash")
	}
	f := &Fold{Repository: [16]byte(b[8:24]), Number: binary.LittleEndian.Uint64(b[24:])}
	rounds, rest := binary.LittleEndian.Uint32(b[32:]), b[36:n]
	for range rounds {
		if len(rest) < 16 {
			return bad("cut short")
		}
		r := Folded{Number: binary.LittleEndian.Uint64(rest), Time: int64(binary.LittleEndian.Uint64(rest[8:]))}
		if k := len(f.Rounds); r.Number > f.Number || k > 0 && f.Rounds[k-1].Number >= r.Number {
			return bad("rounds out of order")
		}
		var lists Round
		var err error
		if rest, err = lists.parseLists(rest[16:]); err != nil {
			return nil, fmt.Errorf("fold: %w", err)
		}
		r.Frames, r.Pages = lists.Frames, lists.Pages
		f.Rounds = append(f.Rounds, r)
	}
	if len(rest) > 0 {
		return bad("bytes after the last round")
	}
	return f, nil
}
