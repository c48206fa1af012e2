package main

import (
	"testing"

	"github.com/tidemark-backup/tidemark/repo/table"
)

func TestModeText(t *testing.T) {
	for _, c := range []struct {
		kind table.Kind
		mode uint32
		want string
	}{
		{table.File, 0o644, "-rw-r--r--"},
		{table.Folder, 0o1777, "drwxrwxrwt"},
		{table.Folder, 0o1770, "drwxrwx--T"},
		{table.File, 0o4755, "-rwsr-xr-x"},
		{table.File, 0o6644, "-rwSr-Sr--"},
		{table.Symlink, 0o777, "lrwxrwxrwx"},
		{table.FIFO, 0o600, "prw-------"},
		{table.CharDevice, 0o666, "crw-rw-rw-"},
		{table.BlockDevice, 0, "b---------"},
	} {
		if got := modeText(&table.Entry{Kind: c.kind, Mode: c.mode}); got != c.want {
			t.Errorf("%v %o: %s, want %s", c.kind, c.mode, got, c.want)
		}
	}
}

func TestParseShare(t *testing.T) {
	for s, want := range map[string]float64{"100%": 1, "0%": 0, "5": 0.05, "12.5%": 0.125, "101%": -1, "-1": -1, "": -1, "NaN": -1, "x%": -1} {
		got, err := parseShare(s)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func TestIsBelow(t *testing.T) {
	for _, c := range []struct {
		name, folder string
		want         bool
	}{{"/a/b", "/a", true}, {"/a", "/a", true}, {"/ab", "/a", false}, {"/a", "/", true}, {"/", "/a", false}} {
		if got := isBelow(c.name, c.folder); got != c.want {
			t.Errorf("%s below %s: %v", c.name, c.folder, got)
		}
	}
}
