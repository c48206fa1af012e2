package config

import (
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Where things stand in the text of a configuration. The decoder tells values
// and not their places, and both messages and edits need these: so the text,
// which the decoder has found to be TOML, is cut into statements here.

// statement is a header of a table, a key with its value, or a line of neither.
type statement struct {
	kind       kind
	start, end int   // its lines, with their ends
	where      place // of the table or key
	key        [2]int
	value      [2]int // without comment and space around
}

type kind uint8

const (
	other  kind = iota // blank, or a comment
	header             // [table] or [[table]]
	pair               // key = value
)

// scanner goes along a text.
type scanner struct {
	text string
	at   int
}

func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// skip goes past what is in the set.
func (s *scanner) skip(set string) {
	for s.at < len(s.text) && strings.IndexByte(set, s.text[s.at]) >= 0 {
		s.at++
	}
}

// line goes to the end of the line, past its sign.
func (s *scanner) line() {
	if i := strings.IndexByte(s.text[s.at:], '\n'); i >= 0 {
		s.at += i + 1
	} else {
		s.at = len(s.text)
	}
}

// str goes past a string that begins here.
func (s *scanner) str() {
	quote := s.text[s.at : s.at+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.at:], triple) {
		s.at += 3
		for s.at < len(s.text) && !strings.HasPrefix(s.text[s.at:], triple) {
			s.char(quote)
		}
		s.at = min(s.at+3, len(s.text))
		for range 2 { // the string may end with two of them
			if s.at < len(s.text) && s.text[s.at:s.at+1] == quote {
				s.at++
			}
		}
		return
	}
	s.at++
	for s.at < len(s.text) && s.text[s.at:s.at+1] != quote && s.text[s.at] != '\n' {
		s.char(quote)
	}
	s.at = min(s.at+1, len(s.text))
}

// char goes past a character of a string.
func (s *scanner) char(quote string) {
	if s.text[s.at] == '\\' && quote == `"` {
		s.at++
	}
	s.at = min(s.at+1, len(s.text))
}

// name reads a dotted key.
func (s *scanner) name() place {
	var p place
	for {
		s.skip(" \t")
		start := s.at
		switch c := s.peek(); c {
		case '"', '\'':
			s.str()
			var v struct{ Key string }
			if toml.Unmarshal([]byte("key = "+s.text[start:s.at]), &v) != nil {
				return nil
			}
			p = append(p, v.Key)
		default:
			for s.at < len(s.text) && strings.IndexByte(" \t\r\n.=]#\"'", s.text[s.at]) < 0 {
				s.at++
			}
			if s.at == start {
				return nil
			}
			p = append(p, s.text[start:s.at])
		}
		s.skip(" \t")
		if s.peek() != '.' {
			return p
		}
		s.at++
	}
}

// past goes past a value, up to the end of its line, to a comment behind it, or
// to one of the signs that end it in a list.
func (s *scanner) past(ends string) {
	for depth := 0; s.at < len(s.text); {
		c := s.text[s.at]
		if depth == 0 && (c == '#' || c == '\n' || strings.IndexByte(ends, c) >= 0) {
			return
		}
		switch c {
		case '"', '\'':
			s.str()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '#':
			s.line()
			continue
		}
		s.at++
	}
}

// scanPair reads key = value from here; false: it is none.
func (s *scanner) scanPair(ends string) (st statement, ok bool) {
	st.kind, st.key[0] = pair, s.at
	st.where = s.name()
	st.key[1] = s.at
	if len(st.where) == 0 || s.peek() != '=' {
		return st, false
	}
	s.at++
	s.skip(" \t")
	st.value[0] = s.at
	s.past(ends)
	st.value[1] = st.value[0] + len(strings.TrimRight(s.text[st.value[0]:s.at], " \t\r\n"))
	return st, true
}

// scan cuts a text into statements. They cover all of it.
func scan(text string) []statement {
	var list []statement
	var table place
	counts := map[string]int{} // tables of arrays so far, by name
	s := &scanner{text: text}
	for s.at < len(text) {
		st := statement{start: s.at}
		s.skip(" \t\ufeff")
		switch s.peek() {
		case '#', '\n', '\r', 0:
		case '[':
			array := strings.HasPrefix(text[s.at:], "[[")
			s.skip("[")
			if name := s.name(); name != nil {
				table = tablePlace(name, array, counts)
				st.kind, st.where = header, table
			}
		default:
			if p, ok := s.scanPair(""); ok {
				p.start, p.where = st.start, append(slices.Clone(table), p.where...)
				st = p
			}
		}
		s.line()
		st.end = s.at
		list = append(list, st)
	}
	return list
}

// items are the pairs of an inline table, whose value is given with its braces.
func items(text string, value [2]int) []statement {
	var list []statement
	s := &scanner{text: text[:value[1]], at: value[0] + 1}
	for {
		s.skip(" \t\r\n,")
		st, ok := s.scanPair(",}")
		if !ok {
			return list
		}
		st.start, st.end = st.key[0], st.value[1]
		list = append(list, st)
	}
}
