package webdav

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/access"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
)

// named is a share in which everybody is known by his name on the server, and
// which names the server had at each point.
func named(t *testing.T, points ...[]meta.ServerUser) (s *share, as func(user, path string) int) {
	t.Helper()
	s = &share{t: t, source: fsconform.NewSource()}
	files := []fsconform.File{owned("/f/ann", 0o600, 1000, "ann's"), owned("/f/team", 0o640, 0, "team's"), owned("/f/barred", 0o604, 0, "not the team's"),
		owned("/f/all", 0o644, 0, "all's"), owned("/f/root", 0o600, 0, "root's")}
	for i := range files {
		files[i].Entry.GID = 50
	}
	for i, users := range points {
		p, err := s.source.Add(t.Context(), firstPoint.Add(time.Duration(i)*time.Hour), files)
		if err != nil {
			t.Fatal(err)
		}
		p.ServerUsers = users
	}
	s.tree = fs.New(s.source, fs.Options{Location: time.UTC})
	t.Cleanup(s.tree.Close)
	s.h = New(func(r *http.Request) View {
		name, _, _ := r.BasicAuth()
		return access.New(s.tree, &access.User{Name: "account of " + name, Server: name})
	}, Options{})
	return s, func(user, path string) int {
		return s.do("GET", path, gvfsAgent, "", basic(user)).StatusCode
	}
}

func TestAccountsByNameAreWhoTheyWereInThePoint(t *testing.T) {
	s, as := named(t,
		[]meta.ServerUser{{Name: "ann", UID: 1000, Groups: []uint32{1000}}, {Name: "root", Groups: []uint32{0}}, {Name: "tim", UID: 7, Groups: []uint32{50}}},
		[]meta.ServerUser{{Name: "ann", UID: 2000, Groups: []uint32{50, 2000}}}, // got another number, and into the team
		nil) // a point of a version that recorded nobody
	const second, third = "/points/2026-11-22_11-00-00", "/points/2026-11-22_12-00-00"
	for _, c := range []struct {
		user, point string
		may         string // of ann, team, barred, all, root
	}{
		{"ann", top, "ann barred all"}, {"ann", second, "team all"}, {"ann", third, ""},
		{"tim", top, "team all"}, {"tim", second, ""}, // not as a stranger: he would read what bars his group
		{"root", top, ""}, {"root", second, ""}, {"nobody", top, ""}, {"ANN", top, ""},
	} {
		var may []string
		for _, f := range []string{"ann", "team", "barred", "all", "root"} {
			switch status := as(c.user, c.point+"/f/"+f); status {
			case 200:
				may = append(may, f)
			case 403:
			default:
				t.Errorf("%s gets %d of %s", c.user, status, f)
			}
		}
		if got := strings.Join(may, " "); got != c.may {
			t.Errorf("%s in %s may read %q, not %q", c.user, c.point, got, c.may)
		}
	}
	// Who is in a point decides of versions and searches in it, too.
	page := read(t, s.status(200, "GET", "/latest/f/all?versions", browserAgent, "", basic("ann")))
	if !strings.Contains(page, "2026-11-22 10:00:00 to 2026-11-22 11:00:00 (2)") {
		t.Errorf("%s", page)
	}
	if got, _ := s.found(second+"/", "all", basic("ann")); !slices.Equal(got, []string{second + "/f/all"}) {
		t.Errorf("found %q", got)
	}
	s.status(403, "GET", third+"/?find=all", browserAgent, "", basic("ann"))
	s.status(403, "GET", third+"/?find=all", browserAgent, "", basic("nobody"))
}

// So it does where a folder of one point tells of another one, too.
func TestAccountsByNameInMadeUpFolders(t *testing.T) {
	ann := []meta.ServerUser{{Name: "ann", UID: 1000, Groups: []uint32{1000}}}
	for want, later := range map[int][]meta.ServerUser{1: nil, 2: ann} { // the folder itself, and perhaps a version in it
		s, _ := named(t, ann, later)
		r := s.status(207, "PROPFIND", top+"/f/@versions/all/", gvfsAgent, "", "Depth: 1", basic("ann"))
		if body := read(t, r); strings.Count(body, "<D:href>") != want {
			t.Errorf("with %v later ann sees %s", later, body)
		}
		s.status(403, "PROPFIND", top+"/f/@versions/all/", gvfsAgent, "", "Depth: 1", basic("eve"))
	}
}

// Digest over the whole way, with what a browser and an old client send.
func TestDigestThroughTheGuard(t *testing.T) {
	s := newShare(t, text("/f", "x"))
	uid := uint32(1000)
	all := access.Accounts{"ann": {Name: "ann", UID: &uid, Password: access.Hash([]byte("right")), Digest: access.NewDigest("ann", []byte("right"))}}
	g := &Guard{Tree: s.tree, Logins: access.NewLogins(func(n string) *access.Account { return all[n] }, time.Now), Digest: all.HaveDigest()}
	s.h = g.Around(New(g.View, Options{}))
	r := s.status(401, "GET", top+"/f", gvfsAgent, "")
	challenges := r.Header.Values("WWW-Authenticate")
	if len(challenges) != 3 || !strings.Contains(challenges[0], "SHA-256") || !strings.Contains(challenges[1], "MD5") || !strings.HasPrefix(challenges[2], "Basic ") {
		t.Fatalf("%q", challenges)
	}
	s.status(401, "GET", top+"/f", gvfsAgent, "", `Authorization: Digest username="ann", realm="Recovery points"`)
	s.status(200, "GET", top+"/f", gvfsAgent, "", basic("ann"))
	g.Digest = false
	if n := len(s.status(401, "GET", top+"/f", gvfsAgent, "").Header.Values("WWW-Authenticate")); n != 1 {
		t.Errorf("%d challenges without Digest", n)
	}
}

// One that cannot say who somebody is must not look like a wrong password.
func TestADirectoryThatIsAway(t *testing.T) {
	s := newShare(t, text("/f", "x"))
	g := &Guard{Tree: s.tree, Logins: access.NewLogins(func(string) *access.Account { return nil }, time.Now)}
	g.Logins.Ask(away{})
	s.h = g.Around(New(g.View, Options{}))
	for range 10 {
		if r := s.status(503, "GET", top+"/f", gvfsAgent, "", basic("ann")); r.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
}

// away is a directory that does not answer.
type away struct{}

func (away) Check(context.Context, string, string) error { return fault.Unavailable }
