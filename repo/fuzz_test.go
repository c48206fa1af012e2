package repo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/seal"
)

// sampleBody has something in every section.
func sampleBody() *body {
	b := &body{
		Details: Details{
			Started: time.Unix(1_700_000_000, 1), Finished: time.Unix(-5, 999_999_999),
			Host: "host", User: "root", OS: "linux", Program: "tidemark", Version: "1",
			Paths: []string{"/etc", "/\xff"}, Tags: []string{"daily", ""},
			Users: map[uint32]string{0: "root", math.MaxUint32: "nobody"}, Groups: map[uint32]string{7: "x"},
			Devices: []uint64{0, math.MaxUint64}, Warnings: []Warning{{"/etc/shadow", "permission denied"}, {"", "lost"}},
			ServerUsers: []meta.ServerUser{{Name: "ann", UID: 1000, Groups: []uint32{27, 1000}}, {Name: "root", Groups: []uint32{0}}},
			Consistency: Consistency{FileSystem, "a snapshot"}, Suspect: []string{"9 of 9 files", ""},
		},
		entries: 12, level: 1, root: []byte("root page"),
	}
	for i, f := range b.Statistics.fields() {
		*f = uint64(i) << (4 * i)
	}
	return b
}

// FuzzBody: what is taken for a body has one meaning, which can be written and
// read again.
func FuzzBody(f *testing.F) {
	f.Add(sampleBody().marshal())
	f.Add((&body{entries: 1, Details: Details{Started: time.Unix(0, 0), Finished: time.Unix(0, 0)}}).marshal())
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parseBody(bytes.Clone(raw))
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(b.Warnings) > MaxWarnings || len(b.ServerUsers) > meta.MaxServerUsers || len(b.Users)+len(b.Groups)+len(b.Paths)+len(b.Tags)+len(b.Devices) > len(raw) {
			t.Fatalf("%d bytes became %+v", len(raw), b)
		}
		again := b.marshal()
		c, err := parseBody(again)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if !bytes.Equal(c.marshal(), again) || !c.Started.Equal(b.Started) || !bytes.Equal(c.root, b.root) || c.entries != b.entries || c.Statistics != b.Statistics {
			t.Fatalf("%+v became %+v", b, c)
		}
	})
}

// A body that was written says the same when it is read.
func TestBodyRoundTrip(t *testing.T) {
	b := sampleBody()
	got, err := parseBody(b.marshal())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, b) {
		t.Errorf("%+v instead of %+v", got, b)
	}
	b.Warnings = nil
	for range 3 * MaxWarnings {
		b.Warnings = append(b.Warnings, Warning{"/long/path", "and a reason"})
	}
	if got, err = parseBody(b.marshal()); err != nil || len(got.Warnings) != MaxWarnings {
		t.Errorf("%d warnings, %v", len(got.Warnings), err)
	}
	huge := Warning{Path: string(make([]byte, 128<<10)), Reason: "deep"}
	b.Warnings = []Warning{}
	for range MaxWarnings {
		b.Warnings = append(b.Warnings, huge)
	}
	raw := b.marshal()
	if got, err = parseBody(raw); err != nil || len(raw) > 5<<20 || len(got.Warnings) == 0 {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
}

// A short body cannot announce much.
func TestBodyThatLies(t *testing.T) {
	for tag := byte(tagPaths); tag <= tagSuspect; tag++ {
		b := sampleBody().marshal()
		b = append(b[:len(b):len(b)], 0)
		content := append([]byte{0xff, 0xff, 0xff, 0x7f}, make([]byte, 1000)...)
		lie := append(append([]byte{tag, byte(len(content)&0x7f | 0x80), byte(len(content) >> 7)}, content...), b...)
		if _, err := parseBody(lie); !errors.Is(err, fault.Corrupt) {
			t.Errorf("tag %d: %v", tag, err)
		}
	}
}

// FuzzChunkList: there is one encoding of each list.
func FuzzChunkList(f *testing.F) {
	list := []index.Chunk{{ID: chunk.ID{1}, Offset: 0, Length: 5}, {ID: chunk.ID{2}, Offset: 5, Length: 1 << 20}, {ID: chunk.ID{3}, Offset: 2 << 20, Length: 100}}
	f.Add(marshalChunks(list), uint32(2<<20+100))
	f.Add([]byte{0}, uint32(0))
	f.Fuzz(func(t *testing.T, raw []byte, total uint32) {
		chunks, err := parseChunks(bytes.Clone(raw), total)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Fatalf("%v", err)
			}
			return
		}
		end := uint64(0)
		for _, c := range chunks {
			if uint64(c.Offset) < end || c.Length == 0 {
				t.Fatalf("chunk %+v after %d", c, end)
			}
			end = uint64(c.Offset) + uint64(c.Length)
		}
		if end != uint64(total) || !bytes.Equal(marshalChunks(chunks), raw) {
			t.Fatalf("%x became %+v", raw, chunks)
		}
	})
}

func sampleIdentity(key seal.Key) Identity {
	id := Identity{ID: seal.RepositoryID{1, 2, 3}, Created: time.Unix(1_700_000_000, 0), Chunks: chunk.DefaultParams(), PageMin: 2048, PageAvg: 4096}
	id.raw = id.marshal(key)
	return id
}

// FuzzIdentity: the object `repository` is what its MAC says, and its numbers
// are possible ones.
func FuzzIdentity(f *testing.F) {
	key := seal.Key{9}
	f.Add(sampleIdentity(key).raw)
	f.Add([]byte(magicRepository))
	f.Fuzz(func(t *testing.T, raw []byte) {
		id, err := parseIdentity(bytes.Clone(raw))
		if err != nil {
			if !errors.Is(err, fault.Corrupt) && !errors.Is(err, fault.Unsupported) {
				t.Fatalf("%v", err)
			}
			return
		}
		if err := id.Chunks.Validate(); err != nil {
			t.Fatalf("%v", err)
		}
		again := id.marshal(key)
		if !bytes.Equal(again[:len(again)-32], raw[:len(raw)-32]) {
			t.Fatalf("%x became %x", raw, again)
		}
		if err := id.checkMAC(key); (err == nil) != bytes.Equal(raw, again) {
			t.Fatalf("%v", err)
		}
	})
}

// FuzzAccess: a file of keys is whole or refused. Its checksum is put right,
// so that what is behind it is tried, too.
func FuzzAccess(f *testing.F) {
	id := seal.RepositoryID{1, 2, 3}
	epoch, private, err := seal.NewEpoch(id, 1, 1_700_000_000)
	if err != nil {
		f.Fatal(err)
	}
	keys := seal.Derive(seal.Key{5}, id)
	for _, p := range [][]seal.Private{nil, {*private}} {
		a := access{identity: sha256.Sum256([]byte("x")), keys: keys, epoch: epoch, private: p}
		b := a.marshal()
		got, err := parseAccess(b)
		if err != nil || len(got.private) != len(p) || got.identity != a.identity || got.keys.RepMAC != (seal.Key{}) {
			f.Fatalf("%+v %v", got, err)
		}
		f.Add(b[:len(b)-32])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b)
		whole := append(bytes.Clone(b), sum[:]...)
		a, err := parseAccess(whole)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Fatalf("%v", err)
			}
			return
		}
		if a.keys == nil || a.epoch == nil {
			t.Fatalf("%+v", a)
		}
		if again, err := parseAccess(a.marshal()); err != nil || len(again.private) != len(a.private) || again.identity != a.identity {
			t.Fatalf("%+v became %+v, %v", a, again, err)
		}
	})
}

// FuzzDevice: a signing key is whole or refused, and never overwritten.
func FuzzDevice(f *testing.F) {
	l := Local{Dir: f.TempDir()}
	if _, err := l.Device(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(l.Dir, "device"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		l := Local{Dir: t.TempDir()}
		path := filepath.Join(l.Dir, "device")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := l.Device()
		if (err == nil) != (len(b) == 88 && sha256.Sum256(b[:56]) == [32]byte(b[56:]) && string(b[:8]) == magicDevice) {
			t.Fatalf("%x: %v", b, err)
		}
		if err != nil && !errors.Is(err, fault.Corrupt) {
			t.Fatalf("%v", err)
		}
		if err == nil && !bytes.Equal(d.Server[:], b[8:24]) {
			t.Fatalf("%x", d.Server)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
			t.Fatalf("the file became %x, %v", now, err)
		}
	})
}
