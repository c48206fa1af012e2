package page

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/go-analyze/charts"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// chartsPage shows how policies grow and how long they take, from the journal:
// no repository is opened for it.
type chartsPage struct {
	frame
	Policies []string
	Policy   string
	Days     int
	Charts   []chartView
	Rows     []chartRow
}

// chartView is one chart on the page.
type chartView struct {
	Name, Title string
	Text        string // what it shows, in a sentence
	Href        string // of the picture, below the base
}

// chartRow is a day of the table that says the same as the charts.
type chartRow struct {
	Date   time.Time
	Jobs   int
	Failed int
	Files  uint64
	Bytes  uint64        // of the last point
	Stored uint64        // by all jobs of that day
	Took   time.Duration // the longest
}

// Long is how long the longest job took.
func (r *chartRow) Long() string { return span(r.Took) }

// Periods are the times that can be asked for, in days.
func (d *chartsPage) Periods() []int { return []int{7, 30, 90, 365} }

// chartNames are the charts, in the order in which they are shown.
func chartNames() []chartView {
	return []chartView{
		{Name: "size", Title: "Size", Text: "What the files of the newest point of each day hold together"},
		{Name: "growth", Title: "Growth", Text: "What the jobs of each day added to the repository"},
		{Name: "duration", Title: "Duration", Text: "How long the longest job of each day took"},
	}
}

// chartForm reads which policy and how many days are asked for.
func (q *request) chartForm(form url.Values) (policy string, days int, all []string) {
	days = 30
	for _, p := range q.agent.Config().Policies {
		all = append(all, p.Name)
	}
	if len(all) > 0 {
		policy = all[0]
	}
	if name := form.Get("policy"); slices.Contains(all, name) {
		policy = name
	}
	if n, err := strconv.Atoi(form.Get("days")); err == nil && slices.Contains((*chartsPage)(nil).Periods(), n) {
		days = n
	}
	return policy, days, all
}

func (q *request) charts() error {
	d := &chartsPage{frame: q.frame("charts", "Charts")}
	d.Policy, d.Days, d.Policies = q.chartForm(q.r.URL.Query())
	if d.Policy == "" {
		return q.show("charts", d)
	}
	var err error
	if d.Rows, err = q.chartRows(d.Policy, d.Days); err != nil {
		return err
	}
	for _, c := range chartNames() {
		c.Href = "chart?" + url.Values{"name": {c.Name}, "policy": {d.Policy}, "days": {strconv.Itoa(d.Days)}}.Encode()
		d.Charts = append(d.Charts, c)
	}
	return q.show("charts", d)
}

// chartRows sums up the jobs of a policy by days, the oldest first. Days before
// the first point are left out.
func (q *request) chartRows(policy string, days int) ([]chartRow, error) {
	now := q.o.Now().In(q.o.Zone)
	first := time.Date(now.Year(), now.Month(), now.Day()-days+1, 0, 0, 0, 0, q.o.Zone)
	jobs, err := q.agent.Jobs(agent.Filter{Since: first, Policy: policy})
	if err != nil {
		return nil, err
	}
	var rows []chartRow
	at := map[string]int{}
	for i := range days {
		date := first.AddDate(0, 0, i)
		at[date.Format(time.DateOnly)] = i
		rows = append(rows, chartRow{Date: date})
	}
	for i := range slices.Backward(jobs) {
		j := &jobs[i]
		if n, ok := at[j.Started.In(q.o.Zone).Format(time.DateOnly)]; ok && j.State.Over() {
			rows[n].add(j)
		}
	}
	for len(rows) > 1 && rows[0].Bytes == 0 {
		rows = rows[1:]
	}
	return rows, nil
}

func (r *chartRow) add(j *journal.Job) {
	r.Jobs++
	if j.State == journal.Failed {
		r.Failed++
	}
	if j.Point != "" {
		r.Files, r.Bytes = j.Files, j.Bytes
	}
	r.Stored += j.BytesStored
	r.Took = max(r.Took, j.Took(j.Ended))
}

// chart draws one chart as a picture.
func (q *request) chart() error {
	form := q.r.URL.Query()
	policy, days, _ := q.chartForm(form)
	rows, err := q.chartRows(policy, days)
	if err != nil {
		return err
	}
	picture, err := draw(form.Get("name"), rows, form.Has("dark"))
	if err != nil {
		return err
	}
	h := q.w.Header()
	h.Set("Content-Type", "image/svg+xml")
	// Of itself the picture has the style of its letters, and no script.
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'")
	_, _ = q.w.Write(picture) // who hung up is not told
	return nil
}

// The size of a chart, in points.
const (
	chartWidth  = 960
	chartHeight = 260
)

// draw draws a chart as SVG.
func draw(name string, rows []chartRow, dark bool) ([]byte, error) {
	var labels []string
	var values []float64
	for _, r := range rows {
		v := 0.0
		switch name {
		case "size":
			// A day without a point has that of the day before.
			if v = float64(r.Bytes); v == 0 && len(values) > 0 {
				v = values[len(values)-1]
			}
		case "growth":
			v = float64(r.Stored)
		case "duration":
			v = r.Took.Seconds()
		default:
			return nil, fmt.Errorf("draw the chart %q: %w", name, fault.NotExist)
		}
		labels, values = append(labels, r.Date.Format("2 Jan")), append(values, v)
	}
	u := unitOf(slices.Max(values), name == "duration")
	for i := range values {
		values[i] /= u.size
	}
	words := func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) + " " + u.name }
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: chartWidth, Height: chartHeight})
	padding := charts.NewBox(8, 12, 24, 8)
	days := charts.CategoryAxisOption{Labels: labels, LabelCount: min(len(labels), maxLabels)}
	height := []charts.ValueAxisOption{{Min: charts.Ptr(0.0), LabelCount: 5}}
	none := charts.LegendOption{Show: charts.Ptr(false)}
	var err error
	if name == "size" && len(values) > 1 {
		err = p.LineChart(charts.LineChartOption{
			Theme: theme(dark), Padding: padding, SeriesList: charts.NewSeriesListLine([][]float64{values}), FillArea: charts.Ptr(true), FillOpacity: 40,
			LineStrokeWidth: 2, Symbol: charts.Symbol{Shape: charts.SymbolNone}, Legend: none, ValueFormatter: words, XAxis: days, YAxis: height,
		})
	} else {
		err = p.BarChart(charts.BarChartOption{
			Theme: theme(dark), Padding: padding, SeriesList: charts.NewSeriesListBar([][]float64{values}), BarSize: barSize(len(values)),
			Legend: none, ValueFormatter: words, CategoryAxis: days, ValueAxis: height,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("draw the chart %q: %w", name, err)
	}
	return p.Bytes()
}

// maxLabels is how many days are named at most: more run into each other.
const maxLabels = 8

// barSize keeps a single bar from being as wide as the chart.
func barSize(n int) float64 { return min(0.7, 0.05*float64(n)) }

// unit is what values are told in.
type unit struct {
	name string
	size float64
}

// unitOf returns the unit in which a value is not much more than one, of bytes
// or of seconds.
func unitOf(v float64, seconds bool) unit {
	units := []unit{{"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}
	if seconds {
		units = []unit{{"s", 1}, {"min", 60}, {"h", 3600}}
	}
	for _, u := range slices.Backward(units) {
		if v >= 2*u.size {
			return u
		}
	}
	return units[0]
}

// theme has the colours of the page.
func theme(dark bool) charts.ColorPalette {
	text, line, ink := "#5b6270", "#d9dce2", "#0b57a4"
	if dark {
		text, line, ink = "#a9b1c0", "#3a3f47", "#8ab8f0"
	}
	return charts.MakeTheme(charts.ThemeOption{
		IsDarkMode: dark, AxisStrokeColor: charts.ParseColor(line), AxisSplitLineColor: charts.ParseColor(line), BackgroundColor: charts.ColorTransparent,
		TextColor: charts.ParseColor(text), SeriesColors: []charts.Color{charts.ParseColor(ink)},
	})
}
