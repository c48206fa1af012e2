//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// place is one tool's repository of one data set, and where its state lies.
type place struct {
	source string // absolute path of the data
	repo   string // the repository's folder
	state  string // caches and configuration
	secret string // file with the passphrase
	point  int    // number of backups made, for tools that want names
	latest string // how the tool calls the newest point, "" if it needs no name
	broken error  // why nothing more can be measured here
}

// tool makes the command lines of one program.
type tool struct {
	name, path, version string
	note                string // its settings, for the table's legend
	peer, golang        bool   // golang: its memory is a yardstick
	plain               bool   // stores everything as it is, whether it shrinks or not
	allowed             []int  // exit codes that mean success
	env                 func(p *place) []string
	create              func(p *place) [][]string // run in order
	backup              func(p *place) []string
	points              func(p *place) []string
	restore             func(p *place, to string) command
	mount               func(p *place, dir string, one bool) []string
	// tree finds the source's content in a mount.
	tree func(p *place, dir string, one bool) string
	// name of the newest point, nil where "latest" does
	newest func(ctx context.Context, t *tool, p *place) (string, error)
}

// findTools returns the wanted tools that are there, Tidemark built from
// this module unless a file is named, and the reasons why others are not.
func findTools(ctx context.Context, o options) (found []*tool, missing []string) {
	for _, name := range o.tools {
		t, err := findTool(ctx, name, o)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		found = append(found, t...)
	}
	return found, missing
}

func findTool(ctx context.Context, name string, o options) ([]*tool, error) {
	if name == "tidemark" && o.tidemark != "" {
		version := describe(ctx, o.tidemark, "version")
		if version == "" {
			return nil, fmt.Errorf("%s does not tell its version", o.tidemark)
		}
		return []*tool{tidemark(o.tidemark, version, false), tidemark(o.tidemark, version, true)}, nil
	}
	if name == "tidemark" {
		path := filepath.Join(o.work, "tidemark")
		build := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/tidemark-backup/tidemark/cmd/tidemark")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build: %w: %s", err, strings.TrimSpace(string(out)))
		}
		version := describe(ctx, "git", "describe", "--always", "--dirty")
		return []*tool{tidemark(path, version, false), tidemark(path, version, true)}, nil
	}
	make, ok := map[string]func() *tool{"restic": restic, "borg": borg,
		"kopia": func() *tool { return kopia(false) }, "kopia-zstd": func() *tool { return kopia(true) }}[name]
	if !ok {
		return nil, errors.New("unknown tool")
	}
	t := make()
	path, err := exec.LookPath(t.path)
	if err != nil {
		return nil, err
	}
	t.path, t.peer = path, true
	if t.version = describe(ctx, path, t.version); t.version == "" {
		return nil, errors.New("does not tell its version")
	}
	return []*tool{t}, nil
}

// describe is the first line a command prints, "" when it fails.
func describe(ctx context.Context, args ...string) string {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// unattended is the name of Tidemark without a passphrase.
const unattended = "tidemark unattended"

func tidemark(path, version string, keyed bool) *tool {
	t := &tool{name: "tidemark", path: path, version: version, note: "Argon2id at its default cost for each start"}
	global := func(verb string, p *place, args ...string) []string {
		all := []string{path, verb, "-r", p.repo, "--cache-dir", p.state + "/cache", "--config", p.state + "/config.toml"}
		if !keyed {
			all = append(all, "--passphrase-file", p.secret)
		}
		return append(all, args...)
	}
	if keyed {
		t.name, t.note = unattended, "keys in a file of mode 0600, no key derivation"
	}
	t.env = func(p *place) []string { return []string{"HOME=" + p.state} }
	t.create = func(p *place) [][]string {
		c := global("init", p)
		if keyed {
			c = append(c, "--unattended", "--passphrase-file", p.secret)
		}
		// A configuration of its own, empty: this machine's shall not count.
		return [][]string{{"touch", p.state + "/config.toml"}, c}
	}
	t.backup = func(p *place) []string { return global("backup", p, p.source) }
	t.points = func(p *place) []string { return global("points", p) }
	t.restore = func(p *place, to string) command {
		return command{args: global("restore", p, "latest:"+p.source, "--to", to)}
	}
	t.mount = func(p *place, dir string, one bool) []string {
		if one {
			return global("mount", p, "--point", "latest", dir)
		}
		return global("mount", p, dir)
	}
	t.tree = func(p *place, dir string, one bool) string {
		if one {
			return dir + p.source
		}
		return dir + "/latest" + p.source
	}
	return t
}

func restic() *tool {
	t := &tool{name: "restic", path: "restic", version: "version", golang: true, note: "defaults"}
	verb := func(p *place, args ...string) []string {
		return append([]string{t.path, "-r", p.repo, "-q"}, args...)
	}
	t.env = func(p *place) []string {
		return []string{"RESTIC_PASSWORD_FILE=" + p.secret, "RESTIC_CACHE_DIR=" + p.state}
	}
	t.create = func(p *place) [][]string { return [][]string{verb(p, "init")} }
	t.backup = func(p *place) []string { return verb(p, "backup", p.source) }
	t.points = func(p *place) []string { return verb(p, "snapshots") }
	t.restore = func(p *place, to string) command {
		return command{args: verb(p, "restore", "latest:"+p.source, "--target", to)}
	}
	// restic mounts all points or none.
	t.mount = func(p *place, dir string, _ bool) []string { return verb(p, "mount", dir) }
	t.tree = func(p *place, dir string, _ bool) string { return dir + "/snapshots/latest" + p.source }
	return t
}

func kopia(zstd bool) *tool {
	t := &tool{name: "kopia", path: "kopia", version: "--version", golang: true, plain: true, note: "defaults, which do not compress"}
	if zstd {
		t.name, t.plain, t.note = "kopia zstd", false, "the same program with its fastest zstd (policy set --global --compression=zstd-fastest)"
	}
	verb := func(p *place, args ...string) []string {
		return append([]string{t.path, "--config-file=" + p.state + "/config", "--log-dir=" + p.state + "/log"}, args...)
	}
	t.env = func(p *place) []string {
		secret, err := os.ReadFile(p.secret)
		if err != nil {
			return nil // it will ask, and fail
		}
		return []string{"KOPIA_PASSWORD=" + strings.TrimSpace(string(secret)), "KOPIA_CHECK_FOR_UPDATES=false"}
	}
	t.create = func(p *place) [][]string {
		c := [][]string{verb(p, "repository", "create", "filesystem", "--path="+p.repo, "--cache-directory="+p.state+"/cache")}
		if zstd {
			c = append(c, verb(p, "policy", "set", "--global", "--compression=zstd-fastest"))
		}
		return c
	}
	t.backup = func(p *place) []string { return verb(p, "snapshot", "create", "--no-progress", p.source) }
	t.points = func(p *place) []string { return verb(p, "snapshot", "list") }
	t.restore = func(p *place, to string) command {
		return command{args: verb(p, "snapshot", "restore", "--no-progress", p.latest, to)}
	}
	t.mount = func(p *place, dir string, one bool) []string {
		if one {
			return verb(p, "mount", p.latest, dir)
		}
		return verb(p, "mount", "all", dir)
	}
	t.tree = func(p *place, dir string, one bool) string {
		if one {
			return dir
		}
		found, err := filepath.Glob(dir + "/*/*/*") // user@host, path, time
		if err != nil || len(found) == 0 {
			return dir + "/nothing"
		}
		return slices.Max(found)
	}
	t.newest = kopiaNewest(verb)
	return t
}

// kopiaNewest finds the root object of the newest point.
func kopiaNewest(verb func(*place, ...string) []string) func(context.Context, *tool, *place) (string, error) {
	return func(ctx context.Context, t *tool, p *place) (string, error) {
		args := verb(p, "snapshot", "list", "--json", "--all")
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), t.env(p)...)
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("list points: %w", err)
		}
		var list []struct {
			StartTime time.Time `json:"startTime"`
			RootEntry struct {
				Object string `json:"obj"`
			} `json:"rootEntry"`
		}
		if err := json.Unmarshal(out, &list); err != nil {
			return "", fmt.Errorf("list points: %w", err)
		}
		latest, object := time.Time{}, ""
		for _, s := range list {
			if s.StartTime.After(latest) {
				latest, object = s.StartTime, s.RootEntry.Object
			}
		}
		if object == "" {
			return "", errors.New("list points: there is none")
		}
		return object, nil
	}
}

func borg() *tool {
	t := &tool{name: "borg", path: "borg", version: "--version", note: "repokey-blake2, lz4", allowed: []int{1}}
	archive := func(p *place, n int) string { return fmt.Sprintf("%s::p%03d", p.repo, n) }
	t.env = func(p *place) []string {
		return []string{"BORG_BASE_DIR=" + p.state, "BORG_PASSCOMMAND=cat " + p.secret, "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes"}
	}
	t.create = func(p *place) [][]string { return [][]string{{t.path, "init", "-e", "repokey-blake2", p.repo}} }
	t.backup = func(p *place) []string { return []string{t.path, "create", archive(p, p.point+1), p.source} }
	t.points = func(p *place) []string { return []string{t.path, "list", p.repo} }
	t.restore = func(p *place, to string) command {
		inside := strings.TrimPrefix(p.source, "/")
		strip := fmt.Sprint(strings.Count(inside, "/") + 1)
		return command{args: []string{t.path, "extract", "--strip-components", strip, archive(p, p.point), inside}, dir: to}
	}
	t.mount = func(p *place, dir string, one bool) []string {
		if one {
			return []string{t.path, "mount", "-f", archive(p, p.point), dir}
		}
		return []string{t.path, "mount", "-f", p.repo, dir}
	}
	t.tree = func(p *place, dir string, one bool) string {
		if one {
			return dir + p.source
		}
		return fmt.Sprintf("%s/p%03d%s", dir, p.point, p.source)
	}
	return t
}
