package webdav

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// chromium is a browser that does as it is told.
type chromium struct {
	t       *testing.T
	ws      *websocket.Conn
	last    int
	session string
	saved   string // where downloads go
	dialogs int    // that pages opened: scripts do
}

func newChromium(t *testing.T) *chromium {
	t.Helper()
	dir, err := os.MkdirTemp("", "tidemark-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir="+dir, "--remote-debugging-port=0", "--window-size=1100,800", "about:blank")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()    // whose error is that it was killed
		for range 100 { // its children go on writing there for a moment
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("%s cannot be removed", dir)
	})
	var port, path string
	for range 300 {
		if b, err := os.ReadFile(filepath.Join(dir, "DevToolsActivePort")); err == nil {
			if port, path, _ = strings.Cut(strings.TrimSpace(string(b)), "\n"); path != "" {
				break
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	if path == "" {
		t.Fatal("chromium does not start")
	}
	ws, err := websocket.Dial("ws://127.0.0.1:"+port+path, "", "http://127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	ws.MaxPayloadBytes = 64 << 20
	b := &chromium{t: t, ws: ws, saved: t.TempDir()}
	t.Cleanup(func() { _ = ws.Close() })
	target := b.do("Target.createTarget", map[string]any{"url": "about:blank"})["targetId"]
	b.session, _ = b.do("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true})["sessionId"].(string)
	b.do("Page.enable", nil)
	b.do("Browser.setDownloadBehavior", map[string]any{"behavior": "allow", "downloadPath": b.saved})
	return b
}

// do sends a command and returns its result.
func (b *chromium) do(method string, params map[string]any) map[string]any {
	b.t.Helper()
	b.last++
	if params == nil {
		params = map[string]any{}
	}
	m := map[string]any{"id": b.last, "method": method, "params": params}
	if b.session != "" {
		m["sessionId"] = b.session
	}
	if err := b.ws.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		b.t.Fatal(err)
	}
	if err := websocket.JSON.Send(b.ws, m); err != nil {
		b.t.Fatal(err)
	}
	for {
		var answer struct {
			ID     int
			Method string
			Result map[string]any
			Error  *struct{ Message string }
		}
		if err := websocket.JSON.Receive(b.ws, &answer); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		if answer.Method == "Page.javascriptDialogOpening" {
			b.dialogs++
		}
		if answer.ID != b.last {
			continue
		}
		if answer.Error != nil {
			b.t.Fatalf("%s: %s", method, answer.Error.Message)
		}
		return answer.Result
	}
}

// ask evaluates an expression in the page.
func (b *chromium) ask(expression string) string {
	b.t.Helper()
	r, _ := b.do("Runtime.evaluate", map[string]any{"expression": expression})["result"].(map[string]any)
	return fmt.Sprint(r["value"])
}

// until waits for an expression to be true.
func (b *chromium) until(expression string) {
	b.t.Helper()
	for range 200 {
		if b.ask(expression) == "true" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatalf("never true: %s; the page is %s", expression, b.ask("document.documentElement.outerHTML"))
}

func (b *chromium) open(url string) {
	b.t.Helper()
	b.do("Page.navigate", map[string]any{"url": url})
	b.until(fmt.Sprintf("decodeURI(location.href) == decodeURI(%q) && document.readyState == 'complete'", url))
}

// file waits for a download and returns what is in it.
func (b *chromium) file(name string) string {
	b.t.Helper()
	for range 200 {
		if got, err := os.ReadFile(filepath.Join(b.saved, name)); err == nil {
			return string(got)
		}
		time.Sleep(50 * time.Millisecond)
	}
	there, _ := os.ReadDir(b.saved)
	b.t.Fatalf("%s was not saved; there are %v", name, there)
	return ""
}

// picture keeps a screenshot where TIDEMARK_PICTURES says.
func (b *chromium) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("TIDEMARK_PICTURES")
	if dir == "" {
		return
	}
	data, _ := b.do("Page.captureScreenshot", nil)["data"].(string)
	png, err := base64.StdEncoding.DecodeString(data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// key presses a key as a person without a mouse does.
func (b *chromium) key(name string, code int, text string) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
		if kind == "keyDown" && text != "" {
			p["text"] = text
		}
		b.do("Input.dispatchKeyEvent", p)
	}
}

// browser finds a file, an older version of it, and downloads both, as somebody
// at the keyboard would; and opens what was made to do harm.
func browser(t *testing.T, s *share) {
	b := newChromium(t)
	b.open(s.here + "/")
	listing := b.ask("document.body.innerText")
	for _, want := range []string{"100%.txt", "a&b<c>.txt", "ünïcödé.txt", "<img src=x onerror=alert(1)>", "sub/", "Download as zip"} {
		if !strings.Contains(listing, want) {
			t.Errorf("no %q on the page: %s", want, listing)
		}
	}
	b.picture("folder")

	// The first stop of the tabulator leads past everything, and one can type at once in the field.
	b.key("Tab", 9, "")
	if got := b.ask("document.activeElement.innerText"); got != "To the list" {
		t.Errorf("the first stop is %q", got)
	}
	b.ask("document.getElementById('find').focus()")
	b.do("Input.insertText", map[string]any{"text": "PLAIN"})
	b.key("Enter", 13, "\r")
	b.until("location.search == '?find=PLAIN' && document.readyState == 'complete'")
	if rows := b.ask("document.querySelectorAll('tbody tr').length"); rows != "1" || b.ask("document.querySelector('[role=status]').innerText") != "One was found." {
		t.Errorf("%s found: %s", rows, b.ask("document.body.innerText"))
	}
	b.picture("found")
	b.ask("document.querySelector('tbody .act a').click()")
	b.until("location.search == '?versions' && document.readyState == 'complete'")
	if rows := b.ask("document.querySelectorAll('tbody tr').length"); rows != "2" {
		t.Fatalf("%s versions", rows)
	}
	b.picture("versions")
	for i, want := range []string{"the second version", s.older} {
		name := b.ask(fmt.Sprintf("(a => { const n = 'plain (' + a.closest('tr').cells[0].innerText.slice(0, 19).replaceAll(':', '.') + ').txt'; a.click(); return n })(document.querySelectorAll('tbody .act a')[%d])", i))
		if got := b.file(name); got != want {
			t.Errorf("version %d is %d bytes, not %d", i, len(got), len(want))
		}
		_ = os.Remove(filepath.Join(b.saved, name))
	}
	accessible(t, b)

	b.open(s.here + "/")
	b.ask("[...document.querySelectorAll('a')].find(a => a.innerText == 'What was deleted from this folder').click()")
	b.until("location.pathname.endsWith('/@deleted/') && document.readyState == 'complete'")
	if text := b.ask("document.body.innerText"); !strings.Contains(text, "gone.txt") {
		t.Errorf("deleted: %s", text)
	}
	b.picture("deleted")

	// A page of the backup is saved and not shown; no name does anything.
	b.open(s.here + "/")
	b.ask("[...document.querySelectorAll('tbody th a')].find(a => a.innerText == 'page.html').click()")
	b.file("page.html")
	if b.ask("document.querySelectorAll('img, script').length") != "0" || b.dialogs != 0 {
		t.Errorf("a name or a file became part of a page, %d dialogs", b.dialogs)
	}
	b.ask("document.querySelectorAll('input[type=checkbox]')[0].click(); document.querySelector('button[name=zip]').click()")
	if got := b.file("source.zip"); !strings.HasPrefix(got, "PK") {
		t.Errorf("the selection is %.10q", got)
	}
}

// accessible checks what a screen reader needs: names of all that can be used,
// one heading, headers of rows and columns.
func accessible(t *testing.T, b *chromium) {
	t.Helper()
	var tree struct {
		Nodes []struct {
			Ignored bool
			Role    struct{ Value string }
			Name    struct{ Value string }
		}
	}
	b.do("Accessibility.enable", nil)
	raw, err := json.Marshal(b.do("Accessibility.getFullAXTree", nil))
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
