package repo

import (
	"encoding/binary"

	"github.com/tidemark-backup/tidemark/platform/meta"
)

// maxUserBytes bounds the section of a server's users: no user is left half in,
// since one who lacks a group may be let in where that group is barred.
const maxUserBytes = 1 << 20

func appendServerUsers(users []meta.ServerUser) []byte {
	var list, one []byte
	n := 0
	for _, u := range users {
		one = binary.AppendUvarint(appendString(one[:0], u.Name), uint64(u.UID))
		one = binary.AppendUvarint(one, uint64(len(u.Groups)))
		for _, g := range u.Groups {
			one = binary.AppendUvarint(one, uint64(g))
		}
		if n == meta.MaxServerUsers || len(list)+len(one) > maxUserBytes {
			break
		}
		list = append(list, one...)
		n++
	}
	return append(binary.AppendUvarint(nil, uint64(n)), list...)
}

func (r *bodyReader) serverUsers() (users []meta.ServerUser) {
	n := r.count()
	if n > meta.MaxServerUsers {
		r.fail("too many users")
	}
	for ; n > 0 && r.err == nil; n-- {
		u := meta.ServerUser{Name: r.string(), UID: r.id()}
		groups := r.count()
		if groups > meta.MaxServerGroups || len(users) > 0 && users[len(users)-1].Name >= u.Name {
			r.fail("users out of order, or in too many groups")
		}
		for ; groups > 0 && r.err == nil; groups-- {
			u.Groups = append(u.Groups, r.id())
		}
		users = append(users, u)
	}
	return users
}

// id reads the number of a user or group.
func (r *bodyReader) id() uint32 {
	n := r.uvarint()
	if n >= 1<<32 {
		r.fail("bad number of a user or group")
	}
	return uint32(n)
}
