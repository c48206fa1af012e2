package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Span is a length of time as a configuration writes it: "90s", "1h30m", or
// days and weeks of 24 and 168 hours: "14d", "2w".
type Span time.Duration

// maxSpan is the longest that can be written, in hours.
const maxSpan = 100 * 366 * 24

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := ParseSpan(string(text))
	*s = Span(d)
	return err
}

// ParseSpan reads a length of time.
func ParseSpan(text string) (time.Duration, error) {
	for unit, hours := range map[string]int{"d": 24, "w": 7 * 24} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.Atoi(number)
			if err != nil || n < 0 || n > maxSpan/hours {
				return 0, wrongSpan(text)
			}
			return time.Duration(n*hours) * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxSpan*time.Hour {
		return 0, wrongSpan(text)
	}
	return d, nil
}

func wrongSpan(text string) error {
	return fmt.Errorf("%q: a length of time is like \"90s\", \"15m\", \"4h\", \"14d\" or \"2w\": %w", text, fault.Invalid)
}

// String returns the span in the form that UnmarshalText reads.
func (s Span) String() string {
	if d := time.Duration(s); d != 0 && d%(24*time.Hour) == 0 {
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	text := time.Duration(s).String()
	for _, zero := range []string{"m0s", "h0m"} { // 2h0m0s is 2h
		if rest, ok := strings.CutSuffix(text, zero); ok {
			text = rest + zero[:1]
		}
	}
	return text
}
