package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// ParseRate reads bytes in a second: "20M", "1.5 MiB/s", "800k". K, M and G
// are powers of 1,000, with an i of 1,024.
func ParseRate(flag, s string) (int64, error) {
	n, err := humanize.ParseBytes(strings.TrimSuffix(strings.TrimSpace(s), "/s"))
	if err != nil || n == 0 || n > 1<<50 {
		return 0, Usage("--%s=%s: give bytes in a second, such as 20M or 512KiB", flag, s)
	}
	return int64(n), nil
}

// ParseSpan reads a time span: "90m", "12h", "30d", "2w", or several in turn,
// as in "1d12h".
func ParseSpan(flag, s string) (time.Duration, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	total, rest := time.Duration(0), s
	for rest != "" {
		i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if i < 1 {
			return 0, badSpan(flag, s)
		}
		n, err := strconv.ParseUint(rest[:i], 10, 31)
		unit, ok := units[rest[i]]
		if err != nil || !ok || time.Duration(n) > 200*365*24*time.Hour/unit {
			return 0, badSpan(flag, s)
		}
		total, rest = total+time.Duration(n)*unit, rest[i+1:]
	}
	if total <= 0 || total > 200*365*24*time.Hour {
		return 0, badSpan(flag, s)
	}
	return total, nil
}

func badSpan(flag, s string) error {
	return Usage("--%s=%s: give a time span such as 90m, 12h, 30d or 2w", flag, s)
}
