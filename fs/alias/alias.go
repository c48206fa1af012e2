// Package alias gives files other names where a client cannot have theirs.
//
// Names in a point are a server's bytes. Windows refuses some of them (a colon,
// a dot at the end, the name of a device) and hides the whole folder if one of
// them is in it; it also takes names for the same that differ in case only. It
// sees an alias: the name with the offending characters replaced, and the
// first digits of the name's hash. So the way back needs no state, only a look
// through the folder, and one file has the same alias for ever.
package alias

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Mark is what tells an alias: a tilde and 8 digits of the name's hash.
func Mark(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "~" + hex.EncodeToString(sum[:4])
}

// Is says whether a name may be an alias.
func Is(name string) bool {
	i := strings.LastIndexByte(name, '~')
	if i < 0 || len(name) < i+9 {
		return false
	}
	_, err := hex.DecodeString(name[i+1 : i+9])
	return err == nil
}

// Of returns the alias of a name, without the characters that are refused and
// without bytes that are no text. A short ending stays at the end: it says
// what opens the file.
func Of(name string, refuses func(rune) bool) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(name, "_") {
		if refuses(r) {
			r = '_'
		}
		b.WriteRune(r)
	}
	text, ending := cut(b.String())
	return join(text, Mark(name), ending)
}

// cut parts a name from its ending.
func cut(name string) (text, ending string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 6 {
		return name[:i], name[i:]
	}
	return name, ""
}

// longest is what a name may be long; the source's are no longer, but their
// aliases could be.
const longest = 255

// join puts the parts of an alias together, and shortens the first one if it
// has to.
func join(text, mark, ending string) string {
	if room := longest - len(mark) - len(ending); len(text) > room {
		text = strings.ToValidUTF8(text[:room], "")
	}
	return text + mark + ending
}

// Refused says whether Windows has a character in no name.
func Refused(r rune) bool { return r < ' ' || strings.ContainsRune(`<>:"|?*\`, r) }

// Legal says whether Windows can have a name as it is.
func Legal(name string) bool {
	return utf8.ValidString(name) && !strings.HasSuffix(name, ".") && !strings.HasSuffix(name, " ") &&
		!reserved(name) && !strings.ContainsFunc(name, Refused)
}

// reserved says whether Windows keeps a name for a device.
func reserved(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch base = strings.TrimRight(base, " "); base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	digit, com := strings.CutPrefix(base, "COM")
	if !com {
		if digit, com = strings.CutPrefix(base, "LPT"); !com {
			return false
		}
	}
	switch digit {
	case "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³":
		return true
	}
	return false
}

// ForWindows returns a name as Windows can have it, twins left aside.
func ForWindows(name string) string {
	if Legal(name) {
		return name
	}
	text := strings.TrimRight(Of(name, Refused), ". ")
	if reserved(text) { // COM1.a.b
		return join("_", text, "")
	}
	return text
}

// Fold is the form in which Windows compares names.
func Fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// Twins finds names of a folder that differ in nothing but case, of which
// Windows can have one. It keeps a hash a name; it is for one listing, from its
// beginning.
type Twins struct{ seen map[[8]byte]bool }

// Shown returns a name for Windows; of twins all but the first one have an
// alias.
func (t *Twins) Shown(name string) string {
	if t.seen == nil {
		t.seen = map[[8]byte]bool{}
	}
	shown := ForWindows(name)
	sum := sha256.Sum256([]byte(Fold(shown)))
	if t.seen[[8]byte(sum[:8])] {
		text, ending := cut(shown)
		return join(text, Mark(name), ending)
	}
	t.seen[[8]byte(sum[:8])] = true
	return shown
}
