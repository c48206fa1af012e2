package restore

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/repo"
)

// owners says which number an owner of the point gets on this host: the same,
// or with Job.OwnerNames that of the same name. The superuser and his group are
// always 0. It is used by several goroutines.
type owners struct {
	users, groups idMap
}

// idMap maps the numbers of users, or of groups.
type idMap struct {
	kind   string
	byName bool
	names  map[uint32]string // of the point
	number func(name string) (uint32, bool)
	name   func(id uint32) (string, bool)

	mu    sync.Mutex
	known map[uint32]uint32
	notes []string
}

// maxNotes bounds what is told of owners.
const maxNotes = 20

func newOwners(p *repo.Point, byName bool) *owners {
	n := &meta.Names{}
	return &owners{
		users:  idMap{kind: "user", byName: byName, names: p.Users, number: n.UserID, name: n.UserName, known: make(map[uint32]uint32)},
		groups: idMap{kind: "group", byName: byName, names: p.Groups, number: n.GroupID, name: n.GroupName, known: make(map[uint32]uint32)},
	}
}

// id returns the number here of one in the point.
func (m *idMap) id(there uint32) uint32 {
	if there == 0 {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	here, ok := m.known[there]
	if !ok {
		here = m.find(there)
		m.known[there] = here
	}
	return here
}

func (m *idMap) find(there uint32) uint32 {
	name := m.names[there]
	if name == "" {
		return there // known by number only
	}
	number, ok := m.number(name)
	switch {
	case ok && number == there:
		return there
	case ok && m.byName:
		return number
	case ok:
		m.note(fmt.Sprintf("%s %s of the point has the number %d, here it has %d: the number was kept (--owner-names goes by name)", m.kind, name, there, number))
		return there
	}
	if other, taken := m.name(there); taken {
		m.note(fmt.Sprintf("%s %s of the point does not exist here, its number %d is that of %s: the number was kept", m.kind, name, there, other))
	}
	return there
}

func (m *idMap) note(text string) {
	if len(m.notes) < maxNotes {
		m.notes = append(m.notes, text)
	}
}

// told returns what somebody should know of the owners.
func (o *owners) told() []string {
	notes := append(slices.Clone(o.users.notes), o.groups.notes...)
	slices.SortFunc(notes, strings.Compare)
	return notes
}

// xattr returns an attribute with the numbers of this host.
func (o *owners) xattr(name string, value []byte) []byte {
	if !meta.IsACL(name) {
		return value
	}
	return meta.MapACL(value, o.users.id, o.groups.id)
}
