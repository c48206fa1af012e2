package retain

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const stampForm = "2006-01-02 15:04:05 -0700"

// Times of day in nights in which the clock is changed, and on days that a
// zone has not.
func TestInstant(t *testing.T) {
	for _, c := range []struct{ zone, day, clock, want string }{
		{"Europe/Vienna", "2026-03-29", "01:59", "2026-03-29 01:59:00 +0100"},
		{"Europe/Vienna", "2026-03-29", "02:30", "2026-03-29 03:30:00 +0200"}, // skipped
		{"Europe/Vienna", "2026-03-29", "03:00", "2026-03-29 03:00:00 +0200"},
		{"Europe/Vienna", "2026-10-25", "02:30", "2026-10-25 02:30:00 +0200"}, // comes twice
		{"Europe/Vienna", "2026-10-25", "03:00", "2026-10-25 03:00:00 +0100"},
		{"Europe/Vienna", "2026-10-24", "18:00", "2026-10-24 18:00:00 +0200"},
		{"America/New_York", "2026-03-08", "02:00", "2026-03-08 03:00:00 -0400"},
		{"America/New_York", "2026-11-01", "01:00", "2026-11-01 01:00:00 -0400"},
		{"Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-04 02:45:00 +1100"}, // half an hour
		{"Asia/Kathmandu", "2026-01-01", "00:00", "2026-01-01 00:00:00 +0545"},
		{"Pacific/Apia", "2011-12-30", "12:00", "2011-12-31 12:00:00 +1400"}, // a day that was none
		{"America/Sao_Paulo", "2018-11-04", "00:00", "2018-11-04 01:00:00 -0200"},
		{"UTC", "2026-02-28", "23:59", "2026-02-28 23:59:00 +0000"},
	} {
		d, err := time.Parse("2006-01-02", c.day)
		if err != nil {
			t.Fatal(err)
		}
		clock, err := time.Parse("15:04", c.clock)
		if err != nil {
			t.Fatal(err)
		}
		got := instant(dateOf(d), clock.Hour()*3600+clock.Minute()*60, zone(t, c.zone)).Format(stampForm)
		if got != c.want {
			t.Errorf("%s, %s %s: %s, want %s", c.zone, c.day, c.clock, got, c.want)
		}
	}
}

// Slots, each as the latest that is due at a time.
func TestLatestSlot(t *testing.T) {
	for _, c := range []struct {
		policy string
		tier   ledger.Tier
		at     string
		want   string
	}{
		{`{"daily": {"keep": 7}}`, ledger.Daily, "2026-03-29 00:00:00 +0000", "2026-03-29 00:00:00 +0000"},
		{`{"daily": {"keep": 7, "at": ["09:00", "18:00"]}}`, ledger.Daily, "2026-03-29 08:59:59 +0000", "2026-03-28 18:00:00 +0000"},
		// The night in which 2:30 is skipped: it is due at 3:30 of the new time.
		{`{"zone": "Europe/Vienna", "daily": {"keep": 7, "at": ["02:30"]}}`, ledger.Daily, "2026-03-29 03:29:59 +0200", "2026-03-28 02:30:00 +0100"},
		{`{"zone": "Europe/Vienna", "daily": {"keep": 7, "at": ["02:30"]}}`, ledger.Daily, "2026-03-29 03:30:00 +0200", "2026-03-29 03:30:00 +0200"},
		// The night in which it comes twice: due once, the first time.
		{`{"zone": "Europe/Vienna", "daily": {"keep": 7, "at": ["02:30"]}}`, ledger.Daily, "2026-10-25 02:40:00 +0100", "2026-10-25 02:30:00 +0200"},
		{`{"zone": "Europe/Vienna", "hourly": {"keep": 7}}`, ledger.Hourly, "2026-10-25 02:40:09 +0100", "2026-10-25 02:00:00 +0100"},
		{`{"zone": "Asia/Kathmandu", "hourly": {"keep": 7}}`, ledger.Hourly, "2026-10-25 02:40:09 +0545", "2026-10-25 02:00:00 +0545"},
		{`{"weekly": {"keep": 4, "days": ["sat"]}}`, ledger.Weekly, "2026-11-27 23:59:59 +0000", "2026-11-21 00:00:00 +0000"},
		{`{"weekly": {"keep": 4, "days": ["sat", "mon"]}}`, ledger.Weekly, "2026-11-27 23:59:59 +0000", "2026-11-23 00:00:00 +0000"},
		{`{"weekly": {"keep": 4, "days": ["sun"], "at": ["23:00"]}}`, ledger.Weekly, "2026-11-22 22:59:59 +0000", "2026-11-15 23:00:00 +0000"},
		{`{"monthly": {"keep": 3, "on": ["31"]}}`, ledger.Monthly, "2026-03-01 00:00:00 +0000", "2026-02-28 00:00:00 +0000"},
		{`{"monthly": {"keep": 3, "on": ["last"]}}`, ledger.Monthly, "2028-03-01 00:00:00 +0000", "2028-02-29 00:00:00 +0000"},
		{`{"monthly": {"keep": 3, "on": ["15", "1"]}}`, ledger.Monthly, "2026-03-14 00:00:00 +0000", "2026-03-01 00:00:00 +0000"},
		{`{"monthly": {"keep": 3, "on": ["last sat"]}}`, ledger.Monthly, "2026-11-28 00:00:00 +0000", "2026-11-28 00:00:00 +0000"},
		{`{"monthly": {"keep": 3, "on": ["last sat"]}}`, ledger.Monthly, "2026-11-27 00:00:00 +0000", "2026-10-31 00:00:00 +0000"},
		{`{"monthly": {"keep": 3, "on": ["first sun"]}}`, ledger.Monthly, "2026-11-30 00:00:00 +0000", "2026-11-01 00:00:00 +0000"},
		{`{"monthly": {"keep": 3, "on": ["fourth fri"]}}`, ledger.Monthly, "2026-11-30 00:00:00 +0000", "2026-11-27 00:00:00 +0000"},
		{`{"yearly": {"keep": 1, "months": ["feb"], "on": ["30"]}}`, ledger.Yearly, "2026-02-27 23:00:00 +0000", "2025-02-28 00:00:00 +0000"},
		{`{"yearly": {"keep": 1, "months": ["mar"], "on": ["last sat"]}}`, ledger.Yearly, "2027-03-26 00:00:00 +0000", "2026-03-28 00:00:00 +0000"},
		{`{"yearly": {"keep": 1, "months": ["dec", "jun"], "on": ["last"], "at": ["23:59"]}}`, ledger.Yearly, "2027-01-01 00:00:00 +0000", "2026-12-31 23:59:00 +0000"},
		// East of midnight UTC the day is another one.
		{`{"zone": "Pacific/Kiritimati", "monthly": {"keep": 3, "on": ["1"]}}`, ledger.Monthly, "2026-03-31 10:00:00 +0000", "2026-04-01 00:00:00 +1400"},
	} {
		p := parse(t, c.policy)
		at, err := time.Parse(stampForm, c.at)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := p.latest(c.tier, at)
		if !ok || got.Format(stampForm) != c.want {
			t.Errorf("%s at %s: %s, want %s", c.policy, c.at, got.Format(stampForm), c.want)
		}
	}
}

// Lives end by the calendar, and where it has no such day later, never sooner.
func TestEnd(t *testing.T) {
	for _, c := range []struct {
		policy string
		tier   ledger.Tier
		from   string
		want   string
	}{
		{`{"daily": {"keep": 7}, "zone": "Europe/Vienna"}`, ledger.Daily, "2026-03-25 10:00:00 +0100", "2026-04-01 10:00:00 +0200"},
		{`{"daily": {"keep": 7}, "zone": "Europe/Vienna"}`, ledger.Daily, "2026-03-22 02:30:00 +0100", "2026-03-29 03:30:00 +0200"},
		{`{"daily": {"keep": 7}, "zone": "Europe/Vienna"}`, ledger.Daily, "2026-10-25 02:30:00 +0100", "2026-11-01 03:30:00 +0100"},
		{`{"weekly": {"keep": 4}}`, ledger.Weekly, "2026-02-01 00:00:01 +0000", "2026-03-01 00:00:01 +0000"},
		{`{"monthly": {"keep": 3}}`, ledger.Monthly, "2026-11-30 00:00:00 +0000", "2027-03-02 00:00:00 +0000"},
		{`{"yearly": {"keep": 1}}`, ledger.Yearly, "2028-02-29 12:00:00 +0000", "2029-03-01 12:00:00 +0000"},
		{`{"yearly": {"keep": 99}}`, ledger.Yearly, "2026-01-01 00:00:00 +0000", "2125-01-01 00:00:00 +0000"},
		{`{"monthly": {"keep": 1188}}`, ledger.Monthly, "2026-01-01 00:00:00 +0000", "2125-01-01 00:00:00 +0000"},
		{`{"hourly": {"keep": 24}, "zone": "Europe/Vienna"}`, ledger.Hourly, "2026-03-28 12:00:00 +0100", "2026-03-29 13:00:00 +0200"},
	} {
		p := parse(t, c.policy)
		from, err := time.Parse(stampForm, c.from)
		if err != nil {
			t.Fatal(err)
		}
		got := time.Unix(p.end(c.tier, from.Unix()), 0).In(p.location).Format(stampForm)
		if got != c.want {
			t.Errorf("%s from %s: %s, want %s", c.policy, c.from, got, c.want)
		}
	}
}

// Whatever the zone and the time: a slot is not in the future, the slot of a
// later time is not earlier, a slot is its own latest, and a later arrival
// does not end sooner.
func TestSlotsAscend(t *testing.T) {
	zones := []string{"UTC", "Europe/Vienna", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "America/St_Johns"}
	rapid.Check(t, func(r *rapid.T) {
		p := parse(t, `{"zone": "`+rapid.SampledFrom(zones).Draw(r, "zone")+`", "hourly": {"keep": 5},
			"daily": {"keep": 7, "at": ["00:30", "02:15", "23:59"]}, "weekly": {"keep": 4, "days": ["sun", "wed"], "at": ["02:30"]},
			"monthly": {"keep": 3, "on": ["31", "first sun", "last"], "at": ["01:30"]}, "yearly": {"keep": 2, "months": ["mar", "oct"], "on": ["last sun"], "at": ["02:00"]}}`)
		tier := rapid.SampledFrom(tiers[:]).Draw(r, "tier")
		a := rapid.Int64Range(1<<30, 1<<32).Draw(r, "a")
		b := a + rapid.Int64Range(0, 400*day).Draw(r, "step")
		slotA, ok := p.latest(tier, unix(a))
		slotB, ok2 := p.latest(tier, unix(b))
		if !ok || !ok2 || slotA.After(unix(a)) || slotB.Before(slotA) {
			r.Fatalf("%v at %d: %v, at %d: %v", tier, a, slotA, b, slotB)
		}
		if again, _ := p.latest(tier, slotA); !again.Equal(slotA) {
			r.Fatalf("the slot %v has the slot %v", slotA, again)
		}
		if tier < ledger.Monthly && p.end(tier, b) < p.end(tier, a)-3600 || p.end(tier, a) <= a {
			r.Fatalf("%v: %d ends %d, %d ends %d", tier, a, p.end(tier, a), b, p.end(tier, b))
		}
	})
}
