package config

import (
	"slices"
	"strings"
)

// set writes a value to the key at where, which is in the table at: over the old
// one, or into the smallest table around it that there is.
func set(text string, at, where place, value string) (string, bool) {
	list := scan(text)
	for _, s := range list {
		if s.kind == pair && slices.Equal(s.where, where) {
			return text[:s.value[0]] + value + text[s.value[1]:], true
		}
	}
	for n := len(where) - 1; n >= len(at); n-- {
		if next, ok := setInside(text, list, where[:n], where[n:], value); ok {
			return next, true
		}
		if below(list, where[:n]) { // [a.b.c] without [a.b]
			i := slices.IndexFunc(list, func(s statement) bool { return s.kind == header && within(s.where, where[:n]) })
			line := list[i].start
			return text[:line] + "[" + dotted(where[:n]) + "]\n" + rendered(where[n:], value) + "\n" + text[line:], true
		}
	}
	return text, false
}

// below says whether tables with headers of their own are below a place, and no
// other way to say something of it is.
func below(list []statement, at place) bool {
	there := false
	for _, s := range list {
		if within(s.where, at) && len(s.where) > len(at) {
			if s.kind == header {
				there = there || !isNumber(s.where[len(s.where)-1])
				return there
			}
			return false
		}
	}
	return there
}

// setInside adds a key to a table that is there.
func setInside(text string, list []statement, table, key place, value string) (string, bool) {
	line, last := "", -1
	for i, s := range list {
		switch {
		case s.kind == pair && slices.Equal(s.where, table): // inline
			return setInline(text, s, key, value)
		case s.kind == header && slices.Equal(s.where, table):
			last, line = i, rendered(key, value)
		case s.kind == pair && last >= 0 && within(s.where, table) && directly(list, last, i):
			last = i
		}
	}
	if last < 0 {
		for i, s := range list { // a.b = … of which another one is to stand beside
			if s.kind == pair && within(s.where, table) && len(s.where) > len(table) {
				if own := owner(list, i); len(own) < len(table) {
					last, line = i, dotted(slices.Concat(table[len(own):], key[:1]))+strings.TrimPrefix(rendered(key, value), dotted(key[:1]))
				}
			}
		}
	}
	if last < 0 {
		return text, false
	}
	s := list[last]
	indent := text[s.start : s.start+len(text[s.start:s.end])-len(strings.TrimLeft(text[s.start:s.end], " \t"))]
	end := s.end
	if !strings.HasSuffix(text[:end], "\n") {
		line = "\n" + indent + line
	} else {
		line = indent + line + "\n"
	}
	return text[:end] + line + text[end:], true
}

// directly says whether no header stands between two statements.
func directly(list []statement, from, to int) bool {
	return !slices.ContainsFunc(list[from+1:to], func(s statement) bool { return s.kind == header })
}

// owner is the table whose header stands above a statement.
func owner(list []statement, i int) place {
	for ; i >= 0; i-- {
		if list[i].kind == header {
			return list[i].where
		}
	}
	return nil
}

// setInline adds a key to an inline table, or writes over the one that is in it.
func setInline(text string, s statement, key place, value string) (string, bool) {
	if s.value[0] == s.value[1] || text[s.value[0]] != '{' {
		return text, false
	}
	inside := items(text, s.value)
	for _, it := range inside {
		switch {
		case slices.Equal(it.where, key):
			return text[:it.value[0]] + value + text[it.value[1]:], true
		case len(it.where) < len(key) && within(key, it.where):
			return setInline(text, it, key[len(it.where):], value)
		}
	}
	if len(inside) == 0 {
		return text[:s.value[0]] + "{ " + rendered(key, value) + " }" + text[s.value[1]:], true
	}
	// Where the table is written with dotted keys, so is the new one.
	end := inside[len(inside)-1].value[1]
	line := rendered(key, value)
	for _, it := range inside {
		if len(it.where) > 1 && len(key) > 1 && it.where[0] == key[0] {
			line = dotted(key) + " = " + value
		}
	}
	return text[:end] + ", " + line + text[end:], true
}

// unset removes a key, or a table with all that is in it, however it is written.
// An inline table of which nothing is left goes, too.
func unset(text string, where place) string {
	for {
		list := scan(text)
		i := len(list) - 1 // from the end: without its header a key would be another table's
		for i >= 0 && (list[i].kind == other || !within(list[i].where, where)) {
			i--
		}
		if i < 0 {
			break
		}
		text = text[:list[i].start] + text[list[i].end:]
	}
	for n := len(where) - 1; n > 0; n-- {
		for _, s := range scan(text) {
			if s.kind == pair && slices.Equal(s.where, where[:n]) {
				return unsetInline(text, s, where[n:])
			}
		}
	}
	return text
}

func unsetInline(text string, s statement, key place) string {
	if s.value[0] == s.value[1] || text[s.value[0]] != '{' {
		return text
	}
	inside := items(text, s.value)
	for i, it := range inside {
		switch {
		case within(it.where, key) && len(inside) == 1:
			return text[:s.start] + text[s.end:]
		case within(it.where, key) && i == 0:
			return unsetAgain(text[:it.start]+text[inside[1].start:], s, key)
		case within(it.where, key):
			return unsetAgain(text[:inside[i-1].end]+text[it.end:], s, key)
		case len(it.where) < len(key) && within(key, it.where):
			rest := unsetInline(text, it, key[len(it.where):])
			if len(items(text, it.value)) != 1 || len(rest) == len(text) {
				return rest
			}
			return unsetInline(text, s, it.where) // nothing would be left of it
		}
	}
	return text
}

// unsetAgain goes on in a statement that has become shorter: dotted keys of one
// table may be several.
func unsetAgain(text string, s statement, key place) string {
	for _, now := range scan(text) {
		if now.kind == pair && now.start == s.start {
			return unsetInline(text, now, key)
		}
	}
	return text
}

// rendered is key = value, where inner tables are inline.
func rendered(key place, value string) string {
	if len(key) == 1 {
		return dotted(key) + " = " + value
	}
	return dotted(key[:1]) + " = { " + rendered(key[1:], value) + " }"
}

// dotted is a key as TOML has it. The keys of a configuration are bare.
func dotted(key place) string {
	var words []string
	for _, step := range key {
		if word, ok := step.(string); ok {
			words = append(words, word)
		}
	}
	return strings.Join(words, ".")
}
