// Package compat holds the format to its word: repo/FORMAT.md, the code, a
// reader in Python that was written from that page alone, and a repository
// stored in testdata, which every later version must still read, agree with
// each other byte for byte and file for file.
//
// A tree is compared by its manifest, a line for each entry that says all that
// a backup must keep: kind, mode, owner, size, time, path, links, attributes,
// SHA-256 and the bytes in holes. `reader.py ls --content` prints the same.
//
// testdata/v1-compacted is the same repository after packs were moved into
// containers, once and twice, with rounds of collection and their fold.
//
// To store a new golden repository (only before a format is released):
//
//	go test ./integration/compat -run TestWriteGolden -write-golden
//	cd integration/compat
//	./dumps.py testdata/v1 --passphrase-file testdata/v1.passphrase --into ../../repo/FORMAT.md
//
// The last rewrites the section of FORMAT.md that shows its bytes.
package compat
