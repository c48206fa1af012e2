package webdav

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/integration/chromium"
)

// browser finds a file, an older version of it, and downloads both, as somebody
// at the keyboard would; and opens what was made to do harm.
func browser(t *testing.T, s *share) {
	b := chromium.New(t)
	b.Open(s.here + "/")
	listing := b.Ask("document.body.innerText")
	for _, want := range []string{"100%.txt", "a&b<c>.txt", "ünïcödé.txt", "<img src=x onerror=alert(1)>", "sub/", "Download as zip"} {
		if !strings.Contains(listing, want) {
			t.Errorf("no %q on the page: %s", want, listing)
		}
	}
	b.Picture("folder")

	// The first stop of the tabulator leads past everything, and one can type at once in the field.
	b.Key("Tab", 9, "")
	if got := b.Ask("document.activeElement.innerText"); got != "To the list" {
		t.Errorf("the first stop is %q", got)
	}
	b.Ask("document.getElementById('find').focus()")
	b.Do("Input.insertText", map[string]any{"text": "PLAIN"})
	b.Key("Enter", 13, "\r")
	b.Until("location.search == '?find=PLAIN' && document.readyState == 'complete'")
	if rows := b.Ask("document.querySelectorAll('tbody tr').length"); rows != "1" || b.Ask("document.querySelector('[role=status]').innerText") != "One was found." {
		t.Errorf("%s found: %s", rows, b.Ask("document.body.innerText"))
	}
	b.Picture("found")
	b.Ask("document.querySelector('tbody .act a').click()")
	b.Until("location.search == '?versions' && document.readyState == 'complete'")
	if rows := b.Ask("document.querySelectorAll('tbody tr').length"); rows != "2" {
		t.Fatalf("%s versions", rows)
	}
	b.Picture("versions")
	for i, want := range []string{"the second version", s.older} {
		name := b.Ask(fmt.Sprintf("(a => { const n = 'plain (' + a.closest('tr').cells[0].innerText.slice(0, 19).replaceAll(':', '.') + ').txt'; a.click(); return n })(document.querySelectorAll('tbody .act a')[%d])", i))
		if got := b.File(name); got != want {
			t.Errorf("version %d is %d bytes, not %d", i, len(got), len(want))
		}
		_ = os.Remove(filepath.Join(b.Saved, name))
	}
	accessible(t, b)

	b.Open(s.here + "/")
	b.Ask("[...document.querySelectorAll('a')].find(a => a.innerText == 'What was deleted from this folder').click()")
	b.Until("location.pathname.endsWith('/@deleted/') && document.readyState == 'complete'")
	if text := b.Ask("document.body.innerText"); !strings.Contains(text, "gone.txt") {
		t.Errorf("deleted: %s", text)
	}
	b.Picture("deleted")

	// A page of the backup is saved and not shown; no name does anything.
	b.Open(s.here + "/")
	b.Ask("[...document.querySelectorAll('tbody th a')].find(a => a.innerText == 'page.html').click()")
	b.File("page.html")
	if b.Ask("document.querySelectorAll('img, script').length") != "0" || b.Dialogs != 0 {
		t.Errorf("a name or a file became part of a page, %d dialogs", b.Dialogs)
	}
	b.Ask("document.querySelectorAll('input[type=checkbox]')[0].click(); document.querySelector('button[name=zip]').click()")
	if got := b.File("source.zip"); !strings.HasPrefix(got, "PK") {
		t.Errorf("the selection is %.10q", got)
	}
}

// accessible checks what a screen reader needs: names of all that can be used,
// one heading, headers of rows and columns.
func accessible(t *testing.T, b *chromium.Browser) {
	t.Helper()
	var tree struct {
		Nodes []struct {
			Ignored bool
			Role    struct{ Value string }
			Name    struct{ Value string }
		}
	}
	b.Do("Accessibility.enable", nil)
	raw, err := json.Marshal(b.Do("Accessibility.getFullAXTree", nil))
	if err == nil {
		err = json.Unmarshal(raw, &tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]int{}
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		roles[n.Role.Value]++
		switch n.Role.Value {
		case "link", "button", "checkbox", "searchbox", "textbox":
			if strings.TrimSpace(n.Name.Value) == "" {
				t.Errorf("a %s without a name", n.Role.Value)
			}
		}
	}
	if roles["heading"] != 1 || roles["main"] != 1 || roles["navigation"] != 1 || roles["columnheader"] != 4 || roles["rowheader"] != 2 {
		t.Errorf("roles: %v", roles)
	}
}
