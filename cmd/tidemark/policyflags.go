package main

import (
	"fmt"
	iofs "io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// policyFlags are changes of a policy.
type policyFlags struct {
	hourly, daily, weekly, monthly, yearly                                     int
	dailyAt, weeklyOn, weeklyAt, monthlyOn, monthlyAt, yearlyIn, yearlyOn, yAt []string

	last                  int
	within, others, grace string
	floors                []string
	zone                  string
}

// policyFlagNames are all of them.
var policyFlagNames = [...]string{"hourly", "daily", "daily-at", "weekly", "weekly-on", "weekly-at", "monthly", "monthly-on", "monthly-at",
	"yearly", "yearly-in", "yearly-on", "yearly-at", "keep-last", "keep-within", "others", "soft-delete", "floor", "zone"}

func (p *policyFlags) declare(c *cobra.Command) {
	f := c.Flags()
	f.IntVar(&p.hourly, "hourly", 0, "keep a point of each hour so many `HOURS`; 0: no more")
	f.IntVar(&p.daily, "daily", 0, "keep a point of each day so many `DAYS`, 7 to 9999; 0: no more")
	f.StringSliceVar(&p.dailyAt, "daily-at", nil, "times of day, such as 09:00,18:00 (default 00:00)")
	f.IntVar(&p.weekly, "weekly", 0, "keep a point of each week so many `WEEKS`, 4 to 5163")
	f.StringSliceVar(&p.weeklyOn, "weekly-on", nil, "days, such as sat or mon,fri (default sun)")
	f.StringSliceVar(&p.weeklyAt, "weekly-at", nil, "times of day")
	f.IntVar(&p.monthly, "monthly", 0, "keep a point of each month so many `MONTHS`, 3 to 1188")
	f.StringSliceVar(&p.monthlyOn, "monthly-on", nil, "days: 1 to 31, last, \"first mon\" … \"last sat\" (default 1)")
	f.StringSliceVar(&p.monthlyAt, "monthly-at", nil, "times of day")
	f.IntVar(&p.yearly, "yearly", 0, "keep a point of each year so many `YEARS`, 1 to 99")
	f.StringSliceVar(&p.yearlyIn, "yearly-in", nil, "months, such as mar or jan,jul (default jan)")
	f.StringSliceVar(&p.yearlyOn, "yearly-on", nil, "days of the month, as for --monthly-on")
	f.StringSliceVar(&p.yAt, "yearly-at", nil, "times of day")
	f.IntVar(&p.last, "keep-last", 0, "keep the newest `N` points, however old")
	f.StringVar(&p.within, "keep-within", "", "keep every point so long, such as 14d")
	f.StringVar(&p.others, "others", "", "keep points that no tier wants so long (default 7d)")
	f.StringVar(&p.grace, "soft-delete", "", "deleted points can be had back so long, 14d to 180d (default 14d)")
	f.StringSliceVar(&p.floors, "floor", nil, "the least that later policies keep: daily=7,weekly=4,monthly=3,yearly=1")
	f.StringVar(&p.zone, "zone", "", "time zone of days and times, such as Europe/Vienna (default: this machine's)")
}

// readPolicy reads a policy from a file of JSON.
func readPolicy(path string) (*retain.Policy, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	p, err := retain.ParsePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// apply returns the policy that an edit asks for: a file's, or what is in
// force (nil for nothing), changed by the flags that were given.
func (p *policyFlags) apply(c *cobra.Command, args []string, old *retain.Policy) (*retain.Policy, error) {
	var next *retain.Policy
	var err error
	switch {
	case len(args) > 0:
		if next, err = readPolicy(args[0]); err != nil {
			return nil, err
		}
	case old != nil:
		next = old.Clone()
	default:
		next = &retain.Policy{Zone: localZone()}
	}
	given := c.Flags().Changed
	p.tiers(given, next)
	if given("keep-last") {
		next.KeepLast = p.last
	}
	if given("zone") {
		next.Zone = p.zone
	}
	for _, d := range []struct {
		flag, text string
		days       *int
	}{{"keep-within", p.within, &next.KeepWithinDays}, {"others", p.others, &next.OthersDays}, {"soft-delete", p.grace, &next.SoftDeleteDays}} {
		if given(d.flag) {
			if *d.days, err = parseDays(d.flag, d.text); err != nil {
				return nil, err
			}
		}
	}
	if err := p.floor(next); err != nil {
		return nil, err
	}
	return next, next.Validate()
}

// tier applies the flags of one tier, of which keep is the first.
func tier[T any](given func(string) bool, name string, keep int, now **T, set func(*T)) {
	if given(name) && keep == 0 {
		*now = nil
		return
	}
	for _, more := range []string{"", "-at", "-on", "-in"} {
		if given(name + more) {
			if *now == nil {
				*now = new(T)
			}
			set(*now)
			return
		}
	}
}

func (p *policyFlags) tiers(given func(string) bool, next *retain.Policy) {
	number := func(flag string, value int, to *int) {
		if given(flag) {
			*to = value
		}
	}
	list := func(flag string, value []string, to *[]string) {
		if given(flag) {
			*to = value
		}
	}
	tier(given, "hourly", p.hourly, &next.Hourly, func(t *retain.Hourly) { number("hourly", p.hourly, &t.Keep) })
	tier(given, "daily", p.daily, &next.Daily, func(t *retain.Daily) {
		number("daily", p.daily, &t.Keep)
		list("daily-at", p.dailyAt, &t.At)
	})
	tier(given, "weekly", p.weekly, &next.Weekly, func(t *retain.Weekly) {
		number("weekly", p.weekly, &t.Keep)
		list("weekly-on", p.weeklyOn, &t.Days)
		list("weekly-at", p.weeklyAt, &t.At)
	})
	tier(given, "monthly", p.monthly, &next.Monthly, func(t *retain.Monthly) {
		number("monthly", p.monthly, &t.Keep)
		list("monthly-on", p.monthlyOn, &t.On)
		list("monthly-at", p.monthlyAt, &t.At)
	})
	tier(given, "yearly", p.yearly, &next.Yearly, func(t *retain.Yearly) {
		number("yearly", p.yearly, &t.Keep)
		list("yearly-in", p.yearlyIn, &t.Months)
		list("yearly-on", p.yearlyOn, &t.On)
		list("yearly-at", p.yAt, &t.At)
	})
}

func (p *policyFlags) floor(next *retain.Policy) error {
	for _, f := range p.floors {
		name, number, ok := strings.Cut(f, "=")
		n, err := strconv.Atoi(number)
		to := map[string]*int{"daily": &next.Floors.Daily, "weekly": &next.Floors.Weekly, "monthly": &next.Floors.Monthly, "yearly": &next.Floors.Yearly}[name]
		if !ok || err != nil || to == nil {
			return cli.Usage("--floor %q: give a tier and a number, as in daily=7", f)
		}
		*to = n
	}
	return nil
}

// parseDays reads a number of days: "14d", "2w", or "14".
func parseDays(flag, text string) (int, error) {
	times, digits := 1, strings.TrimSuffix(text, "d")
	if digits == text && strings.HasSuffix(text, "w") {
		times, digits = 7, strings.TrimSuffix(text, "w")
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n > 1e6 {
		return 0, cli.Usage("--%s %q: give a number of days, as in 14d", flag, text)
	}
	return n * times, nil
}

// localZone returns the name of this machine's time zone, "UTC" if it has none
// that others know.
func localZone() string {
	name := os.Getenv("TZ")
	if target, err := os.Readlink("/etc/localtime"); name == "" && err == nil {
		if _, after, ok := strings.Cut(target, "zoneinfo/"); ok {
			name = after
		}
	}
	if name == "" || !iofs.ValidPath(name) {
		return "UTC"
	}
	if err := (&retain.Policy{Zone: name}).Validate(); err != nil {
		return "UTC"
	}
	return name
}
