package config

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/tidemark-backup/tidemark/backup/schedule"
)

// Mount is a folder at which the agent shows recovery points.
type Mount struct {
	Dir        string        `toml:"dir"`        // absolute, or a drive of Windows
	Name       string        `toml:"name"`       // unique; "": Dir
	Repository string        `toml:"repository"` // address; "": the configuration's
	Door       string        `toml:"door"`       // auto (""), fuse, winfsp, webdav
	Point      string        `toml:"point"`      // that one alone; "": all
	Owner      string        `toml:"owner"`      // UID:GID that everything belongs to; "": as it was
	Open       bool          `toml:"open"`       // who gets in may read everything
	AllowOther bool          `toml:"allow_other"`
	ListTime   bool          `toml:"list_time"`
	Deleted    bool          `toml:"deleted"`
	Wait       schedule.Span `toml:"wait"` // how long reads wait for a repository that is away; 0: as "mount" does
}

// Share is an address at which the agent shows recovery points through WebDAV.
type Share struct {
	Listen      string   `toml:"listen"`
	Name        string   `toml:"name"`       // unique; "": Listen
	Repository  string   `toml:"repository"` // address; "": the configuration's
	Users       string   `toml:"users"`      // absolute; the file of accounts
	Anonymous   bool     `toml:"anonymous"`
	LDAP        string   `toml:"ldap"`
	LDAPDN      string   `toml:"ldap_dn"`
	LDAPCA      string   `toml:"ldap_ca"`
	Certificate string   `toml:"certificate"` // absolute; PEM; "": one of its own
	NoTLS       bool     `toml:"no_tls"`
	Hosts       []string `toml:"hosts"`
	AccessLog   string   `toml:"access_log"` // absolute
	Point       string   `toml:"point"`
	ListTime    bool     `toml:"list_time"`
	Deleted     bool     `toml:"deleted"`
}

const maxShows = 100

// resolveShows checks mounts and shares. On an error it says where.
func (c *Config) resolveShows(home string) (place, error) {
	if n := len(c.Mounts) + len(c.Shares); n > maxShows {
		return place{"mount"}, fmt.Errorf("%d mounts and shares, but %d are possible", n, maxShows)
	}
	names := map[string]bool{}
	unique := func(name string) (place, error) {
		if names[name] {
			return place{"name"}, fmt.Errorf("%q is the name of two mounts or shares", name)
		}
		names[name] = true
		return nil, nil
	}
	for i := range c.Mounts {
		m := &c.Mounts[i]
		where, err := m.resolve(c.Repository, home)
		if err == nil {
			where, err = unique(m.Name)
		}
		if err != nil {
			return append(place{"mount", i}, where...), err
		}
	}
	for i := range c.Shares {
		s := &c.Shares[i]
		where, err := s.resolve(c.Repository, home)
		if err == nil {
			where, err = unique(s.Name)
		}
		if err != nil {
			return append(place{"share", i}, where...), err
		}
	}
	return nil, nil
}

func (m *Mount) resolve(repository, home string) (place, error) {
	drive := len(m.Dir) == 2 && m.Dir[1] == ':'
	if !drive {
		if err := absolute(&m.Dir, home); err != nil {
			return place{"dir"}, err
		}
	}
	if m.Dir == "" {
		return nil, errors.New("it has no dir")
	}
	if m.Name == "" {
		m.Name = m.Dir
	}
	if !slices.Contains([]string{"", "auto", "fuse", "winfsp", "webdav"}, m.Door) {
		return place{"door"}, fmt.Errorf("%q: there are auto, fuse, winfsp and webdav", m.Door)
	}
	return shown(&m.Repository, repository, home)
}

func (s *Share) resolve(repository, home string) (place, error) {
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		return place{"listen"}, fmt.Errorf("%q: give an address and a port, as in 127.0.0.1:8443", s.Listen)
	}
	if s.Name == "" {
		s.Name = s.Listen
	}
	for key, path := range map[string]*string{"users": &s.Users, "certificate": &s.Certificate, "access_log": &s.AccessLog, "ldap_ca": &s.LDAPCA} {
		if err := absolute(path, home); err != nil {
			return place{key}, err
		}
	}
	if s.Anonymous == (s.Users != "" || s.LDAP != "") {
		return nil, errors.New("say who is let in: users, a file that `tidemark serve passwd` writes; ldap; or anonymous")
	}
	return shown(&s.Repository, repository, home)
}

// shown completes the address of the repository whose points are shown.
func shown(address *string, standard, home string) (place, error) {
	if *address == "" {
		*address = standard
	}
	if *address == "" {
		return nil, errors.New("no repository is named, neither in it nor for all")
	}
	if hasScheme(*address) {
		return nil, nil
	}
	return place{"repository"}, absolute(address, home)
}
