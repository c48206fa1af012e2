package schedule

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func compiled(t testing.TB, r Rule) *Schedule {
	t.Helper()
	s, err := New(r, time.UTC)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return s
}

// TestOddNights goes through the nights in which Vienna's clock skips and
// repeats an hour. Slots are written with their offset: the second 02:30 of a
// night has another one than the first.
func TestOddNights(t *testing.T) {
	const spring, autumn = "2026-03-29T01:00:00+01:00", "2026-10-25T01:00:00+02:00"
	for _, c := range []struct {
		rule Rule
		from string
		want []string
	}{
		{Rule{At: []string{"02:30"}}, spring, []string{"03-29 03:00 +02", "03-30 02:30 +02"}},
		{Rule{At: []string{"02:10", "02:50", "03:00"}}, spring, []string{"03-29 03:00 +02", "03-30 02:10 +02"}},
		{Rule{At: []string{"02:30"}}, autumn, []string{"10-25 02:30 +02", "10-26 02:30 +01"}},
		{Rule{At: []string{"01:30", "03:30"}}, autumn, []string{"10-25 01:30 +02", "10-25 03:30 +01"}},
		{Rule{Cron: "30 2 * * *"}, spring, []string{"03-29 03:00 +02", "03-30 02:30 +02"}},
		{Rule{Cron: "30 2 * * *"}, autumn, []string{"10-25 02:30 +02", "10-26 02:30 +01"}},
		{Rule{Cron: "*/30 * * * *"}, "2026-03-29T01:15:00+01:00", []string{"03-29 01:30 +01", "03-29 03:00 +02", "03-29 03:30 +02"}},
		{Rule{Cron: "*/30 * * * *"}, "2026-10-25T02:15:00+02:00",
			[]string{"10-25 02:30 +02", "10-25 02:00 +01", "10-25 02:30 +01", "10-25 03:00 +01"}},
		{Rule{Cron: "@hourly"}, "2026-10-25T01:15:00+02:00", []string{"10-25 02:00 +02", "10-25 02:00 +01", "10-25 03:00 +01"}},
		{Rule{Cron: "@daily"}, autumn, []string{"10-26 00:00 +01"}},
		{Rule{Every: Span(4 * time.Hour)}, "2026-03-28T23:00:00+01:00",
			[]string{"03-29 00:00 +01", "03-29 05:00 +02", "03-29 09:00 +02", "03-29 13:00 +02", "03-29 17:00 +02", "03-29 21:00 +02", "03-30 00:00 +02"}},
		{Rule{Every: Span(4 * time.Hour)}, "2026-10-25T00:00:00+02:00",
			[]string{"10-25 03:00 +01", "10-25 07:00 +01", "10-25 11:00 +01", "10-25 15:00 +01", "10-25 19:00 +01", "10-25 23:00 +01", "10-26 00:00 +01"}},
	} {
		c.rule.Zone = "Europe/Vienna"
		s := compiled(t, c.rule)
		at, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			at = s.Next(at)
			if got := at.Format("01-02 15:04 -07"); got != want {
				t.Errorf("%+v after %s: %s, want %s", c.rule, c.from, got, want)
				break
			}
		}
	}
}

// TestWhereMidnightIsOdd: in Havana the clock skips from 00:00 to 01:00 and
// goes back from 01:00 to 00:00; Samoa skipped the whole of 2011-12-30.
func TestWhereMidnightIsOdd(t *testing.T) {
	for _, c := range []struct {
		zone, from string
		want       []string
	}{
		{"America/Havana", "2026-03-07T23:00:00-05:00", []string{"03-08 01:00 -04", "03-09 00:00 -04"}},
		{"America/Havana", "2026-10-31T23:00:00-04:00", []string{"11-01 00:00 -04", "11-02 00:00 -05"}},
		{"Pacific/Apia", "2011-12-29T12:00:00-10:00", []string{"12-31 00:00 +14", "01-01 00:00 +14"}},
	} {
		for _, rule := range []Rule{{At: []string{"00:00"}}, {Cron: "0 0 * * *"}, {Every: Span(24 * time.Hour)}} {
			rule.Zone = c.zone
			s := compiled(t, rule)
			at, err := time.Parse(time.RFC3339, c.from)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				at = s.Next(at)
				if got := at.Format("01-02 15:04 -07"); got != want {
					t.Errorf("%+v: %s, want %s", rule, got, want)
					break
				}
			}
		}
	}
}

func TestWeeks(t *testing.T) {
	s := compiled(t, Rule{At: []string{"18:00"}, Days: []string{"mon", "fri"}, EveryWeeks: 3, First: "2026-11-25"})
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, want := range []string{"2026-11-02", "2026-11-06", "2026-11-23", "2026-11-27", "2026-12-14", "2026-12-18", "2027-01-04"} {
		at = s.Next(at)
		if got := at.Format(time.DateOnly); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func TestWrongRules(t *testing.T) {
	for want, r := range map[string]Rule{
		"say when":                            {},
		"three ways":                          {Every: Span(time.Hour), Cron: "@daily"},
		`zone "Mars" is not`:                  {Zone: "Mars", Cron: "@daily"},
		`zone "Local" is not`:                 {Zone: "Local", Cron: "@daily"},
		"every: 30s, but":                     {Every: Span(30 * time.Second)},
		"every: 25h0m0s, but":                 {Every: Span(25 * time.Hour)},
		`at: "25:00": a time of day is`:       {At: []string{"25:00"}},
		`at: "1:00": a time of day is`:        {At: []string{"1:00"}},
		`days: "monday": a day is`:            {Days: []string{"monday"}},
		"every_weeks: -1":                     {EveryWeeks: -1},
		`first: "tomorrow": a date is`:        {EveryWeeks: 2, First: "tomorrow"},
		"first belongs to every_weeks":        {At: []string{"01:00"}, First: "2026-11-23"},
		"give five fields":                    {Cron: "0 0 * * * *"},
		"syntax error in hour field":          {Cron: "0 24 * * *"},
		"that day never comes":                {Cron: "0 0 31 2 *"},
		"jitter: 48h0m0s, but up to 24h0m0s ": {Cron: "@daily", Jitter: Span(48 * time.Hour)},
	} {
		if _, err := New(r, time.UTC); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", r, err, want)
		}
	}
}

// TestAgainstBruteForce compares 1,000 rules of all kinds with what one finds
// who looks at every minute and knows nothing but what the clock shows in it.
func TestAgainstBruteForce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	zones := []string{"UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Havana", "Africa/Casablanca"}
	odd := []time.Time{ // about changes of these clocks
		time.Date(2026, 3, 28, 20, 0, 0, 0, time.UTC), time.Date(2026, 10, 24, 20, 0, 0, 0, time.UTC),
		time.Date(2026, 3, 7, 20, 0, 0, 0, time.UTC), time.Date(2026, 10, 31, 20, 0, 0, 0, time.UTC),
		time.Date(2026, 4, 4, 8, 0, 0, 0, time.UTC), time.Date(2026, 10, 3, 8, 0, 0, 0, time.UTC),
		time.Date(2026, 2, 14, 20, 0, 0, 0, time.UTC), time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC),
	}
	for i := range 1000 {
		r := randomRule(random)
		r.Zone = zones[random.IntN(len(zones))]
		from := odd[random.IntN(len(odd))].Add(time.Duration(random.IntN(7200)) * time.Second)
		span := 28 * time.Hour
		if r.EveryWeeks > 0 {
			from, span = from.AddDate(0, 0, -4), 9*24*time.Hour
		}
		s := compiled(t, r)
		var got, want []string
		for at := s.Next(from); at.Before(from.Add(span)) && !at.IsZero(); at = s.Next(at) {
			got = append(got, at.Format(time.RFC3339))
		}
		want = bruteForce(r, zone(t, r.Zone), from, from.Add(span))
		if !slices.Equal(got, want) {
			t.Fatalf("rule %d: %+v after %v:\ngot  %v\nwant %v", i, r, from.In(zone(t, r.Zone)), got, want)
		}
	}
}

func randomRule(random *rand.Rand) Rule {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	clocks := func() (list []string) {
		for range 1 + random.IntN(4) {
			list = append(list, fmt.Sprintf("%02d:%02d", random.IntN(24), random.IntN(60)))
			list = append(list, fmt.Sprintf("%02d:%02d", random.IntN(4), random.IntN(60)))
		}
		return list
	}
	days := func() (list []string) {
		for _, d := range weekdays {
			if random.IntN(3) > 0 {
				list = append(list, d)
			}
		}
		return list
	}
	switch random.IntN(13) {
	case 0, 1, 2, 3:
		return Rule{Every: Span(time.Duration(1+random.IntN(1439)) * time.Minute)}
	case 4, 5, 6, 7:
		return Rule{At: clocks(), Days: days()}
	case 8:
		r := Rule{At: clocks(), Days: days(), EveryWeeks: 1 + random.IntN(2)}
		if r.EveryWeeks > 1 && random.IntN(2) == 0 {
			r.First = pick("2026-01-05", "2026-03-01", "2026-11-23")
		}
		return r
	}
	return Rule{Cron: strings.Join([]string{
		pick("0", "30", "*/7", "5-40/5", "1,2,59", "*"), pick("*", "*/2", "1-3", "2", "0,1,2,3", "23"),
		pick("*", "*", "1-28/3", "25,29,8"), pick("*", "*", "2-11", "mar,apr,oct,nov"), pick("*", "*", "0,6", "mon-fri", "7"),
	}, " ")}
}

// bruteForce looks at every minute. It shares nothing with what it is compared
// to: no arithmetic of weeks or zones, and a reader of cron lines of its own.
func bruteForce(r Rule, z *time.Location, from, to time.Time) (slots []string) {
	shown := map[int64]bool{} // wall times that came before
	at := from.Truncate(time.Minute).Add(-6 * time.Hour)
	last := at.Add(-time.Minute).In(z)
	var midnight time.Time
	for latest := int64(0); at.Before(to); at = at.Add(time.Minute) {
		local := at.In(z)
		wall := wallOf(local)
		again := shown[wall.Unix()]
		shown[wall.Unix()] = true
		if day := wall.Unix() / 86400; day > latest { // not on the way back over midnight
			latest, midnight = day, at
			// The first minutes of this loop do not begin at a midnight.
			for x := at.Add(-time.Minute); wallOf(x.In(z)).Unix()/86400 == day; x = x.Add(-time.Minute) {
				midnight = x
			}
		}
		var walls []time.Time // that the clock shows or skips in this minute
		_, now := local.Zone()
		_, before := last.Zone()
		for skipped := range max(0, (now-before)/60) {
			walls = append(walls, wallOf(last).Add(time.Duration(skipped+1)*time.Minute))
		}
		if !again {
			walls = append(walls, wall)
		}
		last = local
		var hit bool
		switch {
		case r.Every != 0:
			hit = at.Sub(midnight)%time.Duration(r.Every) == 0
		case r.Cron == "":
			hit = slices.ContainsFunc(walls, func(w time.Time) bool { return weeklyMatches(&r, w) })
		case strings.HasPrefix(strings.Fields(r.Cron)[1], "*"):
			hit = cronMatches(r.Cron, wall)
		default:
			hit = slices.ContainsFunc(walls, func(w time.Time) bool { return cronMatches(r.Cron, w) })
		}
		if hit && at.After(from) {
			slots = append(slots, local.Format(time.RFC3339))
		}
	}
	return slots
}

func wallOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return time.Unix(t.Unix()+int64(offset), 0).UTC().Truncate(time.Minute)
}

func weeklyMatches(r *Rule, w time.Time) bool {
	hour, minute, _ := w.Clock()
	on := slices.ContainsFunc(r.At, func(at string) bool {
		return int(at[0]-'0')*10+int(at[1]-'0') == hour && int(at[3]-'0')*10+int(at[4]-'0') == minute
	})
	if !on || len(r.Days) > 0 && !slices.Contains(r.Days, strings.ToLower(w.Format("Mon"))) {
		return false
	}
	if r.EveryWeeks < 2 {
		return true
	}
	monday := func(t time.Time) time.Time {
		for t.Weekday() != time.Monday {
			t = t.AddDate(0, 0, -1)
		}
		return t.Truncate(24 * time.Hour)
	}
	first := time.Date(1970, 1, 5, 0, 0, 0, 0, time.UTC)
	if r.First != "" {
		first, _ = time.Parse(time.DateOnly, r.First)
	}
	weeks := int(monday(w).Sub(monday(first)).Hours()) / (7 * 24)
	return weeks%r.EveryWeeks == 0
}

func cronMatches(line string, w time.Time) bool {
	f := strings.Fields(line)
	matches := func(field string, value int) bool {
		for part := range strings.SplitSeq(field, ",") {
			if strings.ContainsAny(part, "abcdefghijklmnopqrstuvwxyz") {
				part = strings.NewReplacer("mar", "3", "apr", "4", "oct", "10", "nov", "11", "mon", "1", "fri", "5").Replace(part)
			}
			low, high, step := 0, 99, 1
			if span, by, ok := strings.Cut(part, "/"); ok {
				part = span
				step, _ = strconv.Atoi(by)
			}
			if part != "*" {
				from, to, span := strings.Cut(part, "-")
				low, _ = strconv.Atoi(from)
				if high = low; span {
					high, _ = strconv.Atoi(to)
				}
			}
			if value >= low && value <= high && (value-low)%step == 0 {
				return true
			}
		}
		return false
	}
	if !matches(f[0], w.Minute()) || !matches(f[1], w.Hour()) {
		return false
	}
	day, weekday := matches(f[2], w.Day()), matches(f[4], int(w.Weekday())) || matches(f[4], int(w.Weekday())+7)
	onDay := day && weekday
	if f[2] != "*" && f[4] != "*" {
		onDay = day || weekday
	}
	return matches(f[3], int(w.Month())) && onDay
}

// TestJitter: always the same for a machine, spread over machines, and within
// its bound.
func TestJitter(t *testing.T) {
	s := compiled(t, Rule{Cron: "@daily", Jitter: Span(time.Hour)})
	slot := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	var quarters [4]int
	for i := range 4000 {
		seed := fmt.Sprint("branch", i)
		d := s.Due(slot, seed).Sub(slot)
		if d < 0 || d >= time.Hour || s.Due(slot, seed).Sub(slot) != d {
			t.Fatalf("put off by %v", d)
		}
		quarters[d/(15*time.Minute)]++
	}
	for i, n := range quarters {
		if n < 850 || n > 1150 {
			t.Errorf("%d of 4000 in quarter %d", n, i)
		}
	}
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "4h": 4 * time.Hour, "14d": 14 * 24 * time.Hour, "2w": 14 * 24 * time.Hour} {
		var s Span
		if err := s.UnmarshalText([]byte(text)); err != nil || time.Duration(s) != want {
			t.Errorf("%s: %v, %v", text, s, err)
		}
		again, err := ParseSpan(s.String())
		if err != nil || again != want {
			t.Errorf("%s is written as %s, which is %v, %v", text, s, again, err)
		}
	}
	for _, text := range []string{"", "4", "-1h", "d", "-3d", "1e9w", "99999999d", "forever"} {
		if d, err := ParseSpan(text); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q is %v, %v", text, d, err)
		}
	}
}

func TestTable(t *testing.T) {
	work := []string{"mon", "tue", "wed", "thu", "fri"}
	table, err := NewTable([]Window{
		{Days: []string{"wed"}, From: "12:00", To: "13:00", Rate: "unlimited"},
		{Days: work, From: "08:00", To: "18:00", Rate: "512 KB/s"},
		{Days: []string{"sun"}, From: "22:00", To: "02:00", Rate: "1 MiB"},
	}, zone(t, "Europe/Vienna"))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]int64{
		"2026-11-23T08:00:00+01:00": 512_000, "2026-11-23T07:59:59+01:00": 0, "2026-11-23T17:59:59+01:00": 512_000, "2026-11-23T18:00:00+01:00": 0,
		"2026-11-25T12:30:00+01:00": 0, "2026-11-25T13:00:00+01:00": 512_000, "2026-11-28T10:00:00+01:00": 0,
		"2026-11-22T23:00:00+01:00": 1 << 20, "2026-11-23T01:59:00+01:00": 1 << 20, "2026-11-23T02:00:00+01:00": 0, "2026-11-22T01:00:00+01:00": 0,
		"2026-11-23T07:30:00+00:00": 512_000,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.Rate(when); got != want {
			t.Errorf("%s: %d, want %d", at, got, want)
		}
	}
	for want, w := range map[string]Window{
		`rate: "fast"`: {Rate: "fast"}, `rate: ""`: {}, `rate: "12"`: {Rate: "12"},
		`from: "8"`: {From: "8", Rate: "1 MB"}, `to: "24:00"`: {To: "24:00", Rate: "1 MB"}, `days: "x"`: {Days: []string{"x"}, Rate: "1 MB"},
	} {
		if _, err := NewTable([]Window{w}, time.UTC); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

// FuzzCron looks for lines that make the library panic, and for slots that do
// not move on.
func FuzzCron(f *testing.F) {
	for _, line := range []string{"@daily", "*/5 * * * *", "0 0 L * 5#3", "0 12 15W * ?", "30 2 29 2 *"} {
		f.Add(line, int64(1774742400))
	}
	vienna := zone(f, "Europe/Vienna")
	f.Fuzz(func(t *testing.T, line string, unix int64) {
		if len(line) > 200 || unix < 0 || unix > 4e9 {
			return
		}
		s, err := New(Rule{Cron: line}, vienna)
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		at := time.Unix(unix, 0)
		for range 3 {
			next := s.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%q after %v is %v", line, at, next)
			}
			at = next
		}
	})
}
