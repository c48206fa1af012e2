package config

import (
	"slices"
	"strings"
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
	text, n := string(data), 1
	for _, st := range scan(text) {
		if st.kind != other {
			list = append(list, spot{st.where, n, text[st.start:st.end]})
		}
		n += strings.Count(text[st.start:st.end], "\n")
	}
	return list
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
