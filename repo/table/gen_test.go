package table

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// genName draws names as hosts have them: any bytes but zero and slash.
var genName = rapid.Custom(func(t *rapid.T) string {
	b := rapid.SliceOfN(rapid.ByteRange(1, 255), 1, 12).Draw(t, "name")
	s := strings.ReplaceAll(string(b), "/", "_")
	if s == "." || s == ".." {
		return "dots"
	}
	if rapid.IntRange(0, 60).Draw(t, "long") == 0 {
		s = strings.Repeat(s, MaxName/len(s))
	}
	return s
})

var genPack = rapid.Custom(func(t *rapid.T) pack.ID {
	return pack.ID{7: rapid.ByteRange(1, 40).Draw(t, "pack")}
})

func genExtent(t *rapid.T, hole bool) Extent {
	if hole {
		return Extent{Hole: true, Length: rapid.Uint64Range(1, 1<<56).Draw(t, "hole")}
	}
	length := rapid.Uint64Range(1, 1<<20).Draw(t, "length")
	return Extent{
		Pack:   genPack.Draw(t, "pack"),
		Offset: rapid.Uint32Range(0, pack.MaxRaw-uint32(length)).Draw(t, "offset"),
		Length: length,
	}
}

// genExtents draws up to n extents, none of which goes on where the one
// before ends.
func genExtents(t *rapid.T, n int) []Extent {
	var list []Extent
	for range rapid.IntRange(1, n).Draw(t, "extents") {
		x := genExtent(t, rapid.IntRange(0, 4).Draw(t, "is hole") == 0)
		if k := len(list); k == 0 || !joins(&list[k-1], &x) {
			list = append(list, x)
		}
	}
	return list
}

func size(list []Extent) (total uint64) {
	for _, x := range list {
		total += x.Length
	}
	return total
}

// genEntry draws everything of an entry but its key.
var genEntry = rapid.Custom(func(t *rapid.T) *Entry {
	e := &Entry{
		Kind:       rapid.SampledFrom([]Kind{File, File, File, File, Folder, Symlink, FIFO, CharDevice, BlockDevice}).Draw(t, "kind"),
		Incomplete: rapid.IntRange(0, 9).Draw(t, "incomplete") == 0,
		Mode:       rapid.SampledFrom([]uint32{0o644, 0o755, 0o4755, 0o7777, 0}).Draw(t, "mode"),
		UID:        rapid.SampledFrom([]uint32{0, 0, 0, 1000, 1<<32 - 1}).Draw(t, "uid"),
		GID:        rapid.SampledFrom([]uint32{0, 0, 0, 1000, 1<<32 - 1}).Draw(t, "gid"),
		MTime:      Time{rapid.Int64().Draw(t, "sec"), rapid.Uint32Range(0, 999_999_999).Draw(t, "nsec")},
	}
	switch e.Kind {
	case File:
		genContent(t, e)
	case Symlink:
		e.Target = string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "target"))
	case CharDevice, BlockDevice:
		e.Major, e.Minor = rapid.Uint32().Draw(t, "major"), rapid.Uint32().Draw(t, "minor")
	}
	if rapid.IntRange(0, 7).Draw(t, "linked") == 0 {
		if e.Kind == Folder {
			e.Kind = FIFO
		}
		e.Link = &Link{rapid.Uint32().Draw(t, "device"), rapid.Uint64().Draw(t, "inode"), rapid.Uint64().Draw(t, "links")}
	}
	if rapid.IntRange(0, 7).Draw(t, "attributes") == 0 {
		names := rapid.SliceOfNDistinct(rapid.StringN(1, 10, 40), 1, 4, rapid.ID[string]).Draw(t, "names")
		slices.Sort(names)
		for _, n := range names {
			e.Xattrs = append(e.Xattrs, Xattr{n, rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "value")})
		}
	}
	if rapid.IntRange(0, 20).Draw(t, "extension") == 0 {
		e.Extension = []byte{3, 1, 'x', 9, 0}
	}
	return e
})

func genContent(t *rapid.T, e *Entry) {
	switch rapid.SampledFrom([]Form{None, Inline, One, One, One, List, Paged}).Draw(t, "form") {
	case Inline:
		e.Inline = rapid.SliceOfN(rapid.Byte(), 1, 512).Draw(t, "inline")
		e.Size = uint64(len(e.Inline))
	case One:
		e.Extents = []Extent{genExtent(t, false)}
		e.Size = e.Extents[0].Length
	case List:
		e.Extents = genExtents(t, MaxExtents)
		e.Size = size(e.Extents)
	case Paged:
		e.Size = rapid.Uint64Range(1, MaxSize).Draw(t, "size")
		e.Tree = &Subtree{Level: rapid.IntRange(0, MaxLevels-1).Draw(t, "level"), Ref: Ref{
			Count: e.Size, Address: Address{genPack.Draw(t, "pack"), rapid.Uint32Range(0, 1<<27).Draw(t, "offset"), rapid.Uint32Range(1, MaxPage).Draw(t, "length")},
			ID: [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
		}}
	}
}

// genEntries draws a table: a root and up to n entries, whose folders need
// not be there.
func genEntries(n int) *rapid.Generator[[]*Entry] {
	return rapid.Custom(func(t *rapid.T) []*Entry {
		folders := []string{""}
		for range rapid.IntRange(0, 8).Draw(t, "folders") {
			above := rapid.SampledFrom(folders).Draw(t, "above")
			folders = append(folders, strings.TrimPrefix(above+"/"+genName.Draw(t, "folder"), "/"))
		}
		root := genEntry.Draw(t, "root")
		*root = Entry{Key: Key("/"), Kind: Folder, Mode: root.Mode, UID: root.UID, MTime: root.MTime, Xattrs: root.Xattrs}
		byKey := map[string]*Entry{string(root.Key): root}
		for range rapid.IntRange(0, n).Draw(t, "entries") {
			e := genEntry.Draw(t, "entry")
			e.Key = AppendKey(nil, rapid.SampledFrom(folders).Draw(t, "in"), genName.Draw(t, "name"))
			byKey[string(e.Key)] = e
		}
		return sorted(byKey)
	})
}

func sorted(byKey map[string]*Entry) []*Entry {
	all := make([]*Entry, 0, len(byKey))
	for _, e := range byKey {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *Entry) int { return bytes.Compare(a.Key, b.Key) })
	return all
}

// plain makes n files of one address each in folders of 20, as a source tree
// has them, and their folders.
func plain(n int) []*Entry {
	root := &Entry{Key: Key("/"), Kind: Folder, Mode: 0o755}
	byKey := map[string]*Entry{string(root.Key): root}
	offset := uint32(0)
	for i := range n {
		dir := fmt.Sprintf("usr/share/doc/package-%04d", i/20)
		if i%20 == 0 {
			d := &Entry{Key: Key("/" + dir), Kind: Folder, Mode: 0o755, MTime: Time{1_700_000_000 + int64(i*97), uint32(i) * 1_234_567 % 1e9}}
			byKey[string(d.Key)] = d
		}
		length := uint32(1000 + i*7919%20000)
		e := &Entry{
			Key:  AppendKey(nil, dir, fmt.Sprintf("file-%05d.txt", i)),
			Mode: 0o644, MTime: Time{1_700_000_000 + int64(i*131%9_000_000), uint32(i) * 7_654_321 % 1e9},
			Size:    uint64(length),
			Extents: []Extent{{Pack: pack.ID{7: byte(1 + i/5000)}, Offset: offset, Length: uint64(length)}},
		}
		if offset += length; offset > 100<<20 {
			offset = 0
		}
		byKey[string(e.Key)] = e
	}
	return sorted(byKey)
}
