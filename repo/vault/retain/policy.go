package retain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a policy's zone means the same on a machine that has no zones of its own

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

// Policy says how long points live. The zero Policy is not valid: see
// ParsePolicy. Members are those of FORMAT.md, section 11.5.
type Policy struct {
	Zone           string    `json:"zone" toml:"zone"`
	Hourly         *Hourly   `json:"hourly,omitempty" toml:"hourly"`
	Daily          *Daily    `json:"daily,omitempty" toml:"daily"`
	Weekly         *Weekly   `json:"weekly,omitempty" toml:"weekly"`
	Monthly        *Monthly  `json:"monthly,omitempty" toml:"monthly"`
	Yearly         *Yearly   `json:"yearly,omitempty" toml:"yearly"`
	KeepLast       int       `json:"keep_last,omitempty" toml:"keep_last"`
	KeepWithinDays int       `json:"keep_within_days,omitempty" toml:"keep_within_days"`
	OthersDays     int       `json:"others_days" toml:"others_days"`
	SoftDeleteDays int       `json:"soft_delete_days" toml:"soft_delete_days"`
	Floors         Floors    `json:"floors,omitzero" toml:"floors"`
	Immutable      Immutable `json:"immutable" toml:"immutable"`

	location *time.Location
}

// Hourly keeps a point of each hour.
type Hourly struct {
	Keep int `json:"keep" toml:"keep"` // hours
}

// Daily keeps the points of times of each day.
type Daily struct {
	Keep int      `json:"keep" toml:"keep"` // days
	At   []string `json:"at,omitempty" toml:"at"`
}

// Weekly keeps the points of days of the week.
type Weekly struct {
	Keep int      `json:"keep" toml:"keep"` // weeks
	Days []string `json:"days,omitempty" toml:"days"`
	At   []string `json:"at,omitempty" toml:"at"`
}

// Monthly keeps the points of days of the month.
type Monthly struct {
	Keep int      `json:"keep" toml:"keep"` // months
	On   []string `json:"on,omitempty" toml:"on"`
	At   []string `json:"at,omitempty" toml:"at"`
}

// Yearly keeps the points of days of months.
type Yearly struct {
	Keep   int      `json:"keep" toml:"keep"` // years
	Months []string `json:"months,omitempty" toml:"months"`
	On     []string `json:"on,omitempty" toml:"on"`
	At     []string `json:"at,omitempty" toml:"at"`
}

// Floors are the least that later policies may keep; 0 is none.
type Floors struct {
	Daily   int `json:"daily,omitempty" toml:"daily"`     // days
	Weekly  int `json:"weekly,omitempty" toml:"weekly"`   // weeks
	Monthly int `json:"monthly,omitempty" toml:"monthly"` // months
	Yearly  int `json:"yearly,omitempty" toml:"yearly"`   // years
}

// Immutable says whether lives may be cut short.
type Immutable string

// The kinds of immutability.
const (
	ImmutableOff    Immutable = "off"
	ImmutableOn     Immutable = "on"     // nothing is cut short until it is turned off
	ImmutableLocked Immutable = "locked" // it cannot be turned off any more
)

// The bounds of what a policy may say.
const (
	MinDaily, MaxDaily           = 7, 9999   // days
	MinWeekly, MaxWeekly         = 4, 5163   // weeks
	MinMonthly, MaxMonthly       = 3, 1188   // months
	MinYearly, MaxYearly         = 1, 99     // years
	MaxHourly                    = 9999      // hours
	MaxKeepLast                  = 9999      // points
	MaxWithin                    = 99 * 365  // days
	MaxOthers                    = 9999      // days
	MinSoft, MaxSoft             = 14, 180   // days
	maxTimes                     = 96        // times of a day
	day                    int64 = 24 * 3600 // seconds

	defaultOthers = 7
)

var (
	weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	months   = [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	nths     = [...]string{"first", "second", "third", "fourth", "last"}
)

// ParsePolicy reads a policy, fills in what it leaves out, and checks it. What
// is wrong with it is fault.Invalid.
func ParsePolicy(text []byte) (*Policy, error) {
	if len(text) > ledger.MaxPolicy {
		return nil, fmt.Errorf("policy of %d bytes: %w", len(text), fault.TooLarge)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	p := &Policy{}
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("policy: %w: %w", err, fault.Invalid)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("policy: something follows it: %w", fault.Invalid)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return p, nil
}

// Marshal returns the policy as JSON.
func (p *Policy) Marshal() []byte {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		panic(err) // it holds numbers and strings only
	}
	return b
}

// Clone returns a policy that shares nothing with p.
func (p *Policy) Clone() *Policy {
	c, err := ParsePolicy(p.Marshal())
	if err != nil {
		panic(err) // p was valid
	}
	return c
}

// Validate fills in what is left out and checks the policy.
func (p *Policy) Validate() error {
	p.fill()
	bad := func(format string, args ...any) error {
		return fmt.Errorf("policy: %s: %w", fmt.Sprintf(format, args...), fault.Invalid)
	}
	var err error
	if p.location, err = time.LoadLocation(p.Zone); err != nil || p.Zone == "Local" {
		return bad("zone %q is not in the database of time zones", p.Zone)
	}
	for _, b := range p.bounds() {
		if b.on && (b.n < b.low || b.n > b.high) {
			return bad("%s: %d %s, but %d to %d are possible", b.name, b.n, b.unit, b.low, b.high)
		}
	}
	for _, f := range p.floors() {
		if f.keep > 0 && f.floor > 0 && f.keep < f.floor {
			return bad("%s: %d %s, but the floor is %d", f.name, f.keep, f.unit, f.floor)
		}
	}
	for _, l := range p.lists() {
		if why := l.wrong(); why != "" {
			return bad("%s", why)
		}
	}
	switch p.Immutable {
	case ImmutableOff, ImmutableOn, ImmutableLocked:
		return nil
	}
	return bad("immutable is %q, not off, on or locked", p.Immutable)
}

func (p *Policy) fill() {
	either := func(s *[]string, standard string) {
		if len(*s) == 0 {
			*s = []string{standard}
		}
	}
	const midnight = "00:00"
	if p.Zone == "" {
		p.Zone = "UTC"
	}
	if p.Immutable == "" {
		p.Immutable = ImmutableOff
	}
	if p.OthersDays == 0 {
		p.OthersDays = defaultOthers
	}
	if p.SoftDeleteDays == 0 {
		p.SoftDeleteDays = MinSoft
	}
	if t := p.Daily; t != nil {
		either(&t.At, midnight)
	}
	if t := p.Weekly; t != nil {
		either(&t.Days, "sun")
		either(&t.At, midnight)
	}
	if t := p.Monthly; t != nil {
		either(&t.On, "1")
		either(&t.At, midnight)
	}
	if t := p.Yearly; t != nil {
		either(&t.Months, "jan")
		either(&t.On, "1")
		either(&t.At, midnight)
	}
}

// bound is a number of a policy and what it may be.
type bound struct {
	name, unit   string
	on           bool
	n, low, high int
}

func (p *Policy) bounds() []bound {
	keep := p.keeps()
	return []bound{
		{"hourly", "hours", p.Hourly != nil, keep[ledger.Hourly], 1, MaxHourly},
		{"daily", "days", p.Daily != nil, keep[ledger.Daily], MinDaily, MaxDaily},
		{"weekly", "weeks", p.Weekly != nil, keep[ledger.Weekly], MinWeekly, MaxWeekly},
		{"monthly", "months", p.Monthly != nil, keep[ledger.Monthly], MinMonthly, MaxMonthly},
		{"yearly", "years", p.Yearly != nil, keep[ledger.Yearly], MinYearly, MaxYearly},
		{"keep_last", "points", true, p.KeepLast, 0, MaxKeepLast},
		{"keep_within_days", "days", true, p.KeepWithinDays, 0, MaxWithin},
		{"others_days", "days", true, p.OthersDays, 1, MaxOthers},
		{"soft_delete_days", "days", true, p.SoftDeleteDays, MinSoft, MaxSoft},
		{"floors.daily", "days", p.Floors.Daily != 0, p.Floors.Daily, MinDaily, MaxDaily},
		{"floors.weekly", "weeks", p.Floors.Weekly != 0, p.Floors.Weekly, MinWeekly, MaxWeekly},
		{"floors.monthly", "months", p.Floors.Monthly != 0, p.Floors.Monthly, MinMonthly, MaxMonthly},
		{"floors.yearly", "years", p.Floors.Yearly != 0, p.Floors.Yearly, MinYearly, MaxYearly},
	}
}

// keeps returns what the tiers keep, in their units; 0 for those that are off.
func (p *Policy) keeps() [ledger.Others + 1]int {
	var k [ledger.Others + 1]int
	if p.Hourly != nil {
		k[ledger.Hourly] = p.Hourly.Keep
	}
	if p.Daily != nil {
		k[ledger.Daily] = p.Daily.Keep
	}
	if p.Weekly != nil {
		k[ledger.Weekly] = p.Weekly.Keep
	}
	if p.Monthly != nil {
		k[ledger.Monthly] = p.Monthly.Keep
	}
	if p.Yearly != nil {
		k[ledger.Yearly] = p.Yearly.Keep
	}
	k[ledger.Within], k[ledger.Others] = p.KeepWithinDays, p.OthersDays
	return k
}

// keep returns what a tier keeps, 0 for one that is off or of a later version.
func (p *Policy) keep(t ledger.Tier) int {
	if k := p.keeps(); int(t) < len(k) {
		return k[t]
	}
	return 0
}

type floor struct {
	name, unit  string
	keep, floor int
}

func (p *Policy) floors() []floor {
	k := p.keeps()
	return []floor{
		{"daily", "days", k[ledger.Daily], p.Floors.Daily},
		{"weekly", "weeks", k[ledger.Weekly], p.Floors.Weekly},
		{"monthly", "months", k[ledger.Monthly], p.Floors.Monthly},
		{"yearly", "years", k[ledger.Yearly], p.Floors.Yearly},
	}
}

// words is a list of a policy and what may stand in it.
type words struct {
	name  string
	list  []string
	known func(string) bool
	hint  string
	order bool // must ascend
}

func (p *Policy) lists() []words {
	var all []words
	at := func(tier string, list []string) {
		all = append(all, words{tier + ".at", list, isTime, `a time of day is "HH:MM"`, true})
	}
	on := func(tier string, list []string) {
		all = append(all, words{tier + ".on", list, isDate, `a day is a date 1 to 31, "last", or like "first mon" or "last sat"`, false})
	}
	if t := p.Daily; t != nil {
		at("daily", t.At)
	}
	if t := p.Weekly; t != nil {
		all = append(all, words{"weekly.days", t.Days, among(weekdays[:]), `a day is "mon", "tue" …`, false})
		at("weekly", t.At)
	}
	if t := p.Monthly; t != nil {
		on("monthly", t.On)
		at("monthly", t.At)
	}
	if t := p.Yearly; t != nil {
		all = append(all, words{"yearly.months", t.Months, among(months[:]), `a month is "jan", "feb" …`, false})
		on("yearly", t.On)
		at("yearly", t.At)
	}
	return all
}

// wrong says what is wrong with the list, "" if nothing.
func (w *words) wrong() string {
	if len(w.list) > maxTimes {
		return fmt.Sprintf("%s: %d of them, but %d are possible", w.name, len(w.list), maxTimes)
	}
	for i, s := range w.list {
		switch {
		case !w.known(s):
			return fmt.Sprintf("%s: %q: %s", w.name, s, w.hint)
		case slices.Contains(w.list[:i], s):
			return fmt.Sprintf("%s: %q stands there twice", w.name, s)
		case w.order && i > 0 && s < w.list[i-1]:
			return fmt.Sprintf("%s: %q comes after %q", w.name, w.list[i-1], s)
		}
	}
	return ""
}

func among(list []string) func(string) bool {
	return func(s string) bool { return slices.Contains(list, s) }
}

func isTime(s string) bool {
	_, err := time.Parse("15:04", s)
	return err == nil && len(s) == len("15:04")
}

func isDate(s string) bool {
	if nth, weekday, ok := strings.Cut(s, " "); ok {
		return slices.Contains(nths[:], nth) && slices.Contains(weekdays[:], weekday)
	}
	n, err := strconv.Atoi(s)
	return s == "last" || err == nil && n >= 1 && n <= 31 && strconv.Itoa(n) == s
}
