package meta

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseUsers(t *testing.T) {
	passwd := "root:x:0:0:root:/root:/bin/sh\n# no one\n+nis::::::\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nann:x:7:7:again:/:/\n" +
		"short:x:1:1\nbad:x:-1:1::/:/\nbig:x:4294967296:1::/:/\nbob:x:1001:100::/home/bob:\n:x:5:5::/:/\n"
	group := "root:x:0:\nsudo:x:27:ann,bob\nann:x:1000:\nbroken:x:no:ann\nteam:x:50: ann ,nobody,ann\n"
	got, err := ParseUsers(strings.NewReader(passwd), strings.NewReader(group))
	want := []ServerUser{{"ann", 1000, []uint32{27, 50, 1000}}, {"bob", 1001, []uint32{27, 100}}, {"root", 0, []uint32{0}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
}

func TestUsersWithoutGroupsAreNoList(t *testing.T) {
	dir := t.TempDir()
	passwd := filepath.Join(dir, "passwd")
	if got, err := hostUsers(passwd, dir+"/group"); got != nil || err != nil {
		t.Errorf("no file: %v %v", got, err)
	}
	if err := os.WriteFile(passwd, []byte("ann:x:1:1::/:/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := hostUsers(passwd, dir+"/group"); got != nil || err == nil {
		t.Errorf("no groups: %v %v", got, err)
	}
	if got, err := ParseUsers(strings.NewReader("ann:x:1:1::/:/\n"), strings.NewReader(strings.Repeat("x", 2<<20))); got != nil || err == nil {
		t.Errorf("a line without an end: %v %v", got, err)
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add("ann:x:1000:1000:Ann:/home/ann:/bin/sh\n", "sudo:x:27:ann\n")
	f.Add("+::::::\na:b", "a:::\n:")
	f.Fuzz(func(t *testing.T, passwd, group string) {
		all, err := ParseUsers(strings.NewReader(passwd), strings.NewReader(group))
		for i, u := range all {
			if err != nil || len(u.Groups) == 0 || i > 0 && all[i-1].Name >= u.Name {
				t.Errorf("%v %v", all, err)
			}
		}
	})
}
