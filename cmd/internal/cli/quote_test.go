package cli

import (
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestQuote(t *testing.T) {
	for name, want := range map[string]string{
		"plain name.txt":    "plain name.txt",
		"äöü 日本 🎉":          "äöü 日本 🎉",
		`back\slash 'q'`:    `back\slash 'q'`,
		"\x1b[2Jgone":       `$'\x1b[2Jgone'`,
		"a\nb\tc\r":         `$'a\nb\tc\r'`,
		"bad\xff\xfe":       `$'bad\xff\xfe'`,
		"it's\x07":          `$'it\'s\x07'`,
		`\` + "\x00":        `$'\\\x00'`,
		"\u202egnp.exe":     `$'\u202egnp.exe'`,
		"no\u00a0break":     `$'no\u00a0break'`,
		"c1\u009bcsi":       `$'c1\u009bcsi'`,
		"zero\u200bwidth":   `$'zero\u200bwidth'`,
		"tag\U000e0041":     `$'tag\U000e0041'`,
		"$'looks quoted'":   `$'$\'looks quoted\''`,
		"real \ufffd stays": "real \ufffd stays",
	} {
		if got := Quote(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// TestQuotedNamesPasteIntoAShell holds Quote against a shell.
func TestQuotedNamesPasteIntoAShell(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash, the oracle of this test, is not installed")
	}
	for _, name := range []string{"a\nb", "\x1b[2J'\\x", "\xff\xfe'", "\u202ex\u00a0", "\U000e0041\\", "\r\t\x01" + "2"} {
		cmd := exec.Command(bash, "-c", "printf %s "+Quote(name))
		cmd.Env = []string{"LC_ALL=C.UTF-8"}
		if out, err := cmd.Output(); err != nil || string(out) != name {
			t.Errorf("%q: the shell reads %q, %v", name, out, err)
		}
	}
}

func TestJSONPathKeepsEveryByte(t *testing.T) {
	for _, name := range []string{"/plain", "/ü", "/\xff/x", "/a\x1b\n"} {
		b, err := json.Marshal(JSONPath(name))
		if err != nil {
			t.Fatal(err)
		}
		var got Path
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		back := got.Path
		if got.B64 != "" {
			raw, err := base64.StdEncoding.DecodeString(got.B64)
			if err != nil {
				t.Fatal(err)
			}
			back = string(raw)
		}
		if back != name || (got.B64 != "") == utf8.ValidString(name) {
			t.Errorf("%q came back as %q from %s", name, back, b)
		}
	}
}

// FuzzQuote: whatever a name holds, a terminal gets only characters that it
// shows, on one line.
func FuzzQuote(f *testing.F) {
	f.Add("a\x1b[0m\xff\u202e")
	f.Fuzz(func(t *testing.T, name string) {
		for _, out := range []string{Quote(name), clean(strings.ReplaceAll(name, "\n", ""))} {
			for _, r := range out {
				if r != ' ' && !unicode.IsPrint(r) {
					t.Fatalf("%q is printed as %q", name, out)
				}
			}
			if !utf8.ValidString(out) {
				t.Fatalf("%q is printed as %q", name, out)
			}
		}
	})
}
