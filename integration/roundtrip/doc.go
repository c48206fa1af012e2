// Package roundtrip tests that any tree that goes in comes out again: trees
// are generated, backed up, compared entry by entry with what the kernel says
// of them, restored, and compared by rsync.
package roundtrip
