package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tidemark-backup/tidemark/backup/notify"
)

// resolveNotify checks who is told of what. On an error it says where.
func (c *Config) resolveNotify(home string) (place, error) {
	for _, path := range c.Notify.Files() {
		if err := absolute(path, home); err != nil {
			return place{"notify"}, err
		}
	}
	err := c.Notify.Validate()
	if bad, ok := errors.AsType[*notify.Wrong](err); ok {
		return placeOfWrong(bad), err
	} else if err != nil {
		return place{"notify"}, err
	}
	// A policy that is not there is one that somebody believes to be told of.
	for _, t := range c.Notify.Targets() {
		for _, name := range t.Policies {
			known := c.Policy(name) != nil || slices.ContainsFunc(c.Maintenance, func(m Maintenance) bool { return m.Name == name })
			if !known {
				return place{"notify", t.Way, t.Number, "policies"}, fmt.Errorf("there is no policy %q", name)
			}
		}
	}
	return nil, nil
}

func placeOfWrong(w *notify.Wrong) place {
	where := place{"notify"}
	if w.Table != "" {
		where = append(where, w.Table, w.Number)
	}
	if w.Key != "" {
		where = append(where, w.Key)
	}
	return where
}
