package meta

import (
	"os/user"
	"strconv"
	"testing"
)

func TestNames(t *testing.T) {
	var n Names
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(me.Uid, 10, 32)
	if err != nil {
		t.Skip("users are no numbers here")
	}
	gid, err := strconv.ParseUint(me.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // asked, then remembered
		if name, ok := n.UserName(uint32(uid)); !ok || name != me.Username {
			t.Errorf("UserName(%d) = %q, %v", uid, name, ok)
		}
		if id, ok := n.UserID(me.Username); !ok || id != uint32(uid) {
			t.Errorf("UserID(%s) = %d, %v", me.Username, id, ok)
		}
		if name, ok := n.GroupName(uint32(gid)); !ok || name != group.Name {
			t.Errorf("GroupName(%d) = %q, %v", gid, name, ok)
		}
		if id, ok := n.GroupID(group.Name); !ok || id != uint32(gid) {
			t.Errorf("GroupID(%s) = %d, %v", group.Name, id, ok)
		}
		if name, ok := n.UserName(4_000_000_001); ok {
			t.Errorf("nobody is called %q", name)
		}
		if id, ok := n.GroupID("no such group, surely"); ok {
			t.Errorf("no group has number %d", id)
		}
	}
	if id, ok := n.UserID(""); ok {
		t.Errorf("the empty name has number %d", id)
	}
}

func TestNamesAreBounded(t *testing.T) {
	var n Names
	for i := range uint32(3 * maxNames) {
		n.name(users, i, func(id string) (string, error) { return "u" + id, nil })
		if len(n.byID[users]) > maxNames {
			t.Fatalf("%d names are remembered", len(n.byID[users]))
		}
	}
	if name, ok := n.name(users, 3, func(string) (string, error) { return "again", nil }); !ok || name != "again" {
		t.Errorf("after the bound: %q, %v", name, ok)
	}
}
