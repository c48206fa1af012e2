package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// advice says what somebody who wrote an unknown key may have meant.
func advice(key toml.Key) string {
	last := key[len(key)-1]
	if key[0] == "notify" && (last == "password" || last == "secret") {
		return fmt.Sprintf("; a configuration holds no secrets: use %s_file", last)
	}
	if last == "passphrase" || last == "password" {
		return "; a configuration holds no secrets: use passphrase_file, passphrase_command or passphrase_keystore"
	}
	// Twice the distance, so that of two words alike the one in the same table
	// goes before.
	best, bestDistance := "", 2*(len(last)/2+1)
	for _, known := range knownKeys() {
		d := 2 * distance(last, known[len(known)-1])
		if !slices.Equal(known[:len(known)-1], key[:len(key)-1]) {
			d++
		}
		if d < bestDistance {
			best, bestDistance = known.String(), d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// knownKeys lists all keys of a Config, in its order.
func knownKeys() []toml.Key {
	var keys []toml.Key
	var add func(t reflect.Type, above toml.Key)
	add = func(t reflect.Type, above toml.Key) {
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for field := range t.Fields() {
			if !field.IsExported() {
				continue
			}
			if field.Anonymous { // its keys are in the table around it
				add(field.Type, above)
				continue
			}
			key := append(append(toml.Key{}, above...), field.Tag.Get("toml"))
			keys = append(keys, key)
			add(field.Type, key)
		}
	}
	add(reflect.TypeFor[Config](), nil)
	return keys
}

// distance is the Levenshtein distance of two short words, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// String names the place in words: "policy 2, schedule".
func (p place) String() string {
	var b strings.Builder
	for i, step := range p {
		switch step := step.(type) {
		case string:
			if i > 0 {
				b.WriteString(map[bool]string{true: ", ", false: "."}[isNumber(p[i-1])])
			}
			b.WriteString(step)
		case int:
			fmt.Fprintf(&b, " %d", step+1)
		}
	}
	return b.String()
}

func isNumber(step any) bool {
	_, ok := step.(int)
	return ok
}

// placeOf returns where a key is, in whichever table of an array.
func placeOf(key toml.Key) place {
	p := make(place, len(key))
	for i, name := range key {
		p[i] = name
	}
	return p
}
