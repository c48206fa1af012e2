// Package triage says whether a run looks as if somebody had encrypted the
// files that it saved.
//
// Nouns: [Counts] are what a run saw; a [History] is what the runs before saw,
// of the same paths; a [Verdict] is what to think of it. [Looks] says whether
// the beginning of a file looks encrypted.
//
// It only counts: nothing here reads a file or knows a key. It alarms for what
// a share of the files became, against what is usual for them, so that it is no
// matter of a single odd file; and it says nothing of first runs. Files whose
// beginning is left as it was, and files that are only deleted, it does not see.
package triage

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Counts are what a run saw of files.
type Counts struct {
	Files     uint64 `json:"files"` // of the point
	New       uint64 `json:"new"`
	Removed   uint64 `json:"removed"`
	Rewritten uint64 `json:"rewritten"` // that were there, with content that no point had
	Spoiled   uint64 `json:"spoiled"`   // of those: that look encrypted, and did not
	NewOdd    uint64 `json:"new_odd"`   // new ones that look encrypted
	Renamed   uint64 `json:"renamed"`   // gone, and beside them a new one with the name and one more suffix
	Suffixed  uint64 `json:"suffixed"`  // of those: with the most frequent suffix
	Suffix    string `json:"suffix"`    // which is that
	Known     uint64 `json:"known"`     // new ones with a suffix that known ransomware gives
	Notes     uint64 `json:"notes"`     // new ones that are called as a ransom note
}

// Level is how bad it looks.
type Level int

// The levels.
const (
	Fine Level = iota
	Warning
	Critical
)

// Verdict is what to think of a run.
type Verdict struct {
	Level   Level
	Reasons []string
}

// Suspicion is a run that looked bad, and that nobody has called fine.
type Suspicion struct {
	Point   string    `json:"point"`
	At      time.Time `json:"at"`
	Level   Level     `json:"level"`
	Reasons []string  `json:"reasons"`
}

// Past is one run of a History.
type Past struct {
	Sequence uint64 `json:"sequence"` // of its point
	Counts   Counts `json:"counts"`
	Suspect  bool   `json:"suspect,omitempty"`
}

// History is what the runs of the same paths saw, the oldest first.
type History struct {
	Runs      []Past     `json:"runs"`
	Suspicion *Suspicion `json:"suspicion,omitempty"`
}

const (
	maxRuns = 60
	floor   = 20 // files: less is no share of anything
	many    = 100
	usual   = 3 // times what runs before had is unusual

	mass       = 200 // rewritten files
	enoughRuns = 5   // before a mere number is unusual
)

// Add remembers a run.
func (h *History) Add(p Past) {
	h.Runs = append(h.Runs, p)
	h.Runs = h.Runs[max(0, len(h.Runs)-maxRuns):]
}

// Good returns the sequences of the newest points of which nothing bad is
// known, at most n.
func (h *History) Good(n int) []uint64 {
	var out []uint64
	for _, p := range slices.Backward(h.Runs) {
		if !p.Suspect && p.Sequence > 0 && len(out) < n {
			out = append(out, p.Sequence)
		}
	}
	return out
}

// most returns the most that a run which nobody suspects had of something.
func (h *History) most(of func(*Counts) uint64) (n uint64) {
	for i := range h.Runs {
		if !h.Runs[i].Suspect {
			n = max(n, of(&h.Runs[i].Counts))
		}
	}
	return n
}

// spoiled is how many files look encrypted that did not: rewritten, or gone
// with another one in their place.
func (c *Counts) spoiled() uint64 { return c.Spoiled + min(c.Removed, c.NewOdd) }

// Judge says what to think of a run after those of a history, of which there
// must be one.
func (h *History) Judge(c Counts) (v Verdict) {
	if len(h.Runs) == 0 {
		return v
	}
	before := c.Files + c.Removed - min(c.New, c.Files)
	say := func(level Level, format string, args ...any) {
		v.Level = max(v.Level, level)
		v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...))
	}
	spoiled := c.spoiled()
	large := spoiled*20 >= before || spoiled >= many && spoiled*2 >= c.Rewritten+c.New
	if spoiled >= floor && large && spoiled > usual*h.most((*Counts).spoiled) {
		say(Critical, "%d of %d files look encrypted, which did not before", spoiled, before)
	}
	switch {
	case c.Notes > 0 && (c.Known >= floor/2 || spoiled >= floor/2):
		say(Critical, "files are called as ransom notes are (%d), and %d look encrypted or have a suffix of known ransomware", c.Notes, max(spoiled, c.Known))
	case c.Known >= floor && c.Known > usual*h.most(func(c *Counts) uint64 { return c.Known }):
		say(Warning, "%d new files have a suffix that known ransomware gives", c.Known)
	}
	if c.Suffixed >= 2*floor && c.Suffixed*20 >= before && c.Suffixed*5 >= c.Renamed*4 && !slices.Contains(benign, c.Suffix) {
		say(Warning, "%d of %d files were given the suffix .%s", c.Suffixed, before, c.Suffix)
	}
	rewritten := func(c *Counts) uint64 { return c.Rewritten }
	if len(h.Runs) >= enoughRuns && c.Rewritten >= mass && c.Rewritten*10 >= before*6 && c.Rewritten > usual*h.most(rewritten) {
		say(Warning, "%d of %d files were rewritten, and never more than %d before", c.Rewritten, before, h.most(rewritten))
	}
	return v
}

// benign are suffixes that programs give.
var benign = []string{"gz", "bz2", "xz", "zst", "lz4", "br", "zip", "bak", "old", "orig", "save", "tmp", "part", "new", "1", "dpkg-old", "dpkg-dist", "rpmsave", "sha256", "sig", "asc"}

// suffixes are some that ransomware is known to give, of families that were
// spread widely.
var suffixes = map[string]bool{
	"locked": true, "encrypted": true, "crypt": true, "crypted": true, "cryptolocker": true, "lockbit": true, "abcd": true,
	"wncry": true, "wcry": true, "wannacry": true, "ryk": true, "ryuk": true, "conti": true, "revil": true, "sodinokibi": true,
	"locky": true, "zepto": true, "odin": true, "cerber": true, "cerber3": true, "gandcrab": true, "krab": true, "crab": true,
	"djvu": true, "djvuu": true, "stop": true, "dharma": true, "wallet": true, "phobos": true, "eking": true, "makop": true,
	"maze": true, "egregor": true, "blackcat": true, "akira": true, "hive": true, "play": true, "royal": true, "blackbasta": true,
	"basta": true, "medusa": true, "rhysida": true, "clop": true, "cl0p": true, "babyk": true, "babuk": true, "avos": true, "avos2": true,
	"avoslinux": true, "deadbolt": true, "qlocker": true, "ech0raix": true, "encrypt": true, "enc": true, "crypz": true, "cryp1": true, "xtbl": true,
	"aes256": true, "rsa4096": true, "petya": true, "snatch": true, "nefilim": true, "darkside": true, "royal_u": true, "bianlian": true,
}

// notes are beginnings and middles of the names of ransom notes.
var notes = []string{"how_to_decrypt", "how to decrypt", "how_to_recover", "how_to_restore", "how-to-restore", "decrypt_instruction", "decrypt-instruction", "help_decrypt",
	"help_recover", "recover_files", "recover-files", "restore-my-files", "restore_files", "restore-files", "your_files_are_encrypted", "!readme!",
	"readme_for_decrypt", "decrypt_my_files", "read_me_to_decrypt", "_readme.txt", "@please_read_me@", "ryukreadme", "files_encrypted", "how_to_back_files", "akira_readme", "decrypt_your_files"}

// IsNote says whether a file is called as a ransom note.
func IsNote(name string) bool {
	name = strings.ToLower(name)
	if i := strings.LastIndexByte(name, '.'); i >= 0 && !slices.Contains([]string{"txt", "html", "htm", "hta", "rtf"}, name[i+1:]) {
		return false
	}
	return slices.ContainsFunc(notes, func(part string) bool { return strings.Contains(name, part) })
}

// IsKnown says whether a file has a suffix that known ransomware gives.
func IsKnown(name string) bool {
	return suffixes[strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])] && strings.Contains(name, ".")
}
