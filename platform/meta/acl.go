package meta

import "encoding/binary"

// The names of the attributes that hold POSIX ACLs on Linux.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// IsACL says whether an extended attribute is a POSIX ACL.
func IsACL(name string) bool { return name == aclAccess || name == aclDefault }

// Layout of such an attribute: u32 version 2, then per entry u16 tag, u16
// permissions, u32 ID, little-endian. Only entries of these tags have an ID.
const (
	aclHead  = 4
	aclEntry = 8
	aclUser  = 0x02
	aclGroup = 0x08
)

// MapACL returns a POSIX ACL with the numbers of the users and groups that it
// names replaced; value stays as it is. What is no such ACL is returned unchanged.
func MapACL(value []byte, user, group func(uint32) uint32) []byte {
	if len(value) < aclHead || (len(value)-aclHead)%aclEntry != 0 || binary.LittleEndian.Uint32(value) != 2 {
		return value
	}
	out := append([]byte(nil), value...)
	for e := out[aclHead:]; len(e) > 0; e = e[aclEntry:] {
		id := binary.LittleEndian.Uint32(e[4:])
		switch binary.LittleEndian.Uint16(e) {
		case aclUser:
			binary.LittleEndian.PutUint32(e[4:], user(id))
		case aclGroup:
			binary.LittleEndian.PutUint32(e[4:], group(id))
		}
	}
	return out
}
