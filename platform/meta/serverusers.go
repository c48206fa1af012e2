package meta

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// ServerUser is a user of a server as its passwd and group files have him.
type ServerUser struct {
	Name   string
	UID    uint32
	Groups []uint32 // all of his groups, his first one too; ascending
}

// Bounds of ServerUsers.
const (
	MaxServerUsers  = 10_000
	MaxServerGroups = 65_536 // of one user, as in Linux
	maxUserName     = 256
	maxUserFile     = 16 << 20
)

// HostUsers returns the users in /etc/passwd and their groups in /etc/group,
// in ascending order of their names. A host without these files has none.
func HostUsers() ([]ServerUser, error) { return hostUsers("/etc/passwd", "/etc/group") }

func hostUsers(passwdPath, groupPath string) ([]ServerUser, error) {
	passwd, err := os.Open(passwdPath)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	defer passwd.Close()
	group, err := os.Open(groupPath)
	if err != nil {
		return nil, fmt.Errorf("read groups of users: %w", err)
	}
	defer group.Close()
	return ParseUsers(passwd, group)
}

// ParseUsers reads files in the form of passwd(5) and group(5). A line that
// is none is passed over, and of two for one name the first counts, as for the
// C library. Users beyond MaxServerUsers are left out. An error is no list:
// who lacks a group may be let in where that group is barred.
func ParseUsers(passwd, group io.Reader) ([]ServerUser, error) {
	byName := map[string]*ServerUser{}
	err := eachLine(passwd, 7, func(f []string) {
		uid, ok1 := number(f[2])
		gid, ok2 := number(f[3])
		if len(byName) < MaxServerUsers && ok1 && ok2 && byName[f[0]] == nil {
			byName[f[0]] = &ServerUser{Name: f[0], UID: uid, Groups: []uint32{gid}}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	err = eachLine(group, 4, func(f []string) {
		gid, ok := number(f[2])
		for name := range strings.SplitSeq(f[3], ",") {
			if u := byName[strings.TrimSpace(name)]; ok && u != nil {
				u.Groups = append(u.Groups, gid)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read groups of users: %w", err)
	}
	out := make([]ServerUser, 0, len(byName))
	for _, u := range byName {
		slices.Sort(u.Groups)
		if u.Groups = slices.Compact(u.Groups); len(u.Groups) <= MaxServerGroups {
			out = append(out, *u)
		}
	}
	slices.SortFunc(out, func(a, b ServerUser) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// eachLine calls use with the fields of each line that has so many of them. A
// name that begins with + or - is an instruction to the C library and no name.
func eachLine(r io.Reader, fields int, use func([]string)) error {
	limited := &io.LimitedReader{R: r, N: maxUserFile + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, 1<<20) // a group of all users is one line
	for lines.Scan() {
		f := strings.Split(lines.Text(), ":")
		if len(f) >= fields && f[0] != "" && len(f[0]) <= maxUserName && !strings.ContainsAny(f[0][:1], "+-#") {
			use(f)
		}
	}
	if limited.N == 0 {
		return fmt.Errorf("more than %d bytes: %w", maxUserFile, fault.TooLarge)
	}
	return lines.Err()
}

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}
