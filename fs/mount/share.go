package mount

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/webdav"
)

// A share is the door that every host has: WebDAV on a loopback address, for
// this user alone. Clients cannot be relied on to log in (Windows sends no
// password in clear), and every user of a machine reaches its loopback
// addresses. So the share's root lies below a name of 128 random bits: who
// does not know the whole URL finds an empty folder.
type share struct {
	url    string
	mapped connection // made by this process; none: Undo is nil
	stop   context.CancelFunc
	served chan struct{} // closed when the last request is answered
	run    runner
	log    *slog.Logger
}

// runner runs a program of the host's. Tests have their own.
type runner func(ctx context.Context, args []string) error

func runProgram(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, programPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(string(out[:min(len(out), 500)])))
	}
	return nil
}

// programPatience is how long a program may take that maps a share. Windows
// starts its WebDAV service first.
const programPatience = time.Minute

// shareName is the last name of the URL's path, which clients show.
const shareName = "tidemark"

// newShare serves tree on a free port, and maps it at dir where this system's
// own client can do that ("": nowhere).
func newShare(ctx context.Context, h Host, dir string, tree *fs.Tree, o Options) (*share, error) {
	var secret [16]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("serve WebDAV: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve WebDAV: %w", err)
	}
	prefix := "/" + hex.EncodeToString(secret[:]) + "/" + shareName
	dav := webdav.New(func(*http.Request) webdav.View { return tree }, webdav.Options{
		Prefix: prefix, Hosts: []string{"127.0.0.1", "localhost"}, Log: o.Log,
	})
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &share{url: "http://" + l.Addr().String() + prefix + "/", stop: stop, served: make(chan struct{}), run: o.run, log: o.Log}
	if s.run == nil {
		s.run = runProgram
	}
	go func() {
		defer close(s.served)
		if err := webdav.Serve(life, l, hidden(prefix, dav), nil, o.Log); err != nil {
			o.Log.Error("the share ended", "error", err)
		}
	}()
	s.mapped = h.connect(s.url, dir)
	if s.mapped.Do != nil {
		if err := s.run(ctx, s.mapped.Do); err != nil {
			o.Log.Warn("the share is there, but could not be mapped", "error", err)
			s.mapped.Undo = nil
		}
	}
	return s, nil
}

// hidden lets through what lies below prefix. Above it is an empty folder:
// clients ask for the folders that a share lies in (G2), and some give up if
// those are not there.
func hidden(prefix string, below http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		switch {
		case path == prefix || strings.HasPrefix(path, prefix+"/"):
			below.ServeHTTP(w, r)
		case r.Method == http.MethodOptions:
			below.ServeHTTP(w, r) // tells no more than that this is WebDAV
		case r.Method == "PROPFIND" && (path == "/" || strings.TrimSuffix(path, "/") == strings.TrimSuffix(prefix, "/"+shareName)):
			w.Header().Set("DAV", "1")
			w.Header().Set("Content-Type", `application/xml; charset="utf-8"`)
			w.WriteHeader(http.StatusMultiStatus)
			_, _ = fmt.Fprintf(w, emptyFolder, path) // a slash, or hexadecimal digits
		default:
			http.NotFound(w, r)
		}
	})
}

const emptyFolder = `<?xml version="1.0" encoding="utf-8"?>` +
	`<D:multistatus xmlns:D="DAV:"><D:response><D:href>%s</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop>` +
	`<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>`

// Wait implements server.
func (s *share) Wait() { <-s.served }

// Unmount implements server: the mapping goes first, since its client asks the
// share for leave.
func (s *share) Unmount() error {
	if s.mapped.Undo != nil {
		if err := s.run(context.Background(), s.mapped.Undo); err != nil {
			s.log.Warn("the drive could not be unmapped", "error", err)
		}
	}
	s.stop()
	s.Wait()
	return nil
}

// connection is how a share comes to where programs find it.
type connection struct {
	Do   []string // maps it; nil: nobody but the user can
	Undo []string
	At   string // where it is then: a drive, a folder; "": in the file manager
	Hint string // the command for the user
}

// connect says how the host's own client maps a share: as a drive on Windows
// and in a folder on macOS at once, elsewhere by the user.
func (h Host) connect(url, dir string) connection {
	switch h.System {
	case "windows":
		at := drive(dir)
		if at == "" {
			return connection{Hint: "net use * " + url}
		}
		return connection{
			Do:   []string{"net", "use", at, url, "/persistent:no"},
			Undo: []string{"net", "use", at, "/delete", "/y"},
			At:   at, Hint: "net use " + at + " " + url,
		}
	case "darwin":
		if dir == "" {
			return connection{Hint: "Finder, Go, Connect to Server: " + url}
		}
		return connection{
			Do: []string{"mount_webdav", "-S", "-v", "Tidemark", url, dir}, Undo: []string{"umount", dir},
			At: dir, Hint: "mount_webdav -S " + url + " " + dir,
		}
	}
	dav := "dav" + strings.TrimPrefix(url, "http")
	switch {
	case h.Programs["gio"] || !h.Root:
		return connection{Hint: "gio mount " + dav}
	case dir != "":
		return connection{Hint: "mount -t davfs -o ro " + url + " " + dir}
	}
	return connection{Hint: "mount -t davfs -o ro " + url + " DIR"}
}

// drive returns the drive that a user means by "X:" or "x:\", else "".
func drive(dir string) string {
	if len(dir) < 2 || dir[1] != ':' || len(strings.TrimRight(dir[2:], `\/`)) > 0 {
		return ""
	}
	letter := dir[0] &^ 0x20
	if letter < 'A' || letter > 'Z' {
		return ""
	}
	return string(letter) + ":"
}

// IsDrive says whether a user means one of Windows' drives: "X:".
func IsDrive(dir string) bool { return drive(dir) != "" }

// opener returns the command that shows a folder, or a share, to the user.
func (h Host) opener(dir, url string) []string {
	what := dir
	if what == "" {
		what = url
	}
	switch h.System {
	case "windows":
		return []string{"explorer", what}
	case "darwin":
		return []string{"open", what}
	}
	if dir == "" && h.Programs["gio"] {
		return []string{"gio", "open", "dav" + strings.TrimPrefix(url, "http")}
	}
	return []string{"xdg-open", what}
}
