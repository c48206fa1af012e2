// Package index remembers where the chunks of a repository are stored, so
// that a writer does not store them again.
//
// Nouns: a record maps a chunk's ID to a Location: pack number, raw offset
// and length. The run is the part of the index in memory; a segment is a
// sorted, immutable file of records. The pack table numbers the packs whose
// chunks are known, and the log is the file that makes changes to pack table
// and set of segments valid.
//
// The index is for dedup only: reading needs none. It lives in a folder of the
// machine that writes, holds nothing that is not also in the packs' chunk
// lists, and may be lost at any time. It therefore never repairs. Whatever is
// damaged, foreign or of another version makes it empty, which Rebuilt tells,
// and the caller adds the packs that Has does not know from their chunk
// lists. It decides nothing about what may be deleted.
//
// Invariants:
//
//   - A pack is in the stored pack table only once all its records are in
//     stored segments. A crash loses what was added since the last Flush and
//     nothing else, and then the packs lost are unknown, too.
//   - A stored segment names only packs in the stored table or dropped ones,
//     and numbers of packs are never used again.
//   - An answer comes from bytes whose checksum was right.
//   - Memory is bounded: run (32 MiB by default, and one pack's chunks), filters
//     (48 MiB), 8 bytes for each 146 stored records, some 50 bytes for each pack.
//
// A truncated log may be one that was never longer. So after Open the caller
// compares with the store's listing: Drop what is not there, Add what is new.
//
// # Two processes
//
// One process at a time, the owner, holds the lock file and changes stored
// files. Others read what is stored at their Open and keep what they add to
// themselves, in memory and in segments of their own that vanish at Close; the
// next owner finds their packs in the store.
//
// # Files
//
// Numbers are little-endian. CRC is CRC-32C (Castagnoli). A folder holds
// `lock`, `log`, sometimes `log.new`, and segments, named by their number in
// 16 hexadecimal digits and `.segment`; those that the log does not name are
// left over from a crash or belong to a process that is not the owner.
//
// The log is a header and frames:
//
//	offset  size
//	0       8     magic "tidmIDX" 02
//	8       16    repository
//	24      4     CRC of bytes 0 to 23
//	28            frames
//
//	0       4     length of the payload, at most 16 MiB
//	4       4     sequence: number of frames before this one in the file
//	8       4     1 if the frames up to the next with 0 are valid only together
//	12      4     CRC of bytes 0 to 11 and the payload
//	16            payload:
//	16      4     next: the number that the next new pack will get
//	20      4     P, new packs
//	24      4     D, dropped packs
//	28      4     S, segments
//	32      44·P  new packs: u32 number, 16 bytes ID, u32 first, u32 step,
//	              u32 total, u32 chunks, u8 kind, 3 zeros, u32 size
//	…       4·D   u32 number
//	…       8·S   u64 number: all valid segments, oldest first; meaningful in
//	              frames with 0 at offset 8 only
//
// Drops come before new packs, in a frame and in a group: a pack may vanish
// and come back. A frame cut short by the end of the file, or the last one with a wrong CRC,
// or zeros to the end, are a write that a crash tore: they and the frames
// that are valid only together with them do not count. Anything else that is
// wrong makes the index empty.
//
// A segment:
//
//	offset  size
//	0       8     magic "tidmSEG" 01
//	8       16    repository
//	24      8     u64 number, as in the name
//	32      8     u64 N, records, at least 1
//	40      4     u32 L, filter lines, at least 1
//	44      4     CRC of the fences
//	48      12    zeros
//	60      4     CRC of bytes 0 to 59
//	64      64·L  filter lines
//	…             zeros to a multiple of 4,096
//	…       4096  for each 146 records a block
//	…       8     for each block a fence
//
// A block is up to 146 records of 28 bytes (16 bytes ID, u32 pack, u32 offset,
// u32 length) in ascending order of ID, zeros to offset 4,088, u32 tag (low
// half of the segment's number plus the block's), u32 CRC of all before.
// A fence is the first 8 bytes of the block's first ID, as a number.
//
// The filter line of an ID is ⌊first 8 bytes of ID as a big-endian number · L /
// 2^64⌋: lines are in the order of IDs, so a merge writes them as it goes.
// Bits of the line are ⌊v·480 / 2^9⌋ for each of the lowest six groups of 9 bits v
// of the ID's last 8 bytes, a big-endian number. A line is 60 bytes of bits,
// bit i in byte i/8 at 1<<(i%8), and a CRC of those. Merges plan for 48
// records in a line: 10.7 bits a record, some 1 % of false alarms.
package index
