package access

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// The kernel is the oracle of the rules, in package fs/mount's tests. These
// are the cases to read.
func TestRules(t *testing.T) {
	list := func(rules ...rule) []table.Xattr {
		b := binary.LittleEndian.AppendUint32(nil, 2)
		for _, r := range rules {
			b = binary.LittleEndian.AppendUint16(b, r.tag)
			b = binary.LittleEndian.AppendUint16(b, uint16(r.perm))
			b = binary.LittleEndian.AppendUint32(b, r.id)
		}
		return []table.Xattr{{Name: aclName, Value: b}}
	}
	barred := list(rule{tagOwner, 6, 0}, rule{tagGroup, 0, 0}, rule{tagGroups, 4, 50}, rule{tagMask, 6, 0}, rule{tagOther, 4, 0})
	for _, c := range []struct {
		name  string
		mode  uint32
		attrs []table.Xattr
		user  User
		want  bool
	}{
		{"the owner is judged by his bits alone", 0o077, nil, User{UID: 7, Groups: []uint32{8}}, false},
		{"so is the group", 0o704, nil, User{UID: 1, Groups: []uint32{8}}, false},
		{"others", 0o704, nil, User{UID: 1, Groups: []uint32{9}}, true},
		{"an administrator", 0, nil, User{Admin: true}, true},
		{"user 0 is nobody special", 0o700, nil, User{UID: 0}, false},
		{"a group that the list bars does not read through the mask", 0o664, barred, User{UID: 1, Groups: []uint32{8}}, false},
		{"a group that the list names", 0o664, barred, User{UID: 1, Groups: []uint32{50}}, true},
		{"others by the list", 0o664, barred, User{UID: 1, Groups: []uint32{9}}, true},
		{"a list that is none counts for nothing", 0o640, []table.Xattr{{Name: aclName, Value: []byte("junk")}}, User{UID: 1, Groups: []uint32{8}}, true},
	} {
		e := &table.Entry{Mode: c.mode, UID: 7, GID: 8, Xattrs: c.attrs}
		if got := c.user.may(e, read); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func FuzzACL(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		rules, ok := parseACL(b)
		if ok && len(rules)*8+4 != len(b) {
			t.Errorf("%d rules of %d bytes", len(rules), len(b))
		}
		u := User{UID: 1, Groups: []uint32{2}}
		u.may(&table.Entry{Mode: 0o777, GID: 2, Xattrs: []table.Xattr{{Name: aclName, Value: b}}}, read)
	})
}

func TestAccounts(t *testing.T) {
	uid := uint32(1000)
	path := filepath.Join(t.TempDir(), "accounts.toml")
	all := Accounts{
		"ann":  {Name: "ann", Password: Hash([]byte("ann's password")), UID: &uid, Groups: []uint32{1000, 27}},
		"root": {Name: "root", Password: Hash([]byte("x")), Admin: true},
	}
	if err := all.Write(path); err != nil {
		t.Fatal(err)
	}
	back, err := ReadAccounts(path)
	if err != nil {
		t.Fatal(err)
	}
	if a := back["ann"]; len(back) != 2 || a == nil || *a.UID != 1000 || len(a.Groups) != 2 || a.Password != all["ann"].Password || !back["root"].Admin {
		t.Errorf("%+v", back)
	}
	if err := os.Chmod(path, 0o620); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAccounts(path); !errors.Is(err, fault.Denied) {
		t.Errorf("a file that others may write: %v", err)
	}
}

func TestBadAccounts(t *testing.T) {
	good := Hash([]byte("x"))
	for name, text := range map[string]string{
		"no uid":       "[[account]]\nname='a'\npassword='" + good + "'",
		"unknown key":  "[[account]]\nname='a'\nuid=1\npasword='" + good + "'",
		"no password":  "[[account]]\nname='a'\nuid=1",
		"clear":        "[[account]]\nname='a'\nuid=1\npassword='secret'",
		"twice":        strings.Repeat("[[account]]\nname='a'\nuid=1\npassword='"+good+"'\n", 2),
		"colon":        "[[account]]\nname='a:b'\nuid=1\npassword='" + good + "'",
		"negative uid": "[[account]]\nname='a'\nuid=-1\npassword='" + good + "'",
		"costly":       "[[account]]\nname='a'\nuid=1\npassword='" + strings.Replace(good, "m=65536", "m=4194304", 1) + "'",
		"not toml":     "account",
	} {
		if all, err := parseAccounts([]byte(text)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v %v", name, all, err)
		}
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add("[[account]]\nname='a'\nuid=1\npassword='$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseAccounts([]byte(text))
		if err != nil && all != nil {
			t.Error("accounts beside an error")
		}
	})
}

func TestLogin(t *testing.T) {
	uid, now := uint32(1000), time.Unix(1_800_000_000, 0)
	all := Accounts{"ann": {Name: "ann", Password: Hash([]byte("right")), UID: &uid}}
	l := NewLogins(func(name string) *Account { return all[name] }, func() time.Time { return now })
	try := func(name, password, address string) error {
		u, err := l.Check(t.Context(), name, password, address)
		if err == nil && (u.Name != name || u.UID != uid) {
			t.Errorf("%s logs in as %+v", name, u)
		}
		return err
	}
	if err := try("ann", "right", "1.1.1.1"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := try("ann", fmt.Sprint("wrong", i), "6.6.6.6"); !errors.Is(err, fault.Denied) || errors.As(err, new(*Wait)) {
			t.Errorf("try %d: %v", i, err)
		}
	}
	_ = try("ann", "wrong", "6.6.6.6")
	var wait *Wait
	if err := try("ann", "right again", "6.6.6.6"); !errors.As(err, &wait) || wait.For > 2*time.Second {
		t.Errorf("the fifth try: %v", err)
	}
	if err := try("ann", "right", "1.1.1.1"); err != nil {
		t.Errorf("a session is not ended by somebody's guesses: %v", err)
	}
	now = now.Add(time.Hour)
	if err := try("ann", "right", "6.6.6.6"); err != nil {
		t.Errorf("an hour later: %v", err)
	}
	other := Hash([]byte("new"))
	all["ann"] = &Account{Name: "ann", Password: other, UID: &uid}
	if err := try("ann", "right", "1.1.1.1"); !errors.Is(err, fault.Denied) {
		t.Errorf("the old password still works: %v", err)
	}
	delete(all, "ann")
	if err := try("ann", "new", "1.1.1.1"); !errors.Is(err, fault.Denied) {
		t.Errorf("an account that is gone: %v", err)
	}
}

func TestTenThousandGuessesTakeDays(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := NewLogins(func(string) *Account { return nil }, func() time.Time { return now })
	keys := []string{accountKey + "ann", "address 6.6.6.6"}
	start, guesses := now, 0
	for guesses < 10_000 {
		if err := l.mayTry(keys[:1]); err != nil { // from a new address each time
			var w *Wait
			errors.As(err, &w)
			now = now.Add(w.For)
			continue
		}
		guesses++
		l.failed(keys[:1])
	}
	if took := now.Sub(start); took < 3*24*time.Hour {
		t.Errorf("10,000 guesses took %s", took)
	}
}

func TestFailuresAreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := NewLogins(func(string) *Account { return nil }, func() time.Time { return now })
	for i := range maxFailures + 100 {
		l.failed([]string{fmt.Sprint("address ", i)})
	}
	if len(l.failures) > maxFailures {
		t.Errorf("%d failures are remembered", len(l.failures))
	}
}
