package config

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/BurntSushi/toml"
)

// advice says what somebody who wrote an unknown key may have meant.
func advice(key toml.Key) string {
	last := key[len(key)-1]
	if last == "passphrase" || last == "password" {
		return "; a configuration holds no secrets: use passphrase_file or passphrase_command"
	}
	best, bestDistance := "", len(last)/2+1
	for _, known := range knownKeys() {
		d := distance(last, known[len(known)-1])
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
		for field := range t.Fields() {
			key := append(append(toml.Key{}, above...), field.Tag.Get("toml"))
			keys = append(keys, key)
			if field.Type.Kind() == reflect.Struct {
				add(field.Type, key)
			}
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

// lineOf returns the line on which a key stands, 0 if that is not known. The
// decoder tells lines in its errors only, so one is provoked at the key.
func lineOf(data []byte, key toml.Key) int {
	var table map[string]toml.Primitive
	md, err := toml.Decode(string(data), &table)
	if err != nil {
		return 0
	}
	for len(key) > 1 {
		var below map[string]toml.Primitive
		if err := md.PrimitiveDecode(table[key[0]], &below); err != nil {
			return 0
		}
		table, key = below, key[1:]
	}
	value, ok := table[key[0]]
	if !ok {
		return 0
	}
	parse, _ := errors.AsType[toml.ParseError](md.PrimitiveDecode(value, new(trap)))
	return parse.Position.Line
}

// trap refuses every value.
type trap struct{}

func (*trap) UnmarshalTOML(any) error { return errors.New("here") }
