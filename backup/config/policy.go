package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup/hook"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/snapshot"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// Policy is what the agent backs up by itself, when, and for how long it is
// kept.
type Policy struct {
	Name       string `toml:"name"`       // unique; in lists of jobs, and in commands
	Repository string `toml:"repository"` // address; "": the configuration's

	Paths         []string `toml:"paths"`         // absolute
	Exclude       []string `toml:"exclude"`       // patterns, see package exclude
	ExcludeFiles  []string `toml:"exclude_files"` // absolute; files of patterns
	ExcludeCaches bool     `toml:"exclude_caches"`
	OneFileSystem bool     `toml:"one_file_system"`
	Tags          []string `toml:"tags"`

	Snapshot snapshot.Mode `toml:"snapshot"` // "off" (""), "auto" or "require"

	Items []hook.Item `toml:"item"` // what commands print, beside the paths

	Schedule    schedule.Rule     `toml:"schedule"`  // none: only when somebody asks
	Retention   *retain.Policy    `toml:"retention"` // nil: as the vault has it
	Throttle    []schedule.Window `toml:"throttle"`
	Hooks       []hook.Hook       `toml:"hook"`
	Retries     *int              `toml:"retries"`      // of a run that failed; nil: DefaultRetries
	OnBattery   string            `toml:"on_battery"`   // Run or Wait; "": as the agent's
	Metered     string            `toml:"metered"`      // the same, where the network costs by the byte
	SilentAfter *int              `toml:"silent_after"` // slots without a point after which it is an alert; nil: DefaultSilentAfter; 0: never
}

// Agent is how the agent works.
type Agent struct {
	Jobs     int               `toml:"jobs"`      // at most so many at a time; 0: DefaultJobs
	KeepJobs schedule.Span     `toml:"keep_jobs"` // how long jobs are remembered; 0: DefaultKeepJobs
	Socket   string            `toml:"socket"`    // absolute; "": below the cache_dir
	Throttle []schedule.Window `toml:"throttle"`  // of all jobs together
	Page     string            `toml:"page"`      // loopback address of the web page; "": there is none

	OnBattery string `toml:"on_battery"` // of policies that say nothing: Run ("") or Wait
	Metered   string `toml:"metered"`
	Nice      int    `toml:"nice"`    // 0 to 19: how far others go before it at the processor
	IdleIO    bool   `toml:"idle_io"` // it gets the disk when nobody else wants it
	Metrics   string `toml:"metrics"` // loopback address for Prometheus; "": only on the socket

	Certificates []string `toml:"certificates"` // absolute; files whose end is an alert
}

// What a policy does on battery, or on a metered network.
const (
	Run  = "run"
	Wait = "wait"
)

// What holds where a configuration says nothing.
const (
	DefaultRetries     = 5
	DefaultSilentAfter = 3
	DefaultJobs        = 2
	DefaultKeepJobs    = 400 * 24 * time.Hour
)

const (
	maxPolicies = 1000
	maxRetries  = 100
	maxSilent   = 1000
	maxAtATime  = 64
)

var policyName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)

// RetriesOrDefault returns how often a failed run is tried again.
func (p *Policy) RetriesOrDefault() int { return orDefault(p.Retries, DefaultRetries) }

// SilentOrDefault returns after how many slots without a point it is an alert.
func (p *Policy) SilentOrDefault() int { return orDefault(p.SilentAfter, DefaultSilentAfter) }

func orDefault(n *int, standard int) int {
	if n == nil {
		return standard
	}
	return *n
}

// place is where in the file something is wrong: names of keys, and numbers of
// tables in their arrays.
type place []any

// resolvePolicies checks policies and the agent. On an error it says where.
func (c *Config) resolvePolicies(home string) (place, error) {
	if where, err := c.Agent.resolve(home); err != nil {
		return where, err
	}
	if len(c.Policies) > maxPolicies {
		return place{"policy"}, fmt.Errorf("%d policies, but %d are possible", len(c.Policies), maxPolicies)
	}
	for i := range c.Policies {
		p := &c.Policies[i]
		if p.Repository == "" {
			p.Repository = c.Repository
		}
		where, err := p.resolve(home)
		if err == nil {
			where, err = c.unlike(i)
		}
		if err != nil {
			return append(place{"policy", i}, where...), err
		}
	}
	return nil, nil
}

func (a *Agent) resolve(home string) (place, error) {
	if a.Jobs < 0 || a.Jobs > maxAtATime {
		return place{"agent", "jobs"}, fmt.Errorf("%d, but 1 to %d are possible", a.Jobs, maxAtATime)
	}
	if a.Nice < 0 || a.Nice > 19 {
		return place{"agent", "nice"}, fmt.Errorf("%d, but 0 to 19 are possible", a.Nice)
	}
	if where, err := runOrWait(a.OnBattery, a.Metered); err != nil {
		return append(place{"agent"}, where...), err
	}
	if err := absolute(&a.Socket, home); err != nil {
		return place{"agent", "socket"}, err
	}
	if a.Metrics != "" {
		if err := checkLoopback("metrics", a.Metrics); err != nil {
			return place{"agent", "metrics"}, err
		}
	}
	for i := range a.Certificates {
		if a.Certificates[i] == "" {
			return place{"agent", "certificates"}, errors.New("an empty path")
		}
		if err := absolute(&a.Certificates[i], home); err != nil {
			return place{"agent", "certificates"}, err
		}
	}
	if _, err := schedule.NewTable(a.Throttle, time.UTC); err != nil {
		return place{"agent", "throttle"}, err
	}
	if a.Page != "" {
		if err := CheckPage(a.Page); err != nil {
			return place{"agent", "page"}, err
		}
	}
	return nil, nil
}

// unlike compares a policy with those before it.
func (c *Config) unlike(i int) (place, error) {
	p := &c.Policies[i]
	for j := range c.Policies[:i] {
		other := &c.Policies[j]
		if other.Name == p.Name {
			return place{"name"}, fmt.Errorf("%q is the name of two policies", p.Name)
		}
		// What a vault keeps is one rule for all points of a repository.
		if other.Repository == p.Repository && other.Retention != nil && p.Retention != nil &&
			string(other.Retention.Marshal()) != string(p.Retention.Marshal()) {
			return place{"retention"}, fmt.Errorf("policy %q wants another one for the same repository, which has one for all its points; give it a repository of its own, or say it once", other.Name)
		}
	}
	return nil, nil
}

func (p *Policy) resolve(home string) (place, error) {
	switch {
	case p.Name == "":
		return nil, errors.New("it has no name")
	case !policyName.MatchString(p.Name):
		return place{"name"}, fmt.Errorf("%q: up to 63 letters, digits, and . _ - are possible", p.Name)
	case p.Repository == "":
		return nil, errors.New("no repository is named, neither in it nor for all")
	case len(p.Paths)+len(p.Items) == 0:
		return nil, errors.New("paths: it says nothing of what to back up")
	}
	if !hasScheme(p.Repository) {
		if err := absolute(&p.Repository, home); err != nil {
			return place{"repository"}, err
		}
	}
	for name, list := range map[string][]string{"paths": p.Paths, "exclude_files": p.ExcludeFiles} {
		for i := range list {
			if list[i] == "" {
				return place{name}, errors.New("an empty path")
			}
			if err := absolute(&list[i], home); err != nil {
				return place{name}, err
			}
		}
	}
	if where, err := runOrWait(p.OnBattery, p.Metered); err != nil {
		return where, err
	}
	if where, err := checkCount("retries", p.Retries, maxRetries); err != nil {
		return where, err
	}
	if where, err := checkCount("silent_after", p.SilentAfter, maxSilent); err != nil {
		return where, err
	}
	return p.check()
}

func runOrWait(battery, metered string) (place, error) {
	for key, value := range map[string]string{"on_battery": battery, "metered": metered} {
		if value != "" && value != Run && value != Wait {
			return place{key}, fmt.Errorf("%q, but there are %q and %q", value, Run, Wait)
		}
	}
	return nil, nil
}

// WaitsFor returns whether jobs of the policy wait on battery, and on a metered
// network.
func (c *Config) WaitsFor(p *Policy) (battery, metered bool) {
	return cmp.Or(p.OnBattery, c.Agent.OnBattery) == Wait, cmp.Or(p.Metered, c.Agent.Metered) == Wait
}

func checkCount(key string, n *int, most int) (place, error) {
	if n != nil && (*n < 0 || *n > most) {
		return place{key}, fmt.Errorf("%d, but 0 to %d are possible", *n, most)
	}
	return nil, nil
}

// check has the other packages look at what is theirs.
func (p *Policy) check() (place, error) {
	if !p.Schedule.IsZero() {
		if _, err := schedule.New(p.Schedule, time.UTC); err != nil {
			return place{"schedule"}, err
		}
	}
	if p.Retention != nil {
		if err := p.Retention.Validate(); err != nil {
			return place{"retention"}, err
		}
	}
	if _, err := schedule.NewTable(p.Throttle, time.UTC); err != nil {
		return place{"throttle"}, err
	}
	for i := range p.Hooks {
		if err := p.Hooks[i].Validate(); err != nil {
			return place{"hook", i}, err
		}
	}
	if err := p.Snapshot.Validate(); err != nil {
		return place{"snapshot"}, err
	}
	for i := range p.Items {
		if err := p.checkItem(i); err != nil {
			return place{"item", i}, err
		}
	}
	return nil, nil
}

// checkItem makes sure that an item's name is free at the top of the point.
func (p *Policy) checkItem(i int) error {
	it := &p.Items[i]
	if err := it.Validate(); err != nil {
		return err
	}
	if slices.ContainsFunc(p.Items[:i], func(other hook.Item) bool { return other.Name == it.Name }) {
		return fmt.Errorf("%q is the name of two items", it.Name)
	}
	for _, path := range p.Paths {
		if top, _, _ := strings.Cut(strings.Trim(filepath.ToSlash(path), "/"), "/"); strings.TrimSuffix(top, ":") == it.Name {
			return fmt.Errorf("%q stands at the top of the point already, as it leads to %s", it.Name, path)
		}
	}
	return nil
}

// Policy returns the policy of a name, nil if there is none.
func (c *Config) Policy(name string) *Policy {
	if i := slices.IndexFunc(c.Policies, func(p Policy) bool { return p.Name == name }); i >= 0 {
		return &c.Policies[i]
	}
	return nil
}
