package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// PointName is what a POINT argument can refer to.
type PointName struct {
	ID   string    // all its hexadecimal digits
	Time time.Time // when its run began
}

// SplitPointPath splits POINT[:PATH]. The path is absolute, "/" if none is
// given; a slash at its front may be left out where the point is no time of
// day, which has a colon itself.
func SplitPointPath(arg string) (point, path string) {
	at := strings.Index(arg, ":/")
	if at < 0 {
		at = strings.IndexByte(arg, ':')
		if timeOfDay.MatchString(arg) {
			if m := timeOfDayPath.FindStringSubmatchIndex(arg); m != nil {
				at = m[2]
			} else {
				at = -1
			}
		}
	}
	if at < 0 {
		return arg, "/"
	}
	point, path = arg[:at], arg[at+1:]
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return point, path
}

var (
	timeOfDay     = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:`)
	timeOfDayPath = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)?(:)(?:[^0-9]|$)`)
)

// minPrefix is the least number of digits that name a point.
const minPrefix = 4

// SelectPoint returns the index of the point that arg names. Points are in
// the order in which they were written.
//
//	latest                the newest point; latest-clean is for callers who can look into points
//	3f2a…                 the one whose ID begins so (4 digits or more)
//	2026-11-22            how things were at the end of that day
//	2026-11-22T10:00      … at the end of that minute
//	2026-11-22T10:00:05   … second; also with a zone (Z, +01:00)
//	2026-11-22_10-00-00   the folder of that name in a mount, also with -2
//	3d ago                … so long ago: s, min, h, d, w, mo, y
//	yesterday             at the end of yesterday
//
// A time means the newest point that began no later. Times without a zone are
// in the zone given. Where no point fits the error is fault.NotExist, and
// fault.Invalid if arg cannot be understood or several IDs begin with it.
func SelectPoint(points []PointName, arg string, now time.Time, zone *time.Location) (int, error) {
	if len(points) == 0 {
		return 0, Hint(fmt.Errorf("find recovery point %q: the repository has none yet: %w", arg, fault.NotExist),
			"`tidemark backup PATH` writes one")
	}
	if arg == "latest" {
		return newest(points, func(PointName) bool { return true }), nil
	}
	if i, ok := byFolder(points, arg, zone); ok {
		return i, nil
	}
	if end, ok := parseTime(arg, now.In(zone)); ok {
		i := newest(points, func(p PointName) bool { return p.Time.Before(end) })
		if i < 0 {
			oldest := points[0].Time
			for _, p := range points {
				if p.Time.Before(oldest) {
					oldest = p.Time
				}
			}
			return 0, fmt.Errorf("find recovery point %q: the oldest one is of %s: %w", arg, Time(oldest, zone), fault.NotExist)
		}
		return i, nil
	}
	return byID(points, arg)
}

// newest returns the latest of the points that fit, -1 if none does. Of equal
// times the one written last counts.
func newest(points []PointName, fits func(PointName) bool) int {
	found := -1
	for i, p := range points {
		if fits(p) && (found < 0 || !p.Time.Before(points[found].Time)) {
			found = i
		}
	}
	return found
}

func byID(points []PointName, arg string) (int, error) {
	prefix := strings.ToLower(arg)
	if len(prefix) < minPrefix || strings.Trim(prefix, "0123456789abcdef") != "" {
		return 0, Hint(Usage("%q names no recovery point", arg),
			"POINT is latest, an ID of %d digits or more, or a time such as 2026-11-22, 2026-11-22T10:00, \"3d ago\"", minPrefix)
	}
	found := -1
	for i, p := range points {
		if !strings.HasPrefix(p.ID, prefix) {
			continue
		}
		if found >= 0 {
			return 0, Usage("several recovery points begin with %q, among them %.16s and %.16s", arg, points[found].ID, p.ID)
		}
		found = i
	}
	if found < 0 {
		return 0, Hint(fmt.Errorf("find recovery point %q: %w", arg, fault.NotExist), "`tidemark points` lists them")
	}
	return found, nil
}

// FolderLayout is how a mount names the folder of a point, in local time.
const FolderLayout = "2006-01-02_15-04-05"

// byFolder finds a point by its folder in a mount: of several in one second,
// the later ones have -2, -3, … at their ends.
func byFolder(points []PointName, arg string, zone *time.Location) (int, bool) {
	if len(arg) < len(FolderLayout) {
		return 0, false
	}
	at, err := time.ParseInLocation(FolderLayout, arg[:len(FolderLayout)], zone)
	if err != nil {
		return 0, false
	}
	number := 1
	if rest := arg[len(FolderLayout):]; rest != "" {
		digits, ok := strings.CutPrefix(rest, "-")
		if number, err = strconv.Atoi(digits); !ok || err != nil || number < 2 {
			return 0, false
		}
	}
	for i, p := range points {
		if p.Time.In(zone).Format(FolderLayout) == at.Format(FolderLayout) {
			if number--; number == 0 {
				return i, true
			}
		}
	}
	return 0, false
}

// parseTime returns the first moment after the time that arg names.
func parseTime(arg string, now time.Time) (time.Time, bool) {
	day := func(t time.Time, days int) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day()+days, 0, 0, 0, 0, now.Location())
	}
	switch arg {
	case "now", "today":
		return now.Add(1), true
	case "yesterday":
		return day(now, 0), true
	}
	if t, err := time.ParseInLocation("2006-01-02", arg, now.Location()); err == nil {
		return day(t, 1), true
	}
	arg = strings.Replace(arg, " ", "T", 1)
	for _, l := range []struct {
		layout string
		length time.Duration
	}{
		{"2006-01-02T15:04", time.Minute}, {"2006-01-02T15:04Z07:00", time.Minute},
		{"2006-01-02T15:04:05", time.Second}, {"2006-01-02T15:04:05Z07:00", time.Second},
	} {
		if t, err := time.ParseInLocation(l.layout, arg, now.Location()); err == nil {
			return t.Add(l.length), true
		}
	}
	return ago(arg, now)
}

var agoForm = regexp.MustCompile(`^(\d{1,6})[ T]?(s|sec|m|min|h|d|w|mo|y|seconds?|minutes?|hours?|days?|weeks?|months?|years?)[ T-]ago$`)

// ago understands "3d ago", "2 weeks ago".
func ago(arg string, now time.Time) (time.Time, bool) {
	m := agoForm.FindStringSubmatch(strings.TrimSpace(arg))
	if m == nil {
		return time.Time{}, false
	}
	n, _ := strconv.Atoi(m[1]) // at most six digits
	var t time.Time
	switch unit := strings.TrimSuffix(m[2], "s"); unit {
	case "", "sec", "second": // "" is the lone s
		t = now.Add(-time.Duration(n) * time.Second)
	case "m", "min", "minute":
		t = now.Add(-time.Duration(n) * time.Minute)
	case "h", "hour":
		t = now.Add(-time.Duration(n) * time.Hour)
	case "d", "day":
		t = now.AddDate(0, 0, -n)
	case "w", "week":
		t = now.AddDate(0, 0, -7*n)
	case "mo", "month":
		t = now.AddDate(0, -n, 0)
	default:
		t = now.AddDate(-n, 0, 0)
	}
	return t.Add(1), true
}
