package schedule

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Window is a time of the week with a rate, as a configuration has it.
type Window struct {
	Days []string `toml:"days"` // "mon", "tue" …, on which it begins; none: all
	From string   `toml:"from"` // "HH:MM"; "": midnight
	To   string   `toml:"to"`   // "HH:MM"; before From: of the next day; "": midnight
	Rate string   `toml:"rate"` // in a second: "512 KB", "2 MiB", "unlimited"
}

// Table says how many bytes a second are allowed at which times.
type Table struct {
	zone    *time.Location
	windows []window
}

type window struct {
	days     [7]bool
	from, to int // minutes of the day; to may be of the next
	rate     int64
}

const (
	dayMinutes = 24 * 60
	maxWindows = 100
	minRate    = 1 << 10 // slower would never end
)

// NewTable checks windows; what is wrong with them is fault.Invalid. Their
// times are those of the zone.
func NewTable(list []Window, zone *time.Location) (*Table, error) {
	if len(list) > maxWindows {
		return nil, fmt.Errorf("throttle: %d windows, but %d are possible: %w", len(list), maxWindows, fault.Invalid)
	}
	t := &Table{zone: zone}
	for _, w := range list {
		p, why := w.parse()
		if why != "" {
			return nil, fmt.Errorf("throttle: %s: %w", why, fault.Invalid)
		}
		t.windows = append(t.windows, p)
	}
	return t, nil
}

func (w *Window) parse() (p window, why string) {
	if p.days, why = parseDays(w.Days); why != "" {
		return p, why
	}
	p.to = dayMinutes
	for _, end := range []struct {
		name, text string
		to         *int
	}{{"from", w.From, &p.from}, {"to", w.To, &p.to}} {
		if end.text == "" {
			continue
		}
		c, ok := parseClock(end.text)
		if !ok {
			return p, fmt.Sprintf("%s: %q: a time of day is \"HH:MM\"", end.name, end.text)
		}
		*end.to = c.hour*60 + c.minute
	}
	if p.to <= p.from {
		p.to += dayMinutes
	}
	p.rate, why = parseRate(w.Rate)
	return p, why
}

func parseRate(text string) (int64, string) {
	if text == "unlimited" {
		return 0, ""
	}
	n, err := humanize.ParseBytes(strings.TrimSuffix(strings.TrimSpace(text), "/s"))
	switch {
	case err != nil:
		return 0, fmt.Sprintf("rate: %q: a rate is like \"512 KB\" or \"2 MiB\" (a second), or \"unlimited\"", text)
	case n < minRate || n > math.MaxInt64:
		return 0, fmt.Sprintf("rate: %q: 1 KiB a second is the least", text)
	}
	return int64(n), ""
}

// Rate returns the bytes a second that are allowed at a moment; 0 is no bound.
// The first window that holds the moment decides.
func (t *Table) Rate(at time.Time) int64 {
	at = at.In(t.zone)
	minute := at.Hour()*60 + at.Minute()
	today := at.Weekday()
	yesterday := (today + 6) % 7
	for _, w := range t.windows {
		if w.days[today] && minute >= w.from && minute < w.to ||
			w.days[yesterday] && minute+dayMinutes >= w.from && minute+dayMinutes < w.to {
			return w.rate
		}
	}
	return 0
}
