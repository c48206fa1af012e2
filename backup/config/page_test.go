package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestCheckPage(t *testing.T) {
	for _, right := range []string{"127.0.0.1:8377", "127.0.0.2:0", "[::1]:80", "localhost:8377"} {
		if err := CheckPage(right); err != nil {
			t.Error(err)
		}
	}
	for _, wrong := range []string{"", "127.0.0.1", ":8377", "0.0.0.0:8377", "[::]:1", "192.168.1.2:80", "example.com:80", "localhost.example.com:80", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1"} {
		if err := CheckPage(wrong); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	_, err := Parse([]byte("repository = \"/r\"\n[agent]\njobs = 2\npage = \"0.0.0.0:8377\"\n"), "c.toml", "")
	if err == nil || !strings.Contains(err.Error(), "c.toml, line 4: agent.page: ") || !strings.Contains(err.Error(), "ssh -L") {
		t.Errorf("%v", err)
	}
}
