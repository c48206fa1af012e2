package exclude

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// glob is a compiled pattern without its prefix and suffix signs: a list of
// parts, which match from left to right. The literals at both ends, which
// most patterns have, stand apart: they reject almost every name at once.
type glob struct {
	head  string // the text begins with it
	tail  string // and ends with it
	need  string // and holds it between: the longest literal there
	parts []part // match what is between; nil: nothing is between
}

type partKind uint8

const (
	text    partKind = iota // exactly these bytes
	one                     // one character but '/'
	set                     // one character of a set, never '/'
	star                    // any number of characters but '/'
	folders                 // any number of "name/", also none
	rest                    // everything to the end
)

type part struct {
	kind partKind
	text string
	set  *charSet
}

// charSet is what stands in brackets.
type charSet struct {
	negate  bool
	ranges  []charRange
	classes []func(rune) bool
}

type charRange struct{ low, high rune }

// parseGlob compiles the pattern; the leading slash, if any, is text.
func parseGlob(pattern string) (glob, error) {
	var parts []part
	var lit []byte
	flush := func() {
		if len(lit) > 0 {
			parts = append(parts, part{kind: text, text: string(lit)})
			lit = lit[:0]
		}
	}
	for i := 0; i < len(pattern); {
		switch pattern[i] {
		case '\\':
			if i+1 == len(pattern) {
				return glob{}, errBackslash
			}
			lit = append(lit, pattern[i+1])
			i += 2
		case '?':
			flush()
			parts = append(parts, part{kind: one})
			i++
		case '[':
			s, n, err := parseSet(pattern[i:])
			if err != nil {
				return glob{}, err
			}
			flush()
			parts = append(parts, part{kind: set, set: s})
			i += n
		case '*':
			flush()
			kind, n := parseStars(pattern, i)
			parts = append(parts, part{kind: kind})
			i += n
		default:
			lit = append(lit, pattern[i])
			i++
		}
	}
	flush()
	return newGlob(parts), nil
}

// parseStars tells what the stars at i stand for and how many bytes of the
// pattern they take. Two or more stars cross folders only where they stand
// alone between slashes; elsewhere they are one star.
func parseStars(pattern string, i int) (partKind, int) {
	n := 1
	for i+n < len(pattern) && pattern[i+n] == '*' {
		n++
	}
	if n == 1 || i > 0 && pattern[i-1] != '/' {
		return star, n
	}
	switch after := pattern[i+n:]; {
	case after == "":
		return rest, n
	case after[0] == '/':
		return folders, n + 1
	case strings.HasPrefix(after, `\/`):
		return folders, n + 2
	}
	return star, n
}

func newGlob(parts []part) glob {
	var g glob
	if n := len(parts); n > 0 && parts[0].kind == text {
		g.head, parts = parts[0].text, parts[1:]
	}
	if n := len(parts); n > 0 && parts[n-1].kind == text && crossesNothing(parts[:n-1]) {
		g.tail, parts = parts[n-1].text, parts[:n-1]
	}
	for _, p := range parts {
		if len(p.text) > len(g.need) {
			g.need = p.text
		}
	}
	if len(parts) > 0 {
		g.parts = parts
	}
	return g
}

// crossesNothing reports whether the literal after these parts always is the
// end of the text. After "folders" it is too, but then it has to begin where
// a name begins, which a comparison of the ends alone does not see.
func crossesNothing(parts []part) bool {
	return len(parts) > 0 && parts[len(parts)-1].kind != folders
}

// literal returns the one text that g matches, if there is only one.
func (g glob) literal() (string, bool) {
	return g.head, g.parts == nil
}

// match reports whether g matches all of s.
func (g *glob) match(s string) bool {
	if g.parts == nil {
		return s == g.head
	}
	if len(s) < len(g.head)+len(g.tail) || !strings.HasSuffix(s, g.tail) || !strings.HasPrefix(s, g.head) {
		return false
	}
	s = s[len(g.head) : len(s)-len(g.tail)]
	if len(g.parts) == 1 && g.parts[0].kind == star {
		return strings.IndexByte(s, '/') < 0
	}
	return strings.Contains(s, g.need) && matchParts(g.parts, s)
}

// matchParts walks text and parts side by side. On a mismatch it goes back
// to the last star and lets it take one character more, or, where the star
// met a slash, to the last "folders", which takes one folder more. Going back
// further is never needed: what an earlier one could take more, the later one
// can take as well. So the work is bounded by len(parts) * len(s) for each
// folder that is tried, and nothing is allocated.
func matchParts(parts []part, s string) bool {
	const none = -1
	starPart, starAt := none, 0
	deepPart, deepAt := none, 0
	p, at := 0, 0
	for {
		if p < len(parts) {
			switch parts[p].kind {
			case star:
				starPart, starAt = p, at
				p++
				continue
			case folders:
				deepPart, deepAt = p, at
				starPart = none
				p++
				continue
			case rest:
				return true
			}
			if n := parts[p].step(s[at:]); n > 0 {
				at += n
				p++
				continue
			}
		} else if at == len(s) {
			return true
		}
		if starPart != none && starAt < len(s) && s[starAt] != '/' {
			_, n := utf8.DecodeRuneInString(s[starAt:])
			starAt += n
			p, at = starPart+1, starAt
			continue
		}
		if deepPart == none {
			return false
		}
		slash := strings.IndexByte(s[deepAt:], '/')
		if slash < 0 {
			return false
		}
		deepAt += slash + 1
		starPart = none
		p, at = deepPart+1, deepAt
	}
}

// step returns how many bytes at the start of s a part of fixed length takes,
// 0 if it does not match.
func (p *part) step(s string) int {
	if p.kind == text {
		if strings.HasPrefix(s, p.text) {
			return len(p.text)
		}
		return 0
	}
	if s == "" || s[0] == '/' {
		return 0
	}
	r, n := rune(s[0]), 1
	if r >= utf8.RuneSelf {
		r, n = utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			r = -rune(s[0]) // a byte that is no character: in no range
		}
	}
	if p.kind == one || p.set.has(r) {
		return n
	}
	return 0
}

func (c *charSet) has(r rune) bool {
	for _, x := range c.ranges {
		if x.low <= r && r <= x.high {
			return !c.negate
		}
	}
	for _, is := range c.classes {
		if r >= 0 && is(r) {
			return !c.negate
		}
	}
	return c.negate
}

// parseSet parses what begins with '[' and returns its length in bytes.
func parseSet(s string) (*charSet, int, error) {
	set := &charSet{}
	i := 1
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		set.negate = true
		i++
	}
	for first := true; ; first = false {
		if i >= len(s) {
			return nil, 0, errOpenBracket
		}
		if s[i] == ']' && !first {
			return set, i + 1, nil
		}
		if strings.HasPrefix(s[i:], "[:") {
			n, err := set.addClass(s[i:])
			if err != nil {
				return nil, 0, err
			}
			if n > 0 {
				i += n
				continue
			}
		}
		low, n, err := setChar(s[i:])
		if err != nil {
			return nil, 0, err
		}
		i += n
		high := low
		if i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			if high, n, err = setChar(s[i+1:]); err != nil {
				return nil, 0, err
			}
			i += 1 + n
			high = max(low, high) // of a reversed range git takes the first
		}
		set.ranges = append(set.ranges, charRange{low, high})
	}
}

// setChar reads one character of a set, which may be escaped.
func setChar(s string) (rune, int, error) {
	skip := 0
	if s[0] == '\\' {
		if len(s) == 1 {
			return 0, 0, errOpenBracket
		}
		skip = 1
	}
	r, n := utf8.DecodeRuneInString(s[skip:])
	if r == utf8.RuneError && n == 1 {
		r = -rune(s[skip]) // matches this byte in a name that is not UTF-8
	}
	return r, skip + n, nil
}

// addClass adds a class like [:alpha:] and returns its length, 0 if what
// stands there is no class but characters of the set.
func (c *charSet) addClass(s string) (int, error) {
	end := strings.IndexByte(s[2:], ']')
	if end < 0 {
		return 0, errOpenBracket
	}
	name, ok := strings.CutSuffix(s[2:2+end], ":")
	if !ok {
		return 0, nil
	}
	is := classNamed(name)
	if is == nil {
		return 0, errClass
	}
	c.classes = append(c.classes, is)
	return 2 + end + 1, nil
}

func classNamed(name string) func(rune) bool {
	switch name {
	case "alnum":
		return func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	case "alpha":
		return unicode.IsLetter
	case "blank":
		return func(r rune) bool { return r == ' ' || r == '\t' }
	case "cntrl":
		return unicode.IsControl
	case "digit":
		return func(r rune) bool { return '0' <= r && r <= '9' }
	case "graph":
		return func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }
	case "lower":
		return unicode.IsLower
	case "print":
		return unicode.IsPrint
	case "punct":
		return func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) }
	case "space":
		return unicode.IsSpace
	case "upper":
		return unicode.IsUpper
	case "xdigit":
		return func(r rune) bool { return r < utf8.RuneSelf && unicode.Is(unicode.ASCII_Hex_Digit, r) }
	}
	return nil
}
