package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup/health"
	"github.com/tidemark-backup/tidemark/backup/journal"
)

// metrics writes Prometheus's text format, version 0.0.4.
type metrics struct {
	bytes.Buffer
	name string
}

// gauge begins a metric.
func (m *metrics) gauge(name, help string) {
	m.name = "tidemark_" + name
	fmt.Fprintf(m, "# HELP %s %s\n# TYPE %s gauge\n", m.name, help, m.name)
}

// value writes one, with labels as names and values by turns.
func (m *metrics) value(v float64, labels ...string) {
	m.WriteString(m.name)
	for i := 0; i < len(labels); i += 2 {
		m.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		fmt.Fprintf(m, "%s=\"%s\"", labels[i], labelEscapes.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD")))
	}
	if len(labels) > 0 {
		m.WriteByte('}')
	}
	fmt.Fprintf(m, " %v\n", v)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// moment writes a point in time, if there is one.
func (m *metrics) moment(t time.Time, labels ...string) {
	if !t.IsZero() {
		m.value(float64(t.UnixMilli())/1000, labels...)
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Metrics returns how the agent stands, for Prometheus.
func (a *Agent) Metrics() ([]byte, error) {
	s, err := a.Status()
	if err != nil {
		return nil, err
	}
	m := &metrics{}
	m.gauge("agent_info", "The version of the agent.")
	m.value(1, "version", s.Version)
	m.gauge("agent_start_time_seconds", "When the agent began.")
	m.moment(s.Started)
	m.gauge("agent_paused", "Whether jobs wait.")
	m.value(truth(s.Pause.On))
	m.policies(s)
	if err := a.o.Journal.View(func(tx *journal.Tx) error { return a.alertMetrics(tx, m, s) }); err != nil {
		return nil, err
	}
	if err := a.placeMetrics(m); err != nil {
		return nil, err
	}
	told, err := a.Notified()
	if err != nil {
		return nil, err
	}
	m.gauge("notifications_waiting", "Events that somebody is still to be told of.")
	for _, t := range told {
		m.value(float64(t.Waiting), "target", t.Name)
	}
	m.gauge("notifications_failing", "Whether somebody could not be told the last time.")
	for _, t := range told {
		m.value(truth(t.Error != ""), "target", t.Name)
	}
	return m.Bytes(), nil
}

// policies writes a metric after the other, each of all policies.
func (m *metrics) policies(s *Status) {
	m.gauge("policy_last_point_timestamp_seconds", "When the newest recovery point was complete.")
	for i := range s.Policies {
		m.moment(s.Policies[i].LastPoint, "policy", s.Policies[i].Name)
	}
	m.gauge("policy_next_run_timestamp_seconds", "When the policy is due.")
	for i := range s.Policies {
		m.moment(s.Policies[i].Next, "policy", s.Policies[i].Name)
	}
	m.gauge("policy_running", "Whether a job of the policy is in progress.")
	for i := range s.Policies {
		m.value(truth(s.Policies[i].Running != nil), "policy", s.Policies[i].Name)
	}
	for _, g := range []struct {
		name, help string
		of         func(*journal.Job) float64
	}{
		{"last_job_success", "Whether the last job that ended wrote a point or did its chore.", func(j *journal.Job) float64 {
			return truth(j.State == journal.Completed || j.State == journal.Warned)
		}},
		{"last_job_end_timestamp_seconds", "When the last job ended.", func(j *journal.Job) float64 { return float64(j.Ended.UnixMilli()) / 1000 }},
		{"last_job_duration_seconds", "How long the last job took.", func(j *journal.Job) float64 { return j.Took(j.Ended).Seconds() }},
		{"last_job_warnings", "What the last job left out or warned of.", func(j *journal.Job) float64 { return float64(j.Warnings) }},
		{"last_job_files", "Files of the last job's point.", func(j *journal.Job) float64 { return float64(j.Files) }},
		{"last_job_bytes", "Bytes of the last job's point.", func(j *journal.Job) float64 { return float64(j.Bytes) }},
		{"last_job_stored_bytes", "Bytes that the last job sent to the repository.", func(j *journal.Job) float64 { return float64(j.BytesStored) }},
	} {
		m.gauge(g.name, g.help)
		for i := range s.Policies {
			if j := s.Policies[i].LastJob; j != nil && j.State.Over() {
				m.value(g.of(j), "policy", s.Policies[i].Name)
			}
		}
	}
}

func (a *Agent) alertMetrics(tx *journal.Tx, m *metrics, s *Status) error {
	m.gauge("alerts", "Active alerts.")
	m.value(float64(s.Alerts.Critical), "severity", string(journal.SeverityCritical))
	m.value(float64(s.Alerts.Warning), "severity", string(journal.SeverityWarning))
	m.value(float64(s.Alerts.Information), "severity", string(journal.SeverityInformation))
	list, err := tx.Active()
	m.gauge("alert_active_since_timestamp_seconds", "Each active alert.")
	for _, alert := range list {
		m.moment(alert.First, "kind", string(alert.Kind), "severity", string(alert.Severity), "policy", alert.Policy, "subject", alert.Subject)
	}
	return err
}

// placeMetrics writes what is known of the repositories.
func (a *Agent) placeMetrics(m *metrics) error {
	list, err := a.Places()
	if err != nil {
		return err
	}
	for _, g := range []struct {
		name, help string
		of         func(*Place) (float64, bool)
	}{
		{"repository_looked_timestamp_seconds", "When the repository was last looked at.", func(p *Place) (float64, bool) {
			return float64(p.Last.UnixMilli()) / 1000, !p.Last.IsZero()
		}},
		{"repository_checked_timestamp_seconds", "When a scrub or check by schedule was last done.", func(p *Place) (float64, bool) {
			return float64(p.Checked.UnixMilli()) / 1000, !p.Checked.IsZero()
		}},
		{"repository_points", "Recovery points that are neither deleted nor removed.", func(p *Place) (float64, bool) {
			return float64(p.Points), !p.Last.IsZero()
		}},
		{"repository_free_bytes", "Free space where the repository is.", func(p *Place) (float64, bool) {
			if p.Space == nil {
				return 0, false
			}
			return float64(p.Space.Free), true
		}},
		{"repository_size_bytes", "Size of the disk where the repository is.", func(p *Place) (float64, bool) {
			if p.Space == nil {
				return 0, false
			}
			return float64(p.Space.Total), true
		}},
		{"repository_stored_bytes", "What the repository holds.", func(p *Place) (float64, bool) {
			if p.Space == nil || p.Space.Stored < 0 {
				return 0, false
			}
			return float64(p.Space.Stored), true
		}},
		{"repository_days_left", "Days until there is no space, as things are; none if it does not run out.", func(p *Place) (float64, bool) {
			if p.Trend == nil {
				return 0, false
			}
			return p.Trend.Days, p.Trend.Days > 0
		}},
	} {
		m.gauge(g.name, g.help)
		for i := range list {
			if v, ok := g.of(&list[i]); ok {
				m.value(v, "repository", list[i].Address)
			}
		}
	}
	return nil
}

// Place is what is known of a repository.
type Place struct {
	Address string `json:"address"`
	health.Seen
	Checked time.Time     `json:"checked,omitzero"` // the last scrub or check by schedule
	Trend   *health.Trend `json:"trend,omitempty"`  // nil: not known
}

// Places returns what is known of the repositories of the configuration.
func (a *Agent) Places() ([]Place, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := []Place{}
	done := map[string]bool{}
	now := a.o.Now()
	err := a.o.Journal.View(func(tx *journal.Tx) error {
		for _, p := range a.policies {
			if done[p.Repository] {
				continue
			}
			done[p.Repository] = true
			place := Place{Address: p.Repository, Checked: a.checked(p.Repository)}
			if _, err := tx.Place(p.Repository, &place.Seen); err != nil {
				return err
			}
			samples, err := Samples(tx, p.Repository, now.Add(-forecast))
			if err != nil {
				return err
			}
			if trend, ok := health.Forecast(samples, now); ok {
				place.Trend = &trend
			}
			list = append(list, place)
		}
		return nil
	})
	return list, err
}

// ServeMetrics answers Prometheus on a listener, at /metrics, until ctx is done.
func ServeMetrics(ctx context.Context, l net.Listener, a *Agent) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", a.answerMetrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // nothing is left to be told
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

func (a *Agent) answerMetrics(w http.ResponseWriter, _ *http.Request) {
	b, err := a.Metrics()
	if err != nil {
		a.o.Log.Error("metrics cannot be told", "error", err)
		http.Error(w, "the journal cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(b) // who hung up is not told
}
