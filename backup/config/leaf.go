package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// leaf is a key of a policy that says something, with its value as TOML.
type leaf struct {
	key    []string
	value  string
	tables bool // a list of tables
}

func (l *leaf) place() place {
	p := make(place, len(l.key))
	for i, name := range l.key {
		p[i] = name
	}
	return p
}

// leavesOf returns what a policy says, in the order of its fields.
func leavesOf(p Policy) []leaf {
	list := leaves(reflect.ValueOf(p), nil)
	if p.Retention == nil {
		return list
	}
	// What holds where nothing is said need not be said.
	none := &retain.Policy{}
	_ = none.Validate() // fills it in; that it keeps nothing is no matter
	standard := leaves(reflect.ValueOf(Policy{Retention: none}), nil)
	return slices.DeleteFunc(list, func(l leaf) bool {
		return slices.ContainsFunc(standard, func(s leaf) bool { return slices.Equal(s.key, l.key) && s.value == l.value })
	})
}

// leaves goes through a structure. Zero values say nothing, unless there is a
// pointer to them.
func leaves(v reflect.Value, above []string) []leaf {
	var list []leaf
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		field := v.Field(i)
		key := append(slices.Clone(above), v.Type().Field(i).Tag.Get("toml"))
		said := field.Kind() == reflect.Pointer && !field.IsNil()
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		switch {
		case !field.IsValid() || !said && field.IsZero() || field.Kind() == reflect.Slice && field.Len() == 0:
		case field.Kind() == reflect.Struct:
			list = append(list, leaves(field, key)...)
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct:
			var tables []string
			for j := range field.Len() {
				var inside []string
				for _, l := range leaves(field.Index(j), nil) {
					inside = append(inside, l.key[0]+" = "+l.value)
				}
				tables = append(tables, "{ "+strings.Join(inside, ", ")+" }")
			}
			list = append(list, leaf{key, "[" + strings.Join(tables, ", ") + "]", true})
		default:
			list = append(list, leaf{key, literal(field), false})
		}
	}
	return list
}

// literal is a value as TOML has it.
func literal(v reflect.Value) string {
	value := v.Interface()
	if span, ok := value.(schedule.Span); ok {
		value = span.String()
	}
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(map[string]any{"k": value}); err != nil {
		return "?" // which no parser takes
	}
	return strings.TrimSpace(strings.TrimPrefix(b.String(), "k = "))
}

// clone returns a copy that shares nothing that is edited.
func (p *Policy) clone() Policy {
	next := *p
	if p.Retention != nil {
		next.Retention = p.Retention.Clone()
	}
	return next
}

// sameLeaves fails if a policy that was read again does not say what was written.
func sameLeaves(got, want *Policy) error {
	a, b := leavesOf(*got), leavesOf(*want)
	if !slices.EqualFunc(a, b, func(x, y leaf) bool { return slices.Equal(x.key, y.key) && x.value == y.value }) {
		return fmt.Errorf("edit policy %q: it would say something else than was asked for; edit the file by hand: %w", want.Name, fault.Internal)
	}
	return nil
}

// Keys returns what a policy says, as dotted keys with values in TOML.
func (p *Policy) Keys() [][2]string {
	var list [][2]string
	for _, l := range leavesOf(*p) {
		list = append(list, [2]string{strings.Join(l.key, "."), l.value})
	}
	return list
}
