package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

const written = `# of this server
repository = '/srv/backup'   # a disk

[[ policy ]]   # the first
name = "a"
repository = "/srv/a"
paths = [
  "/a",   # all of it
  "/b#c", # and ]
]
  [policy.schedule] # when
  every = "4h" # often
  zone = "UTC"

# about b
[[policy]]
name = """b"""
paths = ['/x']
schedule = { at = ["09:00"], days = ["mon"] } # mornings
[policy.retention]
daily.keep = 7
[[policy.hook]]
when = "before"
command = ["/bin/true"]

# of all
[agent]
jobs = 3
`

func document(t *testing.T, text string) *Document {
	t.Helper()
	d := &Document{path: "c.toml", text: text, before: []byte(text)}
	var err error
	if d.config, err = Parse(d.before, d.path, ""); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEditPolicy: each edit changes the lines that it must, and no others.
func TestEditPolicy(t *testing.T) {
	text := written
	for name, c := range map[string]struct {
		policy string
		edit   func(*Policy)
		want   string // lines taken away, and put in
	}{
		"a value, its comment stays": {"a", func(p *Policy) { p.Schedule.Every = schedule.Span(2 * time.Hour) },
			"-  every = \"4h\" # often\n+  every = \"2h\" # often\n"},
		"another way to say it": {"a", func(p *Policy) { p.Schedule = schedule.Rule{Cron: "@daily", Zone: "UTC"} },
			"-  every = \"4h\" # often\n+  cron = \"@daily\"\n"},
		"no schedule": {"b", func(p *Policy) { p.Schedule = schedule.Rule{} },
			"-schedule = { at = [\"09:00\"], days = [\"mon\"] } # mornings\n"},
		"in an inline table": {"b", func(p *Policy) { p.Schedule.Days, p.Schedule.At, p.Schedule.Zone = nil, []string{"10:00"}, "UTC" },
			"-schedule = { at = [\"09:00\"], days = [\"mon\"] } # mornings\n+schedule = { at = [\"10:00\"], zone = \"UTC\" } # mornings\n"},
		"several lines": {"a", func(p *Policy) { p.Paths = []string{"/new"} },
			"-paths = [\n-  \"/a\",   # all of it\n-  \"/b#c\", # and ]\n-]\n+paths = [\"/new\"]\n"},
		"what was not there": {"a", func(p *Policy) { p.Exclude, p.OneFileSystem = []string{"*.tmp"}, true },
			"+exclude = [\"*.tmp\"]\n+one_file_system = true\n"},
		"zero that says something": {"b", func(p *Policy) { zero := 0; p.Retries = &zero }, "+retries = 0\n"},
		"a name":                   {"b", func(p *Policy) { p.Name = "c" }, "-name = \"\"\"b\"\"\"\n+name = \"c\"\n"},
		"beside a dotted key": {"b", func(p *Policy) { p.Retention.Daily.Keep, p.Retention.KeepLast = 9, 5 },
			"-daily.keep = 7\n+daily.keep = 9\n+keep_last = 5\n"},
		"throttle": {"b", func(p *Policy) { p.Throttle = []schedule.Window{{Days: []string{"mon"}, Rate: "1 MB"}} },
			"+throttle = [{ days = [\"mon\"], rate = \"1 MB\" }]\n"},
		"retention where none was": {"a", func(p *Policy) {
			p.Retention = &retain.Policy{Zone: "UTC", Daily: &retain.Daily{Keep: 30}}
			_ = p.Retention.Validate()
		}, "+retention = { daily = { keep = 30, at = [\"00:00\"] } }\n"},
		"hooks that are tables": {"b", func(p *Policy) { p.Hooks = nil },
			"-[[policy.hook]]\n-when = \"before\"\n-command = [\"/bin/true\"]\n"},
		"nothing": {"b", func(*Policy) {}, ""},
	} {
		d := document(t, text)
		if err := d.EditPolicy(c.policy, func(p *Policy) error { c.edit(p); return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := changed(text, d.text); got != c.want {
			t.Errorf("%s:\ngot\n%swant\n%s", name, got, c.want)
		}
	}
}

// changed returns the lines that an edit took away and put in, found without
// knowing how it was made: those that are in one text only.
func changed(old, next string) string {
	a, b := strings.SplitAfter(old, "\n"), strings.SplitAfter(next, "\n")
	var minus, plus string
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(a) > 0 && len(b) > 0 && a[0] == b[0]:
			a, b = a[1:], b[1:]
		case len(b) > 0 && !containsLine(a, b[0]):
			plus += "+" + b[0]
			b = b[1:]
		case len(a) > 0:
			minus += "-" + a[0]
			a = a[1:]
		default:
			plus += "+" + b[0]
			b = b[1:]
		}
	}
	return minus + plus
}

func containsLine(list []string, line string) bool {
	for _, l := range list {
		if l == line {
			return true
		}
	}
	return false
}

func TestEditThatIsWrong(t *testing.T) {
	d := document(t, written)
	for want, edit := range map[string]func(*Policy) error{
		"schedule: every: 30s": func(p *Policy) error { p.Schedule.Every = schedule.Span(30 * time.Second); return nil },
		`"b" is the name of`:   func(p *Policy) error { p.Name = "b"; return nil },
		"says nothing of what": func(p *Policy) error { p.Paths = nil; return nil },
		"not today":            func(*Policy) error { return errors.New("not today") },
	} {
		if err := d.EditPolicy("a", edit); err == nil || !strings.Contains(err.Error(), want) || d.text != written {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := d.EditPolicy("z", nil); !errors.Is(err, fault.NotExist) {
		t.Error(err)
	}
	if err := d.AddPolicy(Policy{Name: "a"}); !errors.Is(err, fault.Exist) {
		t.Error(err)
	}
	inline := document(t, "repository = '/r'\npolicy = [{ name = 'a', paths = ['/a'] }]\n")
	if err := inline.RemovePolicy("a"); !errors.Is(err, fault.Unsupported) {
		t.Error(err)
	}
	if err := inline.EditPolicy("a", func(p *Policy) error { p.Tags = []string{"x"}; return nil }); err == nil {
		t.Error("an array of inline tables was edited")
	}
}

// TestAddAndRemove: what is added and removed again leaves the text as it was;
// and each policy can go.
func TestAddAndRemove(t *testing.T) {
	d := document(t, written)
	silent := 0
	p := Policy{
		Name: "new", Paths: []string{"/new \"x\""}, Exclude: []string{"*.tmp"}, SilentAfter: &silent,
		Schedule: schedule.Rule{At: []string{"09:00", "18:00"}, Jitter: schedule.Span(time.Minute)},
		Throttle: []schedule.Window{{From: "08:00", To: "18:00", Rate: "512 KB"}},
	}
	if err := d.AddPolicy(p); err != nil {
		t.Fatal(err)
	}
	if got := d.config.Policy("new"); got == nil || got.SilentOrDefault() != 0 || got.Schedule.At[1] != "18:00" || got.Throttle[0].To != "18:00" {
		t.Errorf("%+v\n%s", got, d.text)
	}
	if text := d.PolicyText("new"); !strings.HasPrefix(text, "[[policy]]\nname = \"new\"\n") || strings.Contains(text, "[agent]") {
		t.Error(text)
	}
	if err := d.RemovePolicy("new"); err != nil || d.text != written {
		t.Errorf("%v\n%s", err, changed(written, d.text))
	}
	if err := d.RemovePolicy("a"); err != nil || strings.Contains(d.text, "the first") || !strings.Contains(d.text, "# about b\n[[policy]]") || !strings.Contains(d.text, "# a disk\n\n# about") {
		t.Errorf("%v\n%s", err, d.text)
	}
	if err := d.RemovePolicy("b"); err != nil || d.text != "# of this server\nrepository = '/srv/backup'   # a disk\n\n# of all\n[agent]\njobs = 3\n" {
		t.Errorf("%v\n%s", err, d.text)
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "real.toml"), filepath.Join(dir, "config.toml")
	if err := errors.Join(os.WriteFile(path, []byte(written), 0o640), os.Chmod(path, 0o640), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 1234, 1235); err != nil {
			t.Fatal(err)
		}
	}
	edit := func() (*Document, error) {
		d, err := OpenDocument(link)
		if err != nil {
			t.Fatal(err)
		}
		return d, d.EditPolicy("b", func(p *Policy) error { p.Tags = append(p.Tags, "x"); return nil })
	}
	d, err := edit()
	if err != nil {
		t.Fatal(err)
	}
	late, err := edit()
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(path)
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || after.Mode() != before.Mode() {
		t.Errorf("mode %v, was %v, %v", after.Mode(), before.Mode(), err)
	}
	sysBefore, sysAfter := reflect.Indirect(reflect.ValueOf(before.Sys())), reflect.Indirect(reflect.ValueOf(after.Sys()))
	if uid := sysAfter.FieldByName("Uid"); uid.IsValid() && uid.Uint() != sysBefore.FieldByName("Uid").Uint() {
		t.Errorf("it belongs to %d", uid.Uint())
	}
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("the link is %q, %v", target, err)
	}
	if err := late.Save(); !errors.Is(err, fault.Exist) {
		t.Errorf("an edit of an old text was written: %v", err)
	}
	fresh, err := OpenDocument(filepath.Join(dir, "new", "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fresh.AddPolicy(Policy{Name: "n", Repository: "/r", Paths: []string{"/x"}}), fresh.Save()); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(filepath.Join(dir, "new", "config.toml")); err != nil || c.Policies[0].Name != "n" {
		t.Errorf("%+v, %v", c, err)
	}
}

// FuzzScan: the statements cover the text, and each key that they find is where
// the decoder finds it, with the value that the text has there.
func FuzzScan(f *testing.F) {
	f.Add(written)
	f.Add(Example())
	f.Add("a.\"b c\".'d' = '''x\n]'''\n[[t]]\n[t.\"u\"]\nx = [ # ]\n1 ]\r\ny = \"\"\"\\\"\"\"\"\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		at := 0
		list := scan(text)
		for _, s := range list {
			if s.start != at || s.end <= s.start {
				t.Fatalf("a statement from %d to %d after %d", s.start, s.end, at)
			}
			at = s.end
		}
		if at != len(text) {
			t.Fatalf("ends at %d of %d", at, len(text))
		}
		var all map[string]any
		if toml.Unmarshal([]byte(text), &all) != nil {
			return
		}
		for _, s := range list {
			if s.kind != pair {
				continue
			}
			var one map[string]any
			if err := toml.Unmarshal([]byte("v = "+text[s.value[0]:s.value[1]]), &one); err != nil {
				t.Fatalf("%v has the value %q: %v", s.where, text[s.value[0]:s.value[1]], err)
			}
			if got, ok := lookUp(all, s.where); !ok || fmt.Sprint(got) != fmt.Sprint(one["v"]) {
				t.Fatalf("%v is %v, not %v", s.where, got, one["v"])
			}
		}
	})
}

func lookUp(v any, where place) (any, bool) {
	for _, step := range where {
		switch step := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				return nil, false
			}
			v = m[step]
		case int:
			l, ok := v.([]map[string]any)
			if !ok || step >= len(l) {
				return nil, false
			}
			v = l[step]
		}
	}
	return v, v != nil
}

// FuzzEdit: an edit of any configuration with a policy either fails, or changes
// what it shall and nothing else: undone, the text says what it said.
func FuzzEdit(f *testing.F) {
	f.Add(written, "2h", "x")
	f.Add("repository='/r'\r\n[[policy]]\r\nname='a'\r\npaths=['/a']\r\n[policy.retention.daily]\r\nkeep=7", "", "")
	f.Fuzz(func(t *testing.T, text, every, tag string) {
		c, err := Parse([]byte(text), "f", "")
		if err != nil || len(c.Policies) == 0 {
			return
		}
		d := &Document{path: "f", text: text, config: c}
		name := c.Policies[0].Name
		span, _ := schedule.ParseSpan(every)
		err = d.EditPolicy(name, func(p *Policy) error {
			p.Schedule, p.Tags = schedule.Rule{Every: schedule.Span(span)}, nil
			if tag != "" {
				p.Tags = []string{tag}
			}
			if p.Retention != nil {
				p.Retention.KeepLast++
			}
			return nil
		})
		if errors.Is(err, fault.Internal) {
			t.Fatalf("%v\n%s", err, text)
		}
		if err != nil {
			return
		}
		for i := range c.Policies {
			if i > 0 && !reflect.DeepEqual(leavesOf(c.Policies[i]), leavesOf(d.config.Policies[i])) {
				t.Fatalf("policy %d changed", i)
			}
		}
		if strings.Count(d.text, "#") < strings.Count(text, "#")-strings.Count(text, "=") {
			t.Fatalf("comments went:\n%s\nto\n%s", text, d.text)
		}
		if err := d.AddPolicy(Policy{Name: "zzz", Repository: "/z", Paths: []string{"/z"}}); err != nil {
			return
		}
		if err := d.RemovePolicy("zzz"); err != nil || len(d.config.Policies) != len(c.Policies) {
			t.Fatal(err)
		}
	})
}
