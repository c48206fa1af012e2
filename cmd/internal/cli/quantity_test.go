package cli

import (
	"testing"
	"time"
)

func TestParseSpan(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "1d12h": 36 * time.Hour, "30d": 720 * time.Hour, "2w": 336 * time.Hour, "1s": time.Second,
	} {
		if d, err := ParseSpan("max-age", s); err != nil || d != want {
			t.Errorf("%s: %v %v", s, d, err)
		}
	}
	for _, s := range []string{"", "0d", "d", "3", "-1d", "1y", "1.5h", "99999999999d", "200000d", "1d x", "300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w300w"} {
		if d, err := ParseSpan("max-age", s); err == nil || ExitCode(err) != ExitUsage {
			t.Errorf("%q: %v %v", s, d, err)
		}
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]int64{"20M": 20_000_000, "1MiB/s": 1 << 20, "512KiB": 512 << 10, "7": 7} {
		if n, err := ParseRate("limit", s); err != nil || n != want {
			t.Errorf("%s: %d %v", s, n, err)
		}
	}
	for _, s := range []string{"", "0", "-3", "x", "1Z", "99999999999999999T"} {
		if n, err := ParseRate("limit", s); err == nil || ExitCode(err) != ExitUsage {
			t.Errorf("%q: %d %v", s, n, err)
		}
	}
}
