package index

import "github.com/tidemark-backup/tidemark/repo/chunk"

// source is a stream of records in order, with the next one at hand.
type source struct {
	head record
	key  uint64 // hi of head
	next func() (record, bool, error)
}

// advance moves to the next record; false at the end.
func (s *source) advance() (bool, error) {
	r, ok, err := s.next()
	s.head, s.key = r, hi(&r.id)
	return ok, err
}

// runSource streams a run whose shards are all sorted.
func runSource(r *run) *source {
	shard, at := 0, 0
	return &source{next: func() (record, bool, error) {
		for ; shard < numShards; shard, at = shard+1, 0 {
			if s := &r.shards[shard]; at < s.count {
				at++
				return s.slots[at-1], true, nil
			}
		}
		return record{}, false, nil
	}}
}

// segmentSource streams a segment, checking each block.
func segmentSource(s *segment) *source {
	const atOnce = 32 // blocks
	var buf [atOnce * blockSize]byte
	var left []byte // blocks not yet begun
	var block []byte
	var at int64 // the next block to be read
	begun := int64(0)
	return &source{next: func() (record, bool, error) {
		if len(block) == 0 {
			if begun == s.blocks() {
				return record{}, false, nil
			}
			if len(left) == 0 {
				left = buf[:blockSize*min(atOnce, s.blocks()-at)]
				if err := s.readBlock(left, at); err != nil {
					return record{}, false, err
				}
				at += int64(len(left) / blockSize)
			}
			block = left[:recordSize*s.recordsIn(begun)]
			left = left[blockSize:]
			begun++
		}
		r := getRecord(block)
		block = block[recordSize:]
		return r, true, nil
	}}
}

// merge writes the records of all sources, newest first, to out. Of records
// with one ID it takes the newest whose pack is alive, and none of dead packs.
func merge(out *segmentWriter, sources []*source, alive func(pack uint32) bool) error {
	running := sources[:0:0]
	for _, s := range sources {
		ok, err := s.advance()
		if err != nil {
			return err
		}
		if ok {
			running = append(running, s)
		}
	}
	for len(running) > 0 {
		least := running[0]
		for _, s := range running[1:] {
			if s.key < least.key || s.key == least.key && lo(&s.head.id) < lo(&least.head.id) {
				least = s
			}
		}
		if err := mergeID(out, running, least.head.id, alive); err != nil {
			return err
		}
		var err error
		if running, err = advancePast(running, least.head.id); err != nil {
			return err
		}
	}
	return nil
}

// mergeID writes what becomes of the records with one ID.
func mergeID(out *segmentWriter, running []*source, id chunk.ID, alive func(pack uint32) bool) error {
	for _, s := range running {
		if s.head.id == id && alive(s.head.loc.Pack) {
			return out.add(s.head)
		}
	}
	return nil
}

// advancePast moves all sources past id and leaves out those that ended.
func advancePast(running []*source, id chunk.ID) ([]*source, error) {
	left := running[:0]
	for _, s := range running {
		if s.head.id == id {
			ok, err := s.advance()
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
		}
		left = append(left, s)
	}
	return left, nil
}
