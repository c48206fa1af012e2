package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// maxSlots bounds how many slots are tried; each try costs a derivation.
const maxSlots = 64

// Slot describes a way in: a passphrase or a recovery key.
type Slot struct {
	ID       seal.SlotID
	Recovery bool
	Label    string
	Created  time.Time
	Cost     seal.Cost
}

// Unlock opens the repository for reading and writing with a passphrase or a
// recovery key, and returns the slot that it opened. fault.Locked: no slot
// knows it.
func (r *Repository) Unlock(ctx context.Context, passphrase []byte) (Slot, error) {
	secrets, slot, err := r.openSlots(ctx, passphrase)
	if err != nil {
		return Slot{}, err
	}
	if err := r.grant(ctx, seal.Derive(secrets.Root, r.ID), secrets.Private); err != nil {
		return Slot{}, err
	}
	r.mendSlot(ctx, slot)
	return describe(slot), nil
}

// openSlots tries every slot. A damaged slot is reported only if no other one
// opens.
func (r *Repository) openSlots(ctx context.Context, passphrase []byte) (*seal.Secrets, *seal.Slot, error) {
	slots, damaged, err := r.slots(ctx)
	if err == nil {
		var secrets *seal.Secrets
		var slot *seal.Slot
		if secrets, slot, err = openOne(slots, passphrase, damaged); err == nil {
			return secrets, slot, nil
		}
	}
	if len(r.replicas) > 0 && ctx.Err() == nil {
		if secrets, slot, bad := openOne(r.slotsElsewhere(ctx), passphrase, nil); bad == nil {
			return secrets, slot, nil
		}
	}
	return nil, nil, err
}

// openOne tries slots until one opens.
func openOne(slots []*seal.Slot, passphrase []byte, damaged error) (*seal.Secrets, *seal.Slot, error) {
	recovery, isRecovery := seal.CanonicalRecoveryKey(passphrase)
	for _, s := range slots {
		try := passphrase
		if s.Kind == seal.Recovery {
			if !isRecovery {
				continue
			}
			try = recovery
		}
		secrets, err := s.Open(try)
		if err == nil {
			return secrets, s, nil
		}
		if !errors.Is(err, fault.Locked) {
			damaged = err
		}
	}
	if damaged != nil {
		return nil, nil, fmt.Errorf("unlock repository: %w", damaged)
	}
	return nil, nil, fmt.Errorf("unlock repository: no key slot opens with this passphrase: %w", fault.Locked)
}

// slots reads all slots that can be read, and an error of one that cannot.
func (r *Repository) slots(ctx context.Context) (slots []*seal.Slot, damaged, err error) {
	return slotsIn(ctx, r.store, r.ID)
}

func slotsIn(ctx context.Context, from store.Store, id seal.RepositoryID) (slots []*seal.Slot, damaged, err error) {
	for object, err := range from.List(ctx, prefixSlots) {
		if err != nil {
			return nil, nil, fmt.Errorf("list key slots: %w", err)
		}
		b, err := store.ReadAll(ctx, from, object.Name, 1<<20)
		if errors.Is(err, fault.NotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read key slot: %w", err)
		}
		s, err := seal.ParseSlot(b)
		if err == nil && s.Repository != id {
			continue // a Create that was cut short, or lost a race, left it
		}
		if err == nil && prefixSlots+s.ID.String() != object.Name {
			err = fmt.Errorf("key slot %s under another name: %w", s.ID, fault.Corrupt)
		}
		if err != nil {
			damaged = fmt.Errorf("%s: %w", object.Name, err)
			continue
		}
		if slots = append(slots, s); len(slots) > maxSlots {
			return nil, nil, fmt.Errorf("list key slots: more than %d: %w", maxSlots, fault.TooLarge)
		}
	}
	return slots, damaged, nil
}

// grant checks that keys are this repository's and takes them.
func (r *Repository) grant(ctx context.Context, keys *seal.Keys, private []seal.Private) error {
	if err := r.prove(ctx, func(id *Identity) error { return id.checkMAC(keys.RepMAC) }); err != nil {
		return err
	}
	if len(private) == 0 {
		return fmt.Errorf("key slot holds no private key: %w", fault.Corrupt)
	}
	for i := range private {
		private[i].Ready()
	}
	epoch, err := seal.EpochOf(r.ID, &private[len(private)-1])
	if err != nil {
		return err
	}
	r.take(keys, epoch, private)
	r.mendIdentity(ctx)
	return nil
}

func (r *Repository) privateOf(epoch uint32) (*seal.Private, error) {
	for i := range r.private {
		if r.private[i].Epoch == epoch {
			return &r.private[i], nil
		}
	}
	if len(r.private) == 0 {
		return nil, fmt.Errorf("reading needs the passphrase, this machine's keys only write: %w", fault.Locked)
	}
	return nil, fmt.Errorf("no private key of epoch %d: %w", epoch, fault.Locked)
}

// Slots lists the ways in.
func (r *Repository) Slots(ctx context.Context) ([]Slot, error) {
	slots, damaged, err := r.slots(ctx)
	if err != nil {
		return nil, err
	}
	var out []Slot
	for _, s := range slots {
		out = append(out, describe(s))
	}
	return out, damaged
}

func describe(s *seal.Slot) Slot {
	return Slot{ID: s.ID, Recovery: s.Kind == seal.Recovery, Label: s.Label, Created: time.Unix(s.Created, 0), Cost: s.Cost}
}

// AddSlot makes a new way in for who knows one: passphrase opens it, unless
// recovery is set: then a recovery key is drawn and returned.
func (r *Repository) AddSlot(ctx context.Context, known, passphrase []byte, label string, recovery bool, now time.Time) (Slot, string, error) {
	secrets, _, err := r.openSlots(ctx, known)
	if err != nil {
		return Slot{}, "", err
	}
	kind, recoveryKey := seal.Passphrase, ""
	if recovery {
		kind, recoveryKey = seal.Recovery, seal.NewRecoveryKey()
		passphrase, _ = seal.CanonicalRecoveryKey([]byte(recoveryKey))
	}
	s, err := seal.NewSlot(r.ID, kind, label, now.Unix(), seal.DefaultCost(), passphrase, secrets)
	if err != nil {
		return Slot{}, "", err
	}
	if err := r.store.Put(ctx, prefixSlots+s.ID.String(), s.Marshal()); err != nil {
		return Slot{}, "", fmt.Errorf("add key slot: %w", err)
	}
	return describe(s), recoveryKey, nil
}

// RemoveSlot removes a way in, named by its ID or a prefix of it that no other
// has. The last one stays: without any, nobody could ever read again.
func (r *Repository) RemoveSlot(ctx context.Context, prefix string) (Slot, error) {
	slots, _, err := r.slots(ctx)
	if err != nil {
		return Slot{}, err
	}
	var found []*seal.Slot
	for _, s := range slots {
		if strings.HasPrefix(s.ID.String(), prefix) {
			found = append(found, s)
		}
	}
	switch {
	case prefix == "" || len(found) == 0:
		return Slot{}, fmt.Errorf("remove key slot %q: %w", prefix, fault.NotExist)
	case len(found) > 1:
		return Slot{}, fmt.Errorf("remove key slot %q: %d slots begin so: %w", prefix, len(found), fault.Invalid)
	case len(slots) == 1:
		return Slot{}, fmt.Errorf("remove key slot %s: it is the last one, nobody could read the repository again: %w", found[0].ID, fault.Invalid)
	}
	if err := r.store.Delete(ctx, prefixSlots+found[0].ID.String()); err != nil {
		return Slot{}, fmt.Errorf("remove key slot: %w", err)
	}
	return describe(found[0]), nil
}

// ChangePassphrase replaces the slot that known opens by one that passphrase
// opens. The new one is stored before the old one goes.
func (r *Repository) ChangePassphrase(ctx context.Context, known, passphrase []byte, now time.Time) (Slot, error) {
	_, old, err := r.openSlots(ctx, known)
	if err != nil {
		return Slot{}, err
	}
	if old.Kind == seal.Recovery {
		return Slot{}, fmt.Errorf("change passphrase: a recovery key was given; add a passphrase with it instead: %w", fault.Invalid)
	}
	slot, _, err := r.AddSlot(ctx, known, passphrase, old.Label, false, now)
	if err != nil {
		return Slot{}, err
	}
	if err := r.store.Delete(ctx, prefixSlots+old.ID.String()); err != nil {
		return Slot{}, fmt.Errorf("change passphrase: the new one works, but the old one could not be removed (key slot %s): %w", old.ID, err)
	}
	return slot, nil
}
