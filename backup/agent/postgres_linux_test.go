package agent

import (
	"bytes"
	iofs "io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tidemark-backup/tidemark/backup/hook"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/repo"
)

// postgres is a cluster of PostgreSQL of its own, which ends with the test.
type postgres struct {
	t       *testing.T
	bin     string
	sockets string
}

// newPostgres begins one, as a user who is not root: it refuses to run as that.
func newPostgres(t *testing.T) *postgres {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is a good one
	if len(found) == 0 {
		t.Skip("there is no PostgreSQL here")
	}
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	// The path of a socket is short.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	p := &postgres{t: t, bin: filepath.Dir(found[len(found)-1]), sockets: dir}
	data := filepath.Join(dir, "data")
	as := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(p.bin, name), args...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		cmd.Stderr = os.Stderr // the server outlives pg_ctl and would hold a pipe open
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	as("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
	as("pg_ctl", "-D", data, "-l", filepath.Join(dir, "log"), "-w", "-s", "-t", "120",
		"-o", "-k "+dir+" -c listen_addresses= -c fsync=off", "start")
	t.Cleanup(func() { as("pg_ctl", "-D", data, "-w", "-s", "-m", "immediate", "stop") })
	return p
}

// sql runs statements and returns what they print.
func (p *postgres) sql(database, statements string) string {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", p.sockets, "-U", "postgres", "-d", database)
	cmd.Stdin = strings.NewReader(statements)
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("psql: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func (p *postgres) dump(database string, more ...string) []string {
	return append([]string{filepath.Join(p.bin, "pg_dump"), "-h", p.sockets, "-U", "postgres", "-w"}, append(more, database)...)
}

// TestPostgres backs up a database while it is written to, through an item and
// through a hook, and restores it into another.
func TestPostgres(t *testing.T) {
	p := newPostgres(t)
	p.sql("postgres", "CREATE DATABASE shop; CREATE DATABASE again")
	p.sql("shop", `CREATE TABLE orders (id bigint PRIMARY KEY, customer text, paid numeric, at timestamptz);
		INSERT INTO orders SELECT n, 'Müller ' || md5(n::text), n * 1.01, now() FROM generate_series(1, 30000) n;
		CREATE TABLE pictures (id int, content bytea);
		INSERT INTO pictures SELECT n, decode(repeat(md5(n::text), 2000), 'hex') FROM generate_series(1, 20) n`)
	sum := `SELECT count(*), sum(paid), md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o;
		SELECT md5(string_agg(content, '' ORDER BY id)) FROM pictures`
	want := p.sql("shop", sum)

	s := newSite(t)
	s.policy.Items = []hook.Item{{Name: "shop.sql", Command: p.dump("shop")}}
	first := s.run()
	if first.Consistency.Type != repo.Application || len(s.warned) > 0 {
		t.Errorf("%+v, %v", first.Consistency, s.warned)
	}
	p.sql("again", string(s.read("shop.sql")))
	if got := p.sql("again", sum); got != want {
		t.Errorf("restored %s, not %s", got, want)
	}

	// A little is changed: little is stored.
	p.sql("shop", "UPDATE orders SET paid = 0 WHERE id = 7; INSERT INTO orders VALUES (0, 'new', 1, now())")
	if second := s.run(); second.BytesNew > first.BytesNew/2 {
		t.Errorf("%d bytes are new, of %d", second.BytesNew, first.BytesNew)
	}

	// A hook that dumps into a file is of the application, too.
	file := filepath.Join(s.dir, "src", "dump")
	s.policy.Items = nil
	s.policy.Hooks = []hook.Hook{{When: hook.Before, Command: p.dump("shop", "-Fc", "-f", file)}}
	if summary := s.run(); summary.Consistency.Type != repo.Application {
		t.Errorf("%+v", summary.Consistency)
	}
	if b := s.read(strings.TrimPrefix(file, "/")); !bytes.HasPrefix(b, []byte("PGDMP")) {
		t.Errorf("%d bytes that are no dump", len(b))
	}

	// No database, no point.
	s.policy.Hooks = nil
	s.policy.Items = []hook.Item{{Name: "lost.sql", Command: p.dump("lost")}}
	if summary, err := s.engine.Run(t.Context(), s.task()); err == nil || summary != nil || !strings.Contains(err.Error(), `database "lost" does not exist`) {
		t.Errorf("%+v, %v", summary, err)
	}
}

// read returns a file of the newest point, as a mount shows it.
func (s *site) read(path string) []byte {
	s.t.Helper()
	r, _, closing, err := s.engine.open(s.t.Context(), s.task())
	if err != nil {
		s.t.Fatal(err)
	}
	defer closing()
	if _, err := r.Unlock(s.t.Context(), passphrase); err != nil {
		s.t.Fatal(err)
	}
	points, err := r.Points(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := iofs.ReadFile(fs.New(r, fs.Options{Point: points[len(points)-1]}).IOFS(s.t.Context(), fs.Root), path)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}
