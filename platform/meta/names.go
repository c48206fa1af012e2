package meta

import (
	"os/user"
	"strconv"
	"sync"
)

// Names translates between numbers and names of users and groups, and
// remembers the answers, also that there is none. It may be used by several
// goroutines. The zero value is ready.
//
// It reads /etc/passwd and /etc/group (on Windows: nothing, as there are no
// numbers); users who are known to a directory service only have no names
// here, and their numbers are kept.
type Names struct {
	mu     sync.Mutex
	byID   [2]map[uint32]string // "" means none
	byName [2]map[string]int64  // -1 means none
}

const (
	users = iota
	groups
)

// maxNames bounds what is remembered: a file system may hold any numbers.
const maxNames = 10_000

// UserName returns the name of a user.
func (n *Names) UserName(uid uint32) (string, bool) {
	return n.name(users, uid, func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

// GroupName returns the name of a group.
func (n *Names) GroupName(gid uint32) (string, bool) {
	return n.name(groups, gid, func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

// UserID returns the number of the user with that name.
func (n *Names) UserID(name string) (uint32, bool) {
	return n.id(users, name, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
}

// GroupID returns the number of the group with that name.
func (n *Names) GroupID(name string) (uint32, bool) {
	return n.id(groups, name, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
}

func (n *Names) name(kind int, id uint32, look func(string) (string, error)) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, known := n.byID[kind][id]
	if !known {
		var err error
		if name, err = look(strconv.FormatUint(uint64(id), 10)); err != nil {
			name = ""
		}
		if n.byID[kind] == nil || len(n.byID[kind]) >= maxNames {
			n.byID[kind] = map[uint32]string{}
		}
		n.byID[kind][id] = name
	}
	return name, name != ""
}

func (n *Names) id(kind int, name string, look func(string) (string, error)) (uint32, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, known := n.byName[kind][name]
	if !known {
		id = -1
		if text, err := look(name); err == nil {
			if v, err := strconv.ParseUint(text, 10, 32); err == nil {
				id = int64(v)
			}
		}
		if n.byName[kind] == nil || len(n.byName[kind]) >= maxNames {
			n.byName[kind] = map[string]int64{}
		}
		n.byName[kind][name] = id
	}
	if id < 0 {
		return 0, false
	}
	return uint32(id), true
}
