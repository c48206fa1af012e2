package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/health"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

func on(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 0, 0, 0, time.UTC) }

// sample is an input with a bit of everything: ten days, one policy that fails
// on two of them, one that is new, and one that never ran.
func sample() *Input {
	in := &Input{Host: "fileserver", Since: on(11, 0), Now: on(20, 12), Zone: time.UTC,
		Prices: config.Prices{Currency: "EUR", SmallInstance: 5, Instance: 10, Storage: 0.02}}
	id := uint64(0)
	job := func(policy string, at time.Time, state journal.State, why, kind string) {
		id++
		in.Jobs = append([]journal.Job{{ID: id, Policy: policy, State: state, Started: at, Ended: at.Add(10 * time.Minute), Error: why, Kind: kind,
			Files: 10, Bytes: 501 << 30, BytesStored: 1 << 20}}, in.Jobs...)
	}
	for d := 11; d <= 20; d++ {
		switch d {
		case 13, 14:
			job("documents", on(d, 2), journal.Failed, "reach /srv: <b>timeout</b>", "unavailable")
		case 15:
			job("documents", on(d, 2), journal.Warned, "", "")
		default:
			job("documents", on(d, 2), journal.Completed, "", "")
		}
	}
	job("mail", on(19, 3), journal.Completed, "", "")
	job("mail", on(20, 3), journal.Cancelled, "somebody cancelled it", "")
	last := func(bytes uint64) *journal.Job { return &journal.Job{Files: 10, Bytes: bytes} }
	in.Items = []Item{
		{Name: "documents", Policy: config.Policy{Paths: []string{"/home", "/srv"}, Repository: "/r", Schedule: schedule.Rule{At: []string{"02:00"}},
			Retention: &retain.Policy{Yearly: &retain.Yearly{Keep: 99}}}, Progress: journal.Progress{Added: on(1, 0), LastPoint: on(20, 2)}, Last: last(501 << 30)},
		{Name: "mail", Policy: config.Policy{Paths: []string{"=cmd"}, Repository: "/r"}, Progress: journal.Progress{Added: on(19, 0), LastPoint: on(19, 3)}, Last: last(50 << 30)},
		{Name: "never", Policy: config.Policy{Paths: []string{"/x"}, Repository: "/r"}, Progress: journal.Progress{Added: on(1, 0)}},
	}
	v := Vault{Address: "/r", Seen: health.Seen{First: on(1, 0), Last: on(20, 11), Points: 9, Space: &health.Space{Free: 100 << 30, Total: 500 << 30, Stored: 200 << 30}}}
	v.Checked = on(15, 4)
	for d := 11; d <= 20; d++ {
		v.Samples = append(v.Samples, health.Sample{Time: on(d, 1), Space: health.Space{Free: int64(120-2*(d-10)) << 30, Total: 500 << 30, Stored: int64(180+2*(d-10)) << 30}})
	}
	in.Vault = []Vault{v}
	return in
}

// TestText reads the report as somebody would.
func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, Make(sample())); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"documents  /home, /srv  2026-11-20 02:00  10 h  completed     10  501 GiB  /r",
		"never      /x           never                   none                       /r",
		"/r               9  200 GiB  +18 GiB  100 GiB  500 GiB  2026-11-20 11:00  2026-11-15 04:00",
		"documents  backup    10          7              1       2          0   80.0 %     10 min   10 min   10 MiB",
		"mail       backup     2          1              0       0          1    100 %     10 min   10 min  2.0 MiB",
		"documents    10             8   80.0 %      2             2     100 %  ##..######",
		"mail          2             1   50.0 %      1             1     100 %          #.",
		"never        10             0    0.0 %      2             0     0.0 %  ..........",
		"unavailable         2  documents  2026-11-14 02:10  job 4: reach /srv: <b>timeout</b>",
		"policy documents  501 GiB          2  20.00 EUR",
		"policy mail        50 GiB      small   5.00 EUR",
		"repository /r     200 GiB              4.00 EUR",
		"together                              29.00 EUR",
		"/r          2.0 GiB     260 GiB     380 GiB    930 GiB  2027-01-09             18.60 EUR",
		"documents  yearly points are kept for 99 years; is that meant?",
		"never      it has no point at all",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("%q is not in it", line)
		}
	}
	if t.Failed() {
		t.Log("\n" + b.String())
	}
}

// TestInstances is the table of prices: a byte more is a step.
func TestInstances(t *testing.T) {
	p := &config.Prices{SmallInstance: 5, Instance: 10}
	for gib, want := range map[int64]float64{0: 0, 1: 5, 50: 5, 51: 10, 500: 10, 501: 20, 1000: 20, 1001: 30} {
		if got := instances(p, gib<<30); got != want {
			t.Errorf("%d GiB: %v, want %v", gib, got, want)
		}
	}
}

// TestFormats: JSON has values, CSV no formulas, HTML no markup of others.
func TestFormats(t *testing.T) {
	in := sample()
	tables := Make(in)
	var j bytes.Buffer
	if err := JSON(&j, in, tables); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Items []struct {
			Policy string
			Paths  []string
			Age    int64 `json:"age_seconds"`
			Newest any   `json:"newest_point"`
		}
		Cost []struct{ Cost float64 }
	}
	if err := json.Unmarshal(j.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Items[0].Age != 36000 || len(got.Items[0].Paths) != 2 || got.Items[2].Newest != nil || got.Cost[3].Cost != 29 {
		t.Errorf("%s", j.Bytes())
	}
	var c bytes.Buffer
	if err := CSV(&c, &Make(in, "items")[0]); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&c).ReadAll()
	if err != nil || len(rows) != 4 || rows[0][0] != "policy" || rows[1][2] != "2026-11-20T02:00:00Z" || rows[2][1] != "'=cmd" || rows[3][2] != "" {
		t.Errorf("%q, %v", rows, err)
	}
	var h bytes.Buffer
	if err := HTML(&h, in, tables); err != nil {
		t.Fatal(err)
	}
	page := h.String()
	if strings.Contains(page, "<b>") || !strings.Contains(page, "&lt;b&gt;timeout") || strings.Contains(page, "http://") || strings.Contains(page, "<script") ||
		strings.Count(page, "<section>") != len(Parts()) || strings.Count(page, `<i class="good"`) != 9 {
		t.Errorf("%s", page)
	}
}

// TestEmpty: a report of nothing says so, in every format.
func TestEmpty(t *testing.T) {
	in := &Input{Host: "h", Since: on(1, 0), Now: on(2, 0), Zone: time.UTC}
	tables := Make(in)
	if len(tables) != len(Parts()) {
		t.Errorf("%d tables", len(tables))
	}
	var b bytes.Buffer
	if err := Text(&b, tables); err != nil || strings.Count(b.String(), ".\n") != len(tables) {
		t.Errorf("%s, %v", b.String(), err)
	}
	b.Reset()
	if err := HTML(&b, in, tables); err != nil || !strings.Contains(b.String(), "The configuration has no policies.") {
		t.Errorf("%s, %v", b.String(), err)
	}
}
