package scrub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Heal puts the bytes that an object once had back in its place, whatever is
// there now, and returns once that is durable. Bytes that are not right for
// the name, as far as that can be seen without a key, are refused with
// fault.Corrupt. It may be repeated, and be called by several at a time.
//
// A store that is a store.Replacer does it in one step. Elsewhere
//
//	put healed/NAME ─► delete NAME ─► put NAME ─► delete healed/NAME
//
// so that the whole bytes are there at any moment: readers that miss NAME look
// at healed/NAME, and what was cut short is finished by Finish. A failure that
// was none (the lost reply) is as good as a success, since each step may be
// repeated.
//
// BUG: on a store that cannot replace, of two that heal one object at the same
// time one may still be about to delete it when the other is done and has
// removed the copy. If the first is killed in just that moment the object is
// gone, and must be healed from its source again. Each looks once more when it
// is done, so that both must be killed for that.
func Heal(ctx context.Context, s store.Store, name string, data []byte) error {
	if err := Verify(name, data); err != nil {
		return fmt.Errorf("heal %s: the bytes at hand are not right: %w", name, err)
	}
	if r, ok := s.(store.Replacer); ok {
		if err := r.Replace(ctx, name, data); err != nil {
			return fmt.Errorf("heal %s: %w", name, err)
		}
		return nil
	}
	if err := putCopy(ctx, s, name, data); err != nil {
		return fmt.Errorf("heal %s: %w", name, err)
	}
	if err := swap(ctx, s, name, data); err != nil {
		return fmt.Errorf("heal %s: %w", name, err)
	}
	return nil
}

// putCopy puts healed/NAME. A copy with other bytes is damaged itself, or is
// one of a healing that went on from other, right bytes: which, is seen.
func putCopy(ctx context.Context, s store.Store, name string, data []byte) error {
	err := s.Put(ctx, place.HealedName(name), data)
	if !errors.Is(err, fault.Exist) {
		return err
	}
	old, err := store.ReadAll(ctx, s, place.HealedName(name), shapeOf(name).limit)
	if err == nil && Verify(name, old) == nil {
		return fmt.Errorf("another healing, from other bytes, is under way: %w", fault.Exist)
	}
	if err != nil && !errors.Is(err, fault.NotExist) && !errors.Is(err, fault.TooLarge) {
		return err
	}
	if err := s.Delete(ctx, place.HealedName(name)); err != nil {
		return err
	}
	return s.Put(ctx, place.HealedName(name), data)
}

// swap is what follows once healed/NAME is durable.
func swap(ctx context.Context, s store.Store, name string, data []byte) error {
	for range 3 {
		same, err := holds(ctx, s, name, data)
		if err != nil {
			return err
		}
		if !same {
			if err := s.Delete(ctx, name); err != nil {
				return err
			}
			if err := s.Put(ctx, name, data); err != nil {
				return err
			}
		}
		if err := s.Delete(ctx, place.HealedName(name)); err != nil {
			return err
		}
		// Somebody who heals it, too, may just have deleted it.
		if same, err = holds(ctx, s, name, data); err != nil || same {
			return err
		}
		if err := s.Put(ctx, place.HealedName(name), data); err != nil {
			return err
		}
	}
	return fmt.Errorf("others delete it again and again; its bytes are in %s: %w", place.HealedName(name), fault.Unavailable)
}

// holds says whether an object is there with just these bytes. One that cannot
// be read has not.
func holds(ctx context.Context, s store.Store, name string, data []byte) (bool, error) {
	b, err := store.ReadAll(ctx, s, name, int64(len(data)))
	if err != nil && ctx.Err() != nil || errors.Is(err, fault.Unavailable) {
		return false, err
	}
	return err == nil && bytes.Equal(b, data), nil
}

// Finish ends healings that were cut short, and returns the names of the
// objects that are whole by that. Copies that are damaged themselves are
// removed where the object is right, else left and returned as an error beside
// the others.
func Finish(ctx context.Context, s store.Store) (finished []string, err error) {
	var names []string
	for o, err := range s.List(ctx, place.Healed) {
		if err != nil {
			return nil, fmt.Errorf("finish healings: %w", err)
		}
		names = append(names, strings.TrimPrefix(o.Name, place.Healed))
	}
	var bad []error
	for _, name := range names {
		err := finish(ctx, s, name)
		switch {
		case err == nil:
			finished = append(finished, name)
		case errors.Is(err, fault.Corrupt):
			bad = append(bad, err)
		default:
			return finished, fmt.Errorf("finish healings: %w", err)
		}
	}
	return finished, errors.Join(bad...)
}

func finish(ctx context.Context, s store.Store, name string) error {
	data, err := store.ReadAll(ctx, s, place.HealedName(name), shapeOf(name).limit)
	if errors.Is(err, fault.NotExist) {
		return nil // whoever healed it was done
	}
	if err != nil && !errors.Is(err, fault.TooLarge) {
		return err
	}
	if err != nil || Verify(name, data) != nil {
		now, err := store.ReadAll(ctx, s, name, shapeOf(name).limit)
		if err != nil || Verify(name, now) != nil {
			return fmt.Errorf("%s, from which %s was to be healed, is damaged itself: %w", place.HealedName(name), name, fault.Corrupt)
		}
		return s.Delete(ctx, place.HealedName(name))
	}
	return swap(ctx, s, name, data)
}
