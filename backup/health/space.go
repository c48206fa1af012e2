package health

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
)

const (
	day = 24 * time.Hour

	forecastDays = 30 // samples so old say how it goes
	leastDays    = 7  // fewer say nothing: a first backup is no growth

	warnDays, criticalDays = 14, 3
)

// Trend is how fast free space goes, and until when there is some.
type Trend struct {
	PerDay int64   `json:"bytes_per_day"`       // that it shrinks by; below 0: it grows
	Days   float64 `json:"days_left,omitempty"` // 0: it does not run out, as things are
}

// Forecast says when a place has no room left, by its samples, ascending; false
// if there are too few. It is the median of what any two days say (Theil and
// Sen): one large day, or a prune, does not move it.
func Forecast(samples []Sample, now time.Time) (Trend, bool) {
	var recent []Sample
	for _, s := range samples {
		if now.Sub(s.Time) <= forecastDays*day && !s.Time.After(now) {
			recent = append(recent, s)
		}
	}
	if len(recent) < 3 || recent[len(recent)-1].Time.Sub(recent[0].Time) < leastDays*day {
		return Trend{}, false
	}
	var slopes []float64
	for i, a := range recent {
		for _, b := range recent[i+1:] {
			if days := b.Time.Sub(a.Time).Hours() / 24; days >= 0.5 {
				slopes = append(slopes, float64(a.Free-b.Free)/days)
			}
		}
	}
	if len(slopes) == 0 {
		return Trend{}, false
	}
	slices.Sort(slopes)
	slope := slopes[len(slopes)/2]
	t := Trend{PerDay: int64(slope)}
	if slope >= 1 {
		t.Days = math.Max(0.1, float64(recent[len(recent)-1].Free)/slope)
	}
	return t, true
}

// Bounds of free space that is low whatever the trend: a part of the whole, but
// of large disks no more than that.
const (
	lowPart, lowBytes   = 20, 20 << 30 // a twentieth
	leastPart, leastLow = 100, 2 << 30 // a hundredth
)

func spaceLow(s *Space, samples []Sample, now time.Time) Change {
	c := Change{Kind: journal.SpaceLow, Note: "there is room"}
	left := fmt.Sprintf("%s of %s are free", size(s.Free), size(s.Total))
	trend, ok := Forecast(samples, now)
	days := math.Inf(1)
	if ok && trend.Days > 0 {
		days = trend.Days
		left += fmt.Sprintf(", and %s a day are used: enough for %.0f days", size(trend.PerDay), days)
	}
	switch {
	case days <= criticalDays || s.Free < min(s.Total/leastPart, leastLow):
		c.Severity, c.Text = journal.SeverityCritical, left
	case days <= warnDays || s.Free < min(s.Total/lowPart, lowBytes):
		c.Severity, c.Text = journal.SeverityWarning, left
	}
	return c
}
