package config

import (
	"regexp"
	"slices"
	"strings"
)

// The decoder tells the lines of what it cannot decode, and of nothing else. So
// the lines of keys are looked for in the text, which is known to be TOML: a
// line that begins with a key or a table's name, outside of strings and arrays
// that go over several.

var (
	headerLine = regexp.MustCompile(`^\s*(\[\[?)\s*([A-Za-z0-9_.\s"'-]+?)\s*\]`)
	keyLine    = regexp.MustCompile(`^\s*([A-Za-z0-9_."'-]+(?:\s*\.\s*[A-Za-z0-9_"'-]+)*)\s*=`)
	quoted     = regexp.MustCompile(`"""|'''|"(?:\\.|[^"\\])*"|'[^']*'|#.*`)
)

// spot is a key or table in the text.
type spot struct {
	place
	line int
	text string
}

// spots returns all keys and tables that begin a line.
func spots(data []byte) []spot {
	var list []spot
	var table place
	counts := map[string]int{} // tables of arrays so far, by name
	fence, depth, n := "", 0, 0
	for text := range strings.Lines(string(data)) {
		n++
		if fence != "" { // in a string of several lines
			before, after, ok := strings.Cut(text, fence)
			if !ok {
				continue
			}
			_, text, fence = before, after, ""
		} else if depth == 0 {
			if m := headerLine.FindStringSubmatch(text); m != nil {
				table = tablePlace(names(m[2]), m[1] == "[[", counts)
				list = append(list, spot{table, n, text})
				continue
			}
			if m := keyLine.FindStringSubmatch(text); m != nil {
				list = append(list, spot{append(slices.Clone(table), names(m[1])...), n, text})
			}
		}
		bare := quoted.ReplaceAllStringFunc(text, func(s string) string {
			if s == `"""` || s == "'''" {
				return s
			}
			return ""
		})
		for _, mark := range []string{`"""`, "'''"} {
			if strings.Count(bare, mark)%2 == 1 {
				fence = mark
			}
		}
		depth = max(0, depth+strings.Count(bare, "[")-strings.Count(bare, "]"))
	}
	return list
}

// names splits a dotted key.
func names(key string) place {
	var p place
	for part := range strings.SplitSeq(key, ".") {
		p = append(p, strings.Trim(strings.TrimSpace(part), `"'`))
	}
	return p
}

// tablePlace puts the numbers of arrays into the name of a table.
func tablePlace(name place, array bool, counts map[string]int) place {
	var p place
	for i, step := range name {
		p = append(p, step)
		key := p.String()
		if array && i == len(name)-1 {
			counts[key]++
		}
		if counts[key] > 0 {
			p = append(p, counts[key]-1)
		}
	}
	return p
}

// lineOf returns the line on which a place is, that of the table around it if
// it does not begin one, and 0 if that is not known, either. In a place without
// numbers all tables of an array are meant.
func lineOf(data []byte, where place) int {
	all := spots(data)
	last, _ := where[max(0, len(where)-1)].(string)
	for n := len(where); n > 0; n-- {
		line := 0
		for _, s := range all {
			if !s.is(where[:n]) {
				continue
			}
			if n == len(where) || strings.Contains(s.text, last) {
				return s.line
			}
			if line == 0 {
				line = s.line
			}
		}
		if line != 0 {
			return line
		}
	}
	return 0
}

// is compares places; the other may lack numbers.
func (p place) is(other place) bool {
	if slices.Equal(p, other) {
		return true
	}
	return !slices.ContainsFunc(other, isNumber) && slices.Equal(slices.DeleteFunc(slices.Clone(p), isNumber), other)
}
