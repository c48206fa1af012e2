package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// Unlocked holds passphrases that somebody has told the agent: in memory, and
// nowhere else. The zero Unlocked has none.
type Unlocked struct {
	mu    sync.Mutex
	known map[string][]byte // by the repository's address
}

// Get returns the passphrase for a repository, nil if nobody has told it.
func (u *Unlocked) Get(repository string) []byte {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.known[repository])
}

func (u *Unlocked) put(repository string, passphrase []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil {
		u.known = map[string][]byte{}
	}
	u.known[repository] = slices.Clone(passphrase)
}

func (u *Unlocked) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.known {
		clear(p)
	}
	u.known = nil
}

// passphraseFor returns what opens the repository for reading: what somebody has
// told, or what the configuration names.
func (e *Engine) passphraseFor(ctx context.Context, repository, dir string) ([]byte, error) {
	if p := e.Unlocked.Get(repository); p != nil {
		return p, nil
	}
	if e.Passphrase == nil {
		return nil, fmt.Errorf("open the repository: this machine keeps no keys for that in %s, no passphrase is configured, and nobody has told one (`tidemark agent unlock`): %w", dir, fault.Locked)
	}
	return e.Passphrase(ctx)
}

// Verify looks whether a passphrase opens a repository.
func (e *Engine) Verify(ctx context.Context, repository string, passphrase []byte) (err error) {
	s, closing, err := openPlace(ctx, repository)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	r, err := repo.Open(ctx, s, repo.Options{})
	if err == nil {
		_, err = r.Unlock(ctx, passphrase)
	}
	return err
}

// Unlock takes a passphrase for those of the repositories that the agent reads
// which it opens, and returns these. It is kept in memory until Lock, or the end.
func (a *Agent) Unlock(ctx context.Context, repository string, passphrase []byte) ([]string, error) {
	if a.o.Unlocked == nil || a.o.Verify == nil {
		return nil, fmt.Errorf("unlock: this agent reads nothing: %w", fault.Unsupported)
	}
	a.mu.Lock()
	list := a.reads()
	a.mu.Unlock()
	if repository != "" {
		list = []string{repository}
	}
	opened := []string{}
	var failed error
	for _, address := range list {
		if err := a.o.Verify(ctx, address, passphrase); err != nil {
			failed = errors.Join(failed, fmt.Errorf("unlock %s: %w", address, err))
			continue
		}
		a.o.Unlocked.put(address, passphrase)
		opened = append(opened, address)
	}
	if len(opened) == 0 {
		return nil, failed
	}
	a.o.Log.Info("unlocked", "repositories", opened)
	a.shows.again()
	return opened, nil
}

// Lock forgets all passphrases that somebody has told; mounts and shares that
// needed one end.
func (a *Agent) Lock() {
	if a.o.Unlocked != nil {
		a.o.Unlocked.clear()
	}
	a.o.Log.Info("locked")
	a.shows.restart()
}

// reads are the repositories whose points the agent reads.
func (a *Agent) reads() []string {
	var list []string
	for _, m := range a.conf.Mounts {
		list = append(list, m.Repository)
	}
	for _, s := range a.conf.Shares {
		list = append(list, s.Repository)
	}
	for i := range a.conf.Maintenance {
		list = append(list, a.conf.Maintenance[i].Repository)
	}
	for i := range a.conf.Policies {
		list = append(list, a.conf.Policies[i].Repository)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
