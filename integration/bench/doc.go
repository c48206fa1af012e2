// Command bench measures Tidemark against the backup programs found on PATH
// (restic, kopia, borg), on the same data in the same run, and writes one
// Markdown table into the README.
//
//	go run ./integration/bench -work DIR            # all rows, some hours, 40 GB
//	go run ./integration/bench -work DIR -scale .05 # a look, some minutes
//
// Nouns:
//
//   - A data set is a folder made from a seed and from what a Debian machine
//     has: small, large, random, image, tiny, one.
//   - A row is one line of the table: what is measured, in which unit, and
//     how far ahead of the best peer Tidemark must be.
//   - A step is one act measured for each tool in turn; it gives one or more
//     rows. Between two runs of a step the order of the tools rotates.
//   - A limit is what the machine does with no backup program at all: a bare
//     walk, bare hashing and sealing, a file system from memory.
//
// Defaults of the peers, with encryption on: restic as it comes (AES-256-CTR
// with Poly1305, zstd); kopia as it comes for a repository in a folder
// (AES-256-GCM, and no compression: that is its default), and once more as
// kopia zstd, with its global policy set to zstd-fastest; borg repokey-blake2
// with lz4. All keep their local caches as they do for any user.
//
// A peer that does not compress wins time with space. Where compressing or
// decompressing content is part of the work, the best peer is the best of those
// that compress; if the other one is faster still, the table says so beside it.
// For incompressible data, for sizes, and where no content moves, all count.
//
// Cold means that the page cache was dropped before each measured act, not
// that a disk below a virtual machine has forgotten what it read. CPU is user
// and system time of the process, the peak is its largest resident set; in
// rows of a mount both are those of the mounting process alone. A row that
// cannot be measured says "n/a" and why; it never passes. What a tool wrote or
// showed is compared with the source by content, outside the measured time.
package main
