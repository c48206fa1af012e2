package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

const servers = 3

// chunks are all contents that there are.
type chunks struct {
	all [contents][]byte
	ids [contents]chunk.ID
}

func newChunks(key chunk.Key) *chunks {
	c := &chunks{}
	h := chunk.NewHasher(&key)
	for n := range c.all {
		c.all[n] = bytes.Repeat(noise(fmt.Sprint("content", n), 16), chunkSize/16)
		c.ids[n] = h.Sum(c.all[n])
	}
	return c
}

func (c *chunks) id(n int) chunk.ID { return c.ids[n] }
func (c *chunks) data(n int) []byte { return c.all[n] }

// which returns the number of a content, -1 for one that never was.
func (c *chunks) which(b []byte) int {
	for n := range c.all {
		if bytes.Equal(c.all[n], b) {
			return n
		}
	}
	return -1
}

// noise returns n bytes that follow from a name.
func noise(name string, n int) []byte {
	var key [32]byte
	copy(key[:], name)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// template is a repository with nothing in it, and the state of its servers:
// made once, as a passphrase costs time.
type template struct {
	dir    string
	place  *Place
	chunks *chunks
}

// began is when all worlds begin.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTemplate(ctx context.Context, dir string) (*template, error) {
	t := &template{dir: dir, place: NewPlace(began)}
	cheap := seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}
	r, err := repo.Create(ctx, t.place, repo.CreateOptions{Passphrase: []byte("correct horse battery staple"), Cost: cheap, Now: began})
	if err != nil {
		return nil, err
	}
	for i := range servers {
		l := repo.Local{Dir: filepath.Join(dir, serverName(i))}
		if err := r.Keep(l, repo.Unattended); err != nil {
			return nil, err
		}
		if _, err := l.Device(); err != nil {
			return nil, err
		}
	}
	t.chunks = newChunks(r.ChunkKey())
	return t, nil
}

func serverName(i int) string { return fmt.Sprintf("server%d", i) }

// promise is an acknowledged point.
type promise struct {
	files tree
	when  time.Time // the true time
}

// world is everything of one seed.
type world struct {
	scheduler
	*chunks
	seed    uint64
	dir     string
	primary *Place
	replica *Place
	servers []*server
	runs    int
	truth   time.Time // what time it really is

	mu     sync.Mutex
	points map[point.ID]promise
}

func (t *template) world(seed uint64, dir string) (*world, error) {
	w := &world{seed: seed, dir: dir, chunks: t.chunks, truth: began, points: map[point.ID]promise{}}
	w.random = rand.New(rand.NewPCG(seed, 7))
	w.primary, w.replica = t.place.Snapshot(All, 0), NewPlace(began)
	for i := range servers {
		name := serverName(i)
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
		for _, part := range []string{"access", "device"} {
			b, err := os.ReadFile(filepath.Join(t.dir, name, part))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name, part), b, 0o600)
			}
			if err != nil {
				return nil, err
			}
		}
		w.servers = append(w.servers, &server{world: w, name: name, files: tree{}})
	}
	return w, nil
}

func (w *world) now() time.Time { return w.truth }

// advance lets time pass everywhere.
func (w *world) advance(d time.Duration) {
	w.truth = w.truth.Add(d)
	w.primary.Advance(d)
	w.replica.Advance(d)
}

func (w *world) acknowledged(p *repo.Point, files tree) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.points[p.ID] = promise{files: maps.Clone(files), when: w.truth}
}

// lawfullyGone says whether a point was removed, and might be.
func (w *world) lawfullyGone(point.ID) bool { return false }

// life is one history: days on which some things happen at once.
func (w *world) life(ctx context.Context) error {
	for day := range 3 + w.random.IntN(3) {
		actors := map[string]func(context.Context, *actor) error{}
		for _, v := range w.servers {
			if w.random.IntN(3) > 0 {
				v.change()
				actors[v.name] = v.backup
			}
		}
		if w.random.IntN(4) == 0 {
			actors["reader"] = w.servers[w.random.IntN(servers)].look
		}
		for name, err := range w.run(ctx, actors) {
			if err != nil && !w.excused(err) {
				return fmt.Errorf("day %d: %s: %w", day, name, err)
			}
		}
		w.advance(time.Duration(1+w.random.IntN(72)) * time.Hour)
	}
	return w.settle(ctx)
}

// excused says whether an error is what happens when messages are lost.
func (w *world) excused(err error) bool {
	return errors.Is(err, errCrash) || errors.Is(err, fault.Unavailable)
}

// settle lets everything go on in peace, and checks what must hold then.
func (w *world) settle(ctx context.Context) error {
	w.calm = true
	for _, v := range w.servers {
		v.change()
		for name, err := range w.run(ctx, map[string]func(context.Context, *actor) error{v.name: v.backup}) {
			if err != nil {
				return fmt.Errorf("in the end: %s: %w", name, err)
			}
		}
	}
	var err error
	w.run(ctx, map[string]func(context.Context, *actor) error{"judge": func(ctx context.Context, a *actor) error {
		err = w.judge(ctx, a)
		return nil
	}})
	return err
}

// judge checks the whole repository and every promise.
func (w *world) judge(ctx context.Context, _ *actor) error {
	r, err := repo.Open(ctx, w.primary, repo.Options{Workers: 1})
	if err != nil {
		return err
	}
	if _, err := r.Grant(ctx, repo.Local{Dir: filepath.Join(w.dir, serverName(0))}); err != nil {
		return err
	}
	report, err := repo.Check(ctx, r, repo.CheckOptions{})
	if err != nil {
		return err
	}
	for _, f := range report.Faults {
		return fmt.Errorf("check: %s hurts %v: %w", f.Object, f.Files, f.Err)
	}
	points, err := r.Points(ctx)
	if err != nil {
		return err
	}
	there := map[point.ID]bool{}
	for _, p := range points {
		there[p.ID] = true
		got, err := w.read(ctx, r, p)
		if err == nil {
			err = w.same(p.ID, got)
		}
		if err != nil {
			return err
		}
	}
	for id := range w.points {
		if !there[id] && !w.lawfullyGone(id) {
			return fmt.Errorf("point %s was acknowledged and is gone: %w", id.Short(), fault.NotExist)
		}
	}
	return nil
}

var _ = binary.LittleEndian
