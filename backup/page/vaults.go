package page

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/webdav"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
	"github.com/tidemark-backup/tidemark/repo/vault/store/await"
)

const (
	// vaultIdle is how long nobody looked at a repository when it is closed,
	// and its passphrase forgotten.
	vaultIdle = 15 * time.Minute
	lookEvery = 30 * time.Second
	// vaultWait is how long reads wait for a place that is away.
	vaultWait = 20 * time.Second
	// vaultCache is the memory for decoded pages of one repository, in bytes.
	vaultCache = 24 << 20
)

// place is a repository of the configuration.
type place struct {
	Name     string // in addresses of pages, unique
	Address  string
	Policies []string
}

// places are the repositories of the configuration, in its order.
func (p *Page) places() []place {
	var list []place
	taken := map[string]bool{}
next:
	for _, c := range p.agent.Config().Policies {
		for i := range list {
			if list[i].Address == c.Repository {
				list[i].Policies = append(list[i].Policies, c.Name)
				continue next
			}
		}
		name := placeName(c.Repository)
		if taken[name] {
			name += fmt.Sprintf("-%x", sha256.Sum256([]byte(c.Repository)))[:9]
		}
		taken[name] = true
		list = append(list, place{name, c.Repository, []string{c.Name}})
	}
	return list
}

// placeName makes a short name of an address.
func placeName(address string) string {
	var b strings.Builder
	for _, r := range path.Base(strings.ReplaceAll(address, `\`, "/")) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 || b.Len() > 40 {
		return fmt.Sprintf("r%x", sha256.Sum256([]byte(address)))[:9]
	}
	return b.String()
}

// place returns a repository of the configuration by its name.
func (p *Page) place(name string) (place, error) {
	for _, at := range p.places() {
		if at.Name == name {
			return at, nil
		}
	}
	return place{}, fmt.Errorf("find repository %q: no policy names it: %w", name, fault.NotExist)
}

// vault is a repository that is open.
type vault struct {
	place
	*repo.Repository
	local repo.Local
	store io.Closer // nil: there is nothing to close
	tree  *fs.Tree  // nil while it is locked
	share http.Handler

	// Guarded by vaults.
	users int // who work with it
	used  time.Time
	typed bool // its passphrase was typed in
	ended bool // it goes with its last user
}

// Locked says whether nothing can be read without the passphrase.
func (v *vault) Locked() bool { return v.tree == nil }

// vaults are the repositories that are open, opened when somebody looks.
type vaults struct {
	page *Page

	opening sync.Mutex // one at a time: deriving a key takes 64 MiB
	mu      sync.Mutex
	open    map[string]*vault // by address
}

func (vs *vaults) init(p *Page) { vs.page, vs.open = p, map[string]*vault{} }

// take returns a repository, to be given back.
func (vs *vaults) take(ctx context.Context, at place) (*vault, error) {
	if v := vs.get(at.Address); v != nil {
		return v, nil
	}
	vs.opening.Lock()
	defer vs.opening.Unlock()
	if v := vs.get(at.Address); v != nil {
		return v, nil
	}
	v, err := vs.page.openVault(ctx, at)
	if err != nil {
		return nil, err
	}
	vs.put(v)
	return v, nil
}

func (vs *vaults) get(address string) *vault {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.open[address]
	if v != nil {
		v.users++
		v.used = vs.page.o.Now()
	}
	return v
}

func (vs *vaults) put(v *vault) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v.users, v.used = v.users+1, vs.page.o.Now()
	vs.open[v.Address] = v
}

// give gives a repository back.
func (vs *vaults) give(v *vault) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v.users--
	v.used = vs.page.o.Now()
	vs.settle(v)
}

// settle closes a repository that has ended when its last user is done.
func (vs *vaults) settle(v *vault) {
	if v.users > 0 || !v.ended {
		return
	}
	if v.tree != nil {
		v.tree.Close()
	}
	if v.store != nil {
		_ = v.store.Close() // it was only read
	}
}

// end forgets an open repository, and with it its keys.
func (vs *vaults) end(address string) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v := vs.open[address]; v != nil {
		delete(vs.open, address)
		v.ended = true
		vs.settle(v)
	}
}

// watch closes repositories that nobody looks at, until ctx is done; then all.
func (vs *vaults) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			over = true
		}
		vs.endIdle(over)
	}
}

// endIdle closes repositories that nobody looks at, or all.
func (vs *vaults) endIdle(all bool) {
	var idle []string
	vs.mu.Lock()
	for address, v := range vs.open {
		if all || v.users == 0 && vs.page.o.Now().Sub(v.used) > vaultIdle {
			idle = append(idle, address)
		}
	}
	vs.mu.Unlock()
	for _, address := range idle {
		vs.end(address)
	}
}

// openVault opens a repository with what this machine has: its keys, or the
// agent's passphrase. Without any it is locked, and shows what the ledger says.
func (p *Page) openVault(ctx context.Context, at place) (*vault, error) {
	s, err := all.Open(ctx, at.Address)
	if err != nil {
		return nil, err
	}
	var place store.Store = await.New(s, await.Options{Sign: repo.Sign, Wait: vaultWait})
	v := &vault{place: at}
	v.store, _ = place.(io.Closer)
	fail := func(err error) (*vault, error) {
		if v.store != nil {
			err = errors.Join(err, v.store.Close())
		}
		return nil, err
	}
	if v.Repository, err = repo.Open(ctx, place, repo.Options{}); err != nil {
		return fail(err)
	}
	v.local = repo.LocalOf(p.o.Dir, v.ID, at.Address)
	if _, err := v.Grant(ctx, v.local); err != nil {
		return fail(err)
	}
	if !v.CanRead() {
		if err := p.unlockKnown(ctx, v); err != nil {
			p.o.Log.Warn("the web page cannot use the passphrase", "repository", at.Address, "error", err)
		}
	}
	// A damaged ledger keeps nobody from the points.
	if err := v.OpenLedger(ctx, v.local, repo.LedgerOptions{}); err != nil && fault.KindOf(err) != fault.Corrupt {
		return fail(err)
	}
	p.display(v)
	return v, nil
}

// unlockKnown tries the passphrases that the agent has been told, or has.
func (p *Page) unlockKnown(ctx context.Context, v *vault) (err error) {
	var passphrase []byte
	if p.o.Told != nil {
		passphrase = p.o.Told(v.Address)
	}
	if passphrase == nil && p.o.Passphrase != nil {
		passphrase, err = p.o.Passphrase(ctx)
	}
	if passphrase == nil || err != nil {
		return err
	}
	_, err = v.Unlock(ctx, passphrase)
	debug.FreeOSMemory()
	return err
}

// display makes the tree and the pages of a repository that can be read.
func (p *Page) display(v *vault) {
	if !v.CanRead() {
		return
	}
	v.tree = fs.New(v.Repository, fs.Options{Location: p.o.Zone, Now: p.o.Now, Log: p.o.Log, CacheBytes: vaultCache})
	v.share = webdav.New(func(*http.Request) webdav.View { return v.tree }, webdav.Options{
		Prefix: p.base + "files/" + v.Name, Title: v.Name, Now: p.o.Now, Log: p.o.Log,
		Frame: &webdav.Frame{Head: p.head(), Top: p.top, Policy: p.policy, Restore: p.base + "restore"},
	})
}

// head and top are what pages of files have around them, too.
func (p *Page) head() template.HTML { return p.part("head", nil) }

func (p *Page) top(r *http.Request) template.HTML {
	q := &request{Page: p, r: r, session: sessionOf(r)}
	f := q.frame("files", "")
	return p.part("bar", &f)
}

func (p *Page) part(name string, data any) template.HTML {
	var b strings.Builder
	if err := p.look.ExecuteTemplate(&b, name, data); err != nil {
		p.o.Log.Error("a page cannot be made", "part", name, "error", err)
		return ""
	}
	return template.HTML(b.String()) // of a template, which has escaped what is in it
}
