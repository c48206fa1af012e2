package backup

import (
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// owner remembers the names of an entry's users and groups for the point: those
// that own it, and those in its ACLs.
func (s *saver) owner(e *table.Entry) {
	for _, x := range e.Xattrs {
		if meta.IsACL(x.Name) {
			meta.MapACL(x.Value, s.user, s.group)
		}
	}
	if e.UID != s.lastUser || len(s.users) == 0 {
		s.lastUser = s.user(e.UID)
	}
	if e.GID != s.lastGroup || len(s.groups) == 0 {
		s.lastGroup = s.group(e.GID)
	}
}

// user remembers a user's name for the point.
func (s *saver) user(id uint32) uint32 {
	if _, ok := s.users[id]; !ok {
		s.users[id], _ = s.run.names.UserName(id)
	}
	return id
}

// group remembers a group's name for the point.
func (s *saver) group(id uint32) uint32 {
	if _, ok := s.groups[id]; !ok {
		s.groups[id], _ = s.run.names.GroupName(id)
	}
	return id
}

// named leaves out numbers without a name.
func named(m map[uint32]string) map[uint32]string {
	out := make(map[uint32]string, len(m))
	for id, name := range m {
		if name != "" {
			out[id] = name
		}
	}
	return out
}
