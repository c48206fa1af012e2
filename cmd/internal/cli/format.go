package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Size returns a number of bytes for people, in units of 1,024.
func Size(n uint64) string { return humanize.IBytes(n) }

// Count returns a number with commas.
func Count(n uint64) string {
	if n >= 1<<63 {
		return fmt.Sprint(n)
	}
	return humanize.Comma(int64(n))
}

// Counted returns "1 file", "2 files".
func Counted(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Time returns a moment as lists show it.
func Time(t time.Time, zone *time.Location) string { return t.In(zone).Format("2006-01-02 15:04:05") }

// JSONTime returns a moment as it stands in JSON: RFC 3339, in UTC.
func JSONTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Duration returns a time span for people: "0.42 s", "12 s", "3:05", "2:03:05".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

// Table prints rows in columns; the first row is the heading. Columns whose
// heading begins with '>' are aligned to the right, without the sign.
func Table(w io.Writer, rows [][]string) error {
	right := make([]bool, len(rows[0]))
	heading := make([]string, len(rows[0]))
	for i, cell := range rows[0] {
		heading[i], right[i] = strings.CutPrefix(cell, ">")
	}
	rows = append([][]string{heading}, rows[1:]...)
	widths := make([]int, len(heading))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], columns(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-columns(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return fmt.Errorf("print table: %w", err)
		}
	}
	return nil
}
