package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

var zone = time.FixedZone("test", 3600)

func somePoints() []PointName {
	at := func(s string) time.Time {
		t, err := time.ParseInLocation("2006-01-02 15:04:05", s, zone)
		if err != nil {
			panic(err)
		}
		return t
	}
	return []PointName{
		{"aaaa1111", at("2026-11-20 10:00:00")},
		{"aaaa2222", at("2026-11-21 10:00:00")},
		{"bbbb3333", at("2026-11-21 23:59:59")},
		{"cccc4444", at("2026-11-22 10:00:30").Add(500 * time.Millisecond)},
		{"dddd5555", at("2026-11-22 10:00:30").Add(700 * time.Millisecond)},
		{"eeee6666", at("2026-11-19 10:00:00")}, // by a clock that went wrong
	}
}

func TestSelectPoint(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, zone)
	for arg, want := range map[string]string{
		"latest":                    "dddd5555",
		"bbbb":                      "bbbb3333",
		"BBBB33":                    "bbbb3333",
		"aaaa2":                     "aaaa2222",
		"2026-11-21":                "bbbb3333",
		"2026-11-20":                "aaaa1111",
		"2026-11-19":                "eeee6666",
		"2027-01-01":                "dddd5555",
		"2026-11-21T10:00":          "aaaa2222",
		"2026-11-21 10:00":          "aaaa2222",
		"2026-11-21T09:59":          "aaaa1111",
		"2026-11-22T10:00":          "dddd5555",
		"2026-11-22T10:00:29":       "bbbb3333",
		"2026-11-22T10:00:30":       "dddd5555",
		"2026-11-21T09:00:00Z":      "aaaa2222",
		"2026-11-21T08:59:59Z":      "aaaa1111",
		"2026-11-21T09:00Z":         "aaaa2222",
		"2026-11-21T10:00:00+01:00": "aaaa2222",
		"2026-11-22_10-00-30":       "cccc4444",
		"2026-11-22_10-00-30-2":     "dddd5555",
		"3d ago":                    "aaaa1111",
		"2 days ago":                "aaaa2222",
		"25h ago":                   "bbbb3333",
		"1w ago":                    "not exist",
		"1mo ago":                   "not exist",
		"1y ago":                    "not exist",
		"90 min ago":                "dddd5555",
		"5s ago":                    "dddd5555",
		"1 second ago":              "dddd5555",
		"yesterday":                 "dddd5555",
		"today":                     "dddd5555",
		"2026-11-18":                "not exist",
		"ffff":                      "not exist",
		"2026-11-22_10-00-31":       "invalid",
		"aaaa":                      "invalid",
		"aaa":                       "invalid",
		"":                          "invalid",
		"nonsense":                  "invalid",
		"2026-13-01":                "invalid",
		"d ago":                     "invalid",
	} {
		i, err := SelectPoint(somePoints(), arg, now, zone)
		var got string
		switch {
		case errors.Is(err, fault.NotExist):
			got = "not exist"
		case errors.Is(err, fault.Invalid):
			got = "invalid"
		case err != nil:
			got = err.Error()
		default:
			got = somePoints()[i].ID
		}
		if got != want {
			t.Errorf("%q: %s, want %s", arg, got, want)
		}
	}
	if _, err := SelectPoint(nil, "latest", now, zone); !errors.Is(err, fault.NotExist) {
		t.Errorf("no points at all: %v", err)
	}
}

// TestDaysAcrossDST: the day on which clocks are set back has 25 hours.
func TestDaysAcrossDST(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zone database on this host")
	}
	late := PointName{"aaaa1111", time.Date(2026, 10, 25, 23, 59, 0, 0, berlin)}
	next := PointName{"bbbb2222", time.Date(2026, 10, 26, 0, 1, 0, 0, berlin)}
	i, err := SelectPoint([]PointName{late, next}, "2026-10-25", time.Date(2026, 11, 1, 0, 0, 0, 0, berlin), berlin)
	if err != nil || i != 0 {
		t.Errorf("point %d, %v", i, err)
	}
}

func TestSplitPointPath(t *testing.T) {
	for arg, want := range map[string]string{
		"latest":                       "latest /",
		"latest:/etc/x":                "latest /etc/x",
		"latest:etc/x":                 "latest /etc/x",
		"latest:":                      "latest /",
		"latest:/a:/b":                 "latest /a:/b",
		"2026-11-22":                   "2026-11-22 /",
		"2026-11-22:/etc":              "2026-11-22 /etc",
		"2026-11-22T10:00":             "2026-11-22T10:00 /",
		"2026-11-22T10:00:/etc":        "2026-11-22T10:00 /etc",
		"2026-11-22T10:00:05":          "2026-11-22T10:00:05 /",
		"2026-11-22T10:00:05:/e":       "2026-11-22T10:00:05 /e",
		"2026-11-22T10:00:etc":         "2026-11-22T10:00 /etc",
		"2026-11-22T10:00Z:etc":        "2026-11-22T10:00Z /etc",
		"2026-11-22T10:00:05+01:00":    "2026-11-22T10:00:05+01:00 /",
		"2026-11-22T10:00:05+01:00:/e": "2026-11-22T10:00:05+01:00 /e",
		"3d ago:/x":                    "3d ago /x",
	} {
		point, path := SplitPointPath(arg)
		if got := point + " " + path; got != want {
			t.Errorf("%q: %q, want %q", arg, got, want)
		}
	}
}

func FuzzPointArgument(f *testing.F) {
	f.Add("2026-11-22T10:00:05+01:00:/e")
	f.Add("999999y ago")
	f.Fuzz(func(t *testing.T, arg string) {
		point, path := SplitPointPath(arg)
		if !strings.HasPrefix(path, "/") {
			t.Fatalf("%q: path %q", arg, path)
		}
		i, err := SelectPoint(somePoints(), point, time.Date(2026, 11, 23, 10, 0, 0, 0, zone), zone)
		if err == nil && (i < 0 || i >= len(somePoints())) {
			t.Fatalf("%q: point %d", arg, i)
		}
	})
}
