package scrub

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// witnesses is how many packs, and points, are asked whose they are.
const witnesses = 8

// Identify returns the ID of the repository in a store, with no key. Where the
// object repository is damaged or missing, or disagrees with most of the packs
// and points, it is theirs. fault.NotExist: nothing there is a repository's.
func Identify(ctx context.Context, s store.Store) ([16]byte, error) {
	votes := map[[16]byte]int{}
	vote := func(name string, weight int) error {
		head := make([]byte, 24)
		n, err := s.Get(ctx, name, 0, head)
		if err != nil && away(err) {
			return err
		}
		if err == nil && n == len(head) && string(head[:4]) == "tidm" {
			votes[[16]byte(head[8:])] += weight
		}
		return nil
	}
	for _, prefix := range []string{pack.Prefix, point.Prefix} {
		asked := 0
		for o, err := range s.List(ctx, prefix) {
			if err == nil {
				err = vote(o.Name, 2)
			}
			if err != nil {
				return [16]byte{}, fmt.Errorf("identify repository: %w", err)
			}
			if asked++; asked == witnesses {
				break
			}
		}
	}
	_, err := s.Get(ctx, nameRepository, 0, nil)
	there := err == nil
	if err == nil || !errors.Is(err, fault.NotExist) && !away(err) {
		err = vote(nameRepository, 3) // the word of one pack is not enough against it
	} else if errors.Is(err, fault.NotExist) {
		err = nil
	}
	if err != nil {
		return [16]byte{}, fmt.Errorf("identify repository: %w", err)
	}
	var id [16]byte
	for k, n := range votes {
		if n > votes[id] || votes[id] == 0 {
			id = k
		}
	}
	if votes[id] == 0 || !there && votes[id] < 4 {
		return [16]byte{}, fmt.Errorf("identify repository: there is none in this place: %w", fault.NotExist)
	}
	return id, nil
}
