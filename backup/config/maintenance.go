package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemark-backup/tidemark/backup/schedule"
)

// Chore is what keeps a repository in order, beside backups.
type Chore string

// The chores.
const (
	Prune     Chore = "prune"     // remove what expired, free what nothing needs
	Scrub     Chore = "scrub"     // read all that is stored, find damage
	Check     Chore = "check"     // look whether every point is whole; needs a passphrase or keys that read
	Replicate Chore = "replicate" // copy points to the replicas
	Proof     Chore = "proof"     // restore random samples and compare them; needs what check needs
)

// Chores are all of them.
func Chores() []Chore { return []Chore{Prune, Scrub, Check, Replicate, Proof} }

const maxProof = 100_000 // files

// Maintenance is a chore that the agent does by itself, and when.
type Maintenance struct {
	Task       Chore  `toml:"task"`
	Name       string `toml:"name"`       // unique beside policies, too; "": the task's
	Repository string `toml:"repository"` // address; "": the configuration's

	Schedule    schedule.Rule     `toml:"schedule"` // none: only when somebody asks
	Throttle    []schedule.Window `toml:"throttle"`
	Retries     *int              `toml:"retries"`
	SilentAfter *int              `toml:"silent_after"`

	MaxTime schedule.Span `toml:"max_time"`  // scrub: how long it reads; 0: to the end
	MaxAge  schedule.Span `toml:"max_age"`   // scrub: what was found whole so lately is passed over
	Data    float64       `toml:"read_data"` // check: percent of the content that it reads
	Full    bool          `toml:"full"`      // prune: counts everything anew
	Files   int           `toml:"files"`     // proof: how many it reads; 0: 100
	Bytes   string        `toml:"bytes"`     // proof: how much, at most; "": 1 GiB
	To      []string      `toml:"to"`        // replicate: addresses; none: vault.replica
}

// AsPolicy returns what the agent needs to know of it when it plans: a policy
// without paths.
func (m *Maintenance) AsPolicy() Policy {
	return Policy{
		Name: m.Name, Repository: m.Repository, Schedule: m.Schedule, Throttle: m.Throttle, Retries: m.Retries, SilentAfter: m.SilentAfter,
	}
}

// resolveMaintenance checks the chores. On an error it says where.
func (c *Config) resolveMaintenance(home string) (place, error) {
	if len(c.Maintenance) > maxPolicies {
		return place{"maintenance"}, fmt.Errorf("%d, but %d are possible", len(c.Maintenance), maxPolicies)
	}
	for i := range c.Maintenance {
		m := &c.Maintenance[i]
		if m.Name == "" {
			m.Name = string(m.Task)
		}
		if m.Repository == "" {
			m.Repository = c.Repository
		}
		if len(m.To) == 0 && m.Task == Replicate && m.Repository == c.Repository {
			m.To = c.Vault.Replica
		}
		where, err := m.resolve(home)
		if err == nil {
			where, err = c.onlyOne(i)
		}
		if err != nil {
			return append(place{"maintenance", i}, where...), err
		}
	}
	return nil, nil
}

func (m *Maintenance) resolve(home string) (place, error) {
	switch {
	case m.Task == "":
		return nil, errors.New("it has no task: prune, scrub, check, replicate or proof")
	case !slices.Contains(Chores(), m.Task):
		return place{"task"}, fmt.Errorf("%q: there are prune, scrub, check, replicate and proof", m.Task)
	case !policyName.MatchString(m.Name):
		return place{"name"}, fmt.Errorf("%q: up to 63 letters, digits, and . _ - are possible", m.Name)
	case m.Repository == "":
		return nil, errors.New("no repository is named, neither in it nor for all")
	case m.Task == Replicate && len(m.To) == 0:
		return place{"to"}, errors.New("say where to, here or as replica below [vault]")
	case m.Data < 0 || m.Data > 100:
		return place{"read_data"}, fmt.Errorf("%v, but 0 to 100 (percent) are possible", m.Data)
	}
	for key, wrong := range map[string]bool{
		"to": m.Task != Replicate && len(m.To) > 0, "full": m.Task != Prune && m.Full, "read_data": m.Task != Check && m.Data != 0,
		"max_time": m.Task != Scrub && m.MaxTime != 0, "max_age": m.Task != Scrub && m.MaxAge != 0,
		"files": m.Task != Proof && m.Files != 0, "bytes": m.Task != Proof && m.Bytes != "",
	} {
		if wrong {
			return place{key}, fmt.Errorf("a %s has no such thing", m.Task)
		}
	}
	if where, err := m.resolveProof(); err != nil {
		return where, err
	}
	for i, at := range append([]*string{&m.Repository}, pointers(m.To)...) {
		key := map[bool]string{true: "repository", false: "to"}[i == 0]
		if *at == "" {
			return place{key}, errors.New("an empty address")
		}
		if !hasScheme(*at) {
			if err := absolute(at, home); err != nil {
				return place{key}, err
			}
		}
	}
	if where, err := checkCount("retries", m.Retries, maxRetries); err != nil {
		return where, err
	}
	if where, err := checkCount("silent_after", m.SilentAfter, maxSilent); err != nil {
		return where, err
	}
	if !m.Schedule.IsZero() {
		if _, err := schedule.New(m.Schedule, time.UTC); err != nil {
			return place{"schedule"}, err
		}
	}
	if _, err := schedule.NewTable(m.Throttle, time.UTC); err != nil {
		return place{"throttle"}, err
	}
	return nil, nil
}

func (m *Maintenance) resolveProof() (place, error) {
	if m.Files < 0 || m.Files > maxProof {
		return place{"files"}, fmt.Errorf("%d, but 1 to %d are possible", m.Files, maxProof)
	}
	if m.Bytes == "" {
		return nil, nil
	}
	if n, err := humanize.ParseBytes(m.Bytes); err != nil || n == 0 {
		return place{"bytes"}, fmt.Errorf("%q is no size, such as \"10 GiB\"", m.Bytes)
	}
	return nil, nil
}

// BytesOr returns how much a proof reads at most, or a default.
func (m *Maintenance) BytesOr(standard uint64) uint64 {
	n, err := humanize.ParseBytes(m.Bytes)
	if err != nil || n == 0 {
		return standard
	}
	return n
}

func pointers(list []string) []*string {
	out := make([]*string, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// onlyOne compares a chore with those before it, and with the policies: two of
// a kind on one repository would only be in each other's way.
func (c *Config) onlyOne(i int) (place, error) {
	m := &c.Maintenance[i]
	if c.Policy(m.Name) != nil {
		return place{"name"}, fmt.Errorf("%q is the name of a policy; give it another one", m.Name)
	}
	for j := range c.Maintenance[:i] {
		other := &c.Maintenance[j]
		switch {
		case other.Task == m.Task && other.Repository == m.Repository:
			return place{"task"}, fmt.Errorf("there is a %s of the same repository before it; keep one of them", m.Task)
		case other.Name == m.Name:
			return place{"name"}, fmt.Errorf("%q is the name of two; give one of them another", m.Name)
		}
	}
	return nil, nil
}
