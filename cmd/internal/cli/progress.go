package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Progress is how far a long piece of work has come.
type Progress struct {
	Files, Bytes           uint64
	TotalFiles, TotalBytes uint64 // expected; 0: nobody knows
	Current                string // the file at hand
	Noun                   string // what Files counts; "" is "file". With another one no bytes are shown,
	ShowBytes              bool   // unless this is set
}

const (
	drawEvery  = 100 * time.Millisecond
	rateWindow = 5 * time.Second // the rate shown is that of about so long
)

// Meter shows progress in one line of a terminal. Where there is no terminal
// it shows nothing. Its methods may be called by many goroutines.
type Meter struct {
	out   io.Writer
	width func() (int, bool) // columns now: windows are resized
	now   func() time.Time

	mu          sync.Mutex
	start, last time.Time
	lastBytes   uint64
	rate        float64 // bytes a second, smoothed
	drawn       bool
}

// Meter returns the progress line of the App. With --quiet or --json it is
// silent. Nobody else may write to the terminal between its first Update and
// Clear.
func (a *App) Meter() *Meter {
	m := &Meter{out: a.Stderr, now: a.Now, start: a.Now(), last: a.Now()}
	m.width = func() (int, bool) { return Width(a.Stderr) }
	if a.Globals.Quiet || a.Globals.JSON {
		m.width = func() (int, bool) { return 0, false }
	}
	return m
}

// Poll draws what snapshot says until stop is called, which wipes the line and
// returns when nobody draws any more.
func (m *Meter) Poll(snapshot func() Progress) (stop func()) {
	if _, ok := m.width(); !ok {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(drawEvery)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				m.Update(snapshot())
			}
		}
	}()
	return func() {
		close(quit)
		<-gone
		m.Clear()
	}
}

// Update draws the line anew, ten times a second at most.
func (m *Meter) Update(p Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	past := now.Sub(m.last)
	if past < drawEvery {
		return
	}
	width, ok := m.width()
	if !ok {
		return
	}
	m.measure(p.Bytes, past)
	m.last = now
	fmt.Fprintf(m.out, "\r%s\x1b[K", progressLine(p, m.rate, now.Sub(m.start), width))
	m.drawn = true
}

// measure takes what came in since the last time into the smoothed rate.
func (m *Meter) measure(bytes uint64, past time.Duration) {
	rate := float64(bytes-min(bytes, m.lastBytes)) / past.Seconds()
	share := min(1, past.Seconds()/min(rateWindow.Seconds(), m.last.Sub(m.start).Seconds()+past.Seconds()))
	m.rate += (rate - m.rate) * share
	m.lastBytes = bytes
}

// Clear wipes the line.
func (m *Meter) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drawn {
		fmt.Fprint(m.out, "\r\x1b[K")
	}
	m.drawn = false
}

// progressLine is the line for a terminal of so many columns; it fills all
// but the last at most.
func progressLine(p Progress, rate float64, past time.Duration, width int) string {
	parts := []string{Duration(past.Truncate(time.Second))}
	if past < 10*time.Second {
		parts[0] = fmt.Sprintf("%d s", int(past.Seconds()))
	}
	noun := first(p.Noun, "file")
	files := Counted(p.Files, noun, noun+"s")
	if p.TotalFiles > p.Files {
		files = Count(p.Files) + " of " + Counted(p.TotalFiles, noun, noun+"s")
	}
	parts = append(parts, files)
	if p.Noun == "" || p.ShowBytes {
		parts = append(parts, Size(p.Bytes), Size(uint64(max(rate, 0)))+"/s")
	}
	if left, ok := timeLeft(p, rate, past); ok {
		parts = append(parts, left+" left")
	}
	line := cut(strings.Join(parts, ", "), width-1)
	if room := width - 1 - columns(line) - 2; p.Current != "" && room >= 12 {
		line += "  " + cutMiddle(Quote(p.Current), room)
	}
	return line
}

// timeLeft estimates from the bytes, or where there are none to speak of from
// the files, what is left. It says nothing in the first two seconds.
func timeLeft(p Progress, rate float64, past time.Duration) (string, bool) {
	const longest = 100 * time.Hour
	var seconds float64
	switch {
	case past < 2*time.Second:
		return "", false
	case p.TotalBytes > p.Bytes && rate >= 1:
		seconds = float64(p.TotalBytes-p.Bytes) / rate
	case p.TotalFiles > p.Files && p.Files > 0:
		seconds = float64(p.TotalFiles-p.Files) / (float64(p.Files) / past.Seconds())
	default:
		return "", false
	}
	if seconds > longest.Seconds() {
		return "", false
	}
	left := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	if left == 0 {
		return "", false
	}
	if left < 10*time.Second {
		return fmt.Sprintf("%d s", int(left.Seconds())), true
	}
	return Duration(left), true
}

// columns returns how wide a text is on a terminal; combining characters are
// counted too, so that it is rather too much than too little.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// runeColumns is 2 for the blocks of East Asian and pictorial characters.
func runeColumns(r rune) int {
	switch {
	case r < 0x1100:
		return 1
	case r <= 0x115f, 0x2e80 <= r && r <= 0xa4cf, 0xac00 <= r && r <= 0xd7a3, 0xf900 <= r && r <= 0xfaff,
		0xfe30 <= r && r <= 0xfe6f, 0xff00 <= r && r <= 0xff60, 0xffe0 <= r && r <= 0xffe6,
		0x2600 <= r && r <= 0x27bf, 0x1f000 <= r && r <= 0x3fffd:
		return 2
	}
	return 1
}

// cut shortens s to so many columns.
func cut(s string, width int) string {
	for i, r := range s {
		if width -= runeColumns(r); width < 0 {
			return s[:i]
		}
	}
	return s
}

// cutMiddle shortens s to so many columns and keeps both ends, of which the
// second one, with the file's name, is the longer.
func cutMiddle(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	head := cut(s, (width-1)/3)
	room := width - 1 - columns(head)
	at := len(s)
	for at > len(head) {
		r, n := utf8.DecodeLastRuneInString(s[:at])
		if room -= runeColumns(r); room < 0 {
			break
		}
		at -= n
	}
	return head + "…" + s[at:]
}
