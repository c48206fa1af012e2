package scrub

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// Verify says whether bytes are right for an object's name, as far as that can
// be seen without a key and without anything but them: by the hashes and the
// signatures that they carry. What is wrong is fault.Corrupt. Names that it
// knows nothing of are right.
func Verify(name string, data []byte) error {
	var err error
	switch folder, _, _ := strings.Cut(name, "/"); folder + "/" {
	case pack.Prefix:
		err = verifyPack(name, data)
	case live.Prefix:
		h, e := live.ParseName(name)
		if e != nil || h != sha256.Sum256(data) {
			err = fmt.Errorf("its bytes have another SHA-256 than its name says: %w", fault.Corrupt)
		}
	case point.Prefix:
		var h *point.Header
		if h, _, err = point.Parse(data); err == nil && point.Name(h.Sequence) != name {
			err = fmt.Errorf("it holds point %d: %w", h.Sequence, fault.Corrupt)
		}
	case "gc/":
		var r *keep.Round
		if r, err = keep.ParseRound(data); err == nil && r.Name() != name {
			err = fmt.Errorf("it holds %s: %w", r.Name(), fault.Corrupt)
		}
	case "intents/":
		var i *keep.Intent
		if i, err = keep.ParseIntent(data); err == nil && i.Name() != name {
			err = fmt.Errorf("it holds %s: %w", i.Name(), fault.Corrupt)
		}
	}
	return err
}

func verifyPack(name string, data []byte) error {
	h, err := pack.Parse(data)
	if err != nil {
		return err
	}
	if h.ID.Name() != name {
		return fmt.Errorf("it holds pack %s: %w", h.ID, fault.Corrupt)
	}
	if h.ObjectSize() != int64(len(data)) {
		return fmt.Errorf("%d bytes instead of %d: %w", len(data), h.ObjectSize(), fault.Corrupt)
	}
	for i := range h.Frames() {
		at, n := h.Frame(i)
		if sha256.Sum256(data[at:at+n]) != h.Hashes[i] {
			return fmt.Errorf("frame %d does not match its SHA-256: %w", i, fault.Corrupt)
		}
	}
	return nil
}

// limitOf bounds an object of a name in bytes.
func limitOf(name string) int64 {
	switch folder, _, _ := strings.Cut(name, "/"); folder + "/" {
	case live.Prefix:
		return 1 << 20
	case point.Prefix:
		return point.MaxObject
	case "keys/", "intents/", "repository/":
		return 1 << 20
	}
	return pack.MaxObject // nothing that is stored is larger
}
