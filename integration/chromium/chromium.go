// Package chromium drives a browser for tests, as a person would use it.
package chromium

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// Browser is a browser that does as it is told.
type Browser struct {
	t       *testing.T
	ws      *websocket.Conn
	last    int
	session string
	Saved   string // where downloads go
	Dialogs int    // that pages opened: scripts do
}

// New starts a browser, which ends with the test.
func New(t *testing.T) *Browser {
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
	b := &Browser{t: t, ws: ws, Saved: t.TempDir()}
	t.Cleanup(func() { _ = ws.Close() })
	target := b.Do("Target.createTarget", map[string]any{"url": "about:blank"})["targetId"]
	b.session, _ = b.Do("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true})["sessionId"].(string)
	b.Do("Page.enable", nil)
	b.Do("Browser.setDownloadBehavior", map[string]any{"behavior": "allow", "downloadPath": b.Saved})
	return b
}

// Do sends a command and returns its result.
func (b *Browser) Do(method string, params map[string]any) map[string]any {
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
			b.Dialogs++
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

// Ask evaluates an expression in the page, and waits for what it promises.
func (b *Browser) Ask(expression string) string {
	b.t.Helper()
	r, _ := b.Do("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true})["result"].(map[string]any)
	return fmt.Sprint(r["value"])
}

// Until waits for an expression to be true.
func (b *Browser) Until(expression string) {
	b.t.Helper()
	for range 200 {
		if b.Ask(expression) == "true" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatalf("never true: %s; the page is %s", expression, b.Ask("document.documentElement.outerHTML"))
}

// Open goes to an address, and waits until it is there.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.Do("Page.navigate", map[string]any{"url": url})
	b.Until(fmt.Sprintf("decodeURI(location.href) == decodeURI(%q) && document.readyState == 'complete'", url))
}

// File waits for a download and returns what is in it.
func (b *Browser) File(name string) string {
	b.t.Helper()
	for range 200 {
		if got, err := os.ReadFile(filepath.Join(b.Saved, name)); err == nil {
			return string(got)
		}
		time.Sleep(50 * time.Millisecond)
	}
	there, _ := os.ReadDir(b.Saved)
	b.t.Fatalf("%s was not saved; there are %v", name, there)
	return ""
}

// Picture keeps a screenshot where TIDEMARK_PICTURES says.
func (b *Browser) Picture(name string) {
	b.t.Helper()
	dir := os.Getenv("TIDEMARK_PICTURES")
	if dir == "" {
		return
	}
	data, _ := b.Do("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true})["data"].(string)
	png, err := base64.StdEncoding.DecodeString(data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// Window makes the page so wide, in points, and dark or light.
func (b *Browser) Window(width int, dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.Do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600})
	b.Do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
}

// Key presses a key as a person without a mouse does.
func (b *Browser) Key(name string, code int, text string) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
		if kind == "keyDown" && text != "" {
			p["text"] = text
		}
		b.Do("Input.dispatchKeyEvent", p)
	}
}
