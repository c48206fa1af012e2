package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/health"
)

func storage(in *Input) Table {
	t := Table{
		Title: "Storage", Empty: "No repository was looked at yet.", Note: "What is stored is counted once a day. Growth is of the time of this report.",
		Columns: []Column{{"repository", "Repository", false}, {"points", "Points", true}, {"stored_bytes", "Stored", true}, {"growth_bytes", "Growth", true},
			{"free_bytes", "Free", true}, {"size_bytes", "Of", true}, {"looked", "Looked at", false}, {"checked", "Checked for damage", false}},
	}
	for i := range in.Vault {
		v := &in.Vault[i]
		row := []Cell{text(v.Address), number(v.Points), none("not known"), none(""), none("not known"), none(""), in.moment(v.Last), in.moment(v.Checked)}
		if s := v.Space; s != nil {
			if s.Stored >= 0 {
				row[2] = size(s.Stored)
				row[3] = growth(in, v)
			}
			row[4], row[5] = size(s.Free), size(s.Total)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// growth is what a repository holds more than at the beginning.
func growth(in *Input, v *Vault) Cell {
	for _, s := range v.Samples {
		if s.Stored < 0 || s.Time.Before(in.Since) {
			continue
		}
		n := v.Space.Stored - s.Stored
		c := size(n)
		c.Value = n
		if n < 0 {
			c.Text = "−" + size(-n).Text
		} else {
			c.Text = "+" + c.Text
		}
		return c
	}
	return none("")
}

// The steps by which instances are priced, in bytes of what is backed up.
const (
	smallInstance = 50 << 30
	instanceStep  = 500 << 30
)

// instances prices one that is protected: small up to 50 GB, one step up to 500,
// and one more for each further 500.
func instances(p *config.Prices, bytes int64) float64 {
	switch {
	case bytes <= 0:
		return 0
	case bytes <= smallInstance:
		return p.SmallInstance
	}
	return p.Instance * math.Ceil(float64(bytes)/instanceStep)
}

func cost(in *Input) Table {
	p := &in.Prices
	t := Table{
		Title: "Cost of a month", Empty: "No prices are configured: write [report.prices] into the configuration.",
		Note:    "An instance is a policy: small up to 50 GiB of what it backs up, one up to 500 GiB, one more for each further 500. Stored GiB are of each repository. Restores cost nothing.",
		Columns: []Column{{"of", "Of", false}, {"bytes", "Size", true}, {"instances", "Instances", true}, {"cost", "Cost", true}},
	}
	if *p == (config.Prices{}) {
		t.Note = ""
		return t
	}
	total := 0.0
	for i := range in.Items {
		item := &in.Items[i]
		if item.Last == nil {
			continue
		}
		n := int64(item.Last.Bytes)
		c := instances(p, n)
		total += c
		count := Cell{Text: "small", Value: "small"}
		if n > smallInstance {
			count = number(int(math.Ceil(float64(n) / instanceStep)))
		}
		t.Rows = append(t.Rows, []Cell{text("policy " + item.Name), size(n), count, money(p, c)})
	}
	for i := range in.Vault {
		if s := in.Vault[i].Space; s != nil && s.Stored >= 0 {
			c := p.Storage * float64(s.Stored) / (1 << 30)
			total += c
			t.Rows = append(t.Rows, []Cell{text("repository " + in.Vault[i].Address), size(s.Stored), none(""), money(p, c)})
		}
	}
	t.Rows = append(t.Rows, []Cell{text("together"), none(""), none(""), money(p, total)})
	return t
}

func money(p *config.Prices, amount float64) Cell {
	rounded := math.Round(amount*100) / 100
	c := Cell{Text: fmt.Sprintf("%.2f", rounded), Value: rounded}
	if p.Currency != "" {
		c.Text += " " + p.Currency
	}
	return c
}

func forecast(in *Input) Table {
	t := Table{
		Title: "Forecast", Empty: "No repository was looked at yet.",
		Note: "As the median of the last 30 days has it, and as long as nothing changes. It takes samples of 7 days.",
		Columns: []Column{{"repository", "Repository", false}, {"bytes_per_day", "A day", true}, {"in_30_days", "In 30 days", true}, {"in_90_days", "In 90 days", true},
			{"in_365_days", "In a year", true}, {"full", "Full on", false}, {"cost_in_365_days", "Cost of a month then", true}},
	}
	for i := range in.Vault {
		v := &in.Vault[i]
		row := []Cell{text(v.Address), none("not known yet"), none(""), none(""), none(""), none(""), none("")}
		trend, ok := health.Forecast(v.Samples, in.Now)
		if ok && v.Space != nil {
			row[1] = size(trend.PerDay)
			row[1].Value = trend.PerDay
			if trend.PerDay < 0 {
				row[1].Text = "−" + size(-trend.PerDay).Text
			}
			row[5] = none("not, as things are")
			if trend.Days > 0 {
				row[5] = Cell{Text: in.Now.AddDate(0, 0, int(trend.Days)).In(in.Zone).Format("2006-01-02"), Value: in.Now.AddDate(0, 0, int(trend.Days)).UTC()}
			}
			if v.Space.Stored >= 0 {
				for k, n := range []int64{30, 90, 365} {
					row[2+k] = size(v.Space.Stored + n*trend.PerDay)
				}
				if in.Prices.Storage > 0 {
					row[6] = money(&in.Prices, in.Prices.Storage*float64(max(0, v.Space.Stored+365*trend.PerDay))/(1<<30))
				}
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// overLong are the years after which a retention asks whether it is meant.
const overLong = 10

func advice(in *Input) Table {
	t := Table{
		Title: "Advice", Empty: "There is nothing to say.",
		Columns: []Column{{"of", "Of", false}, {"advice", "Advice", false}},
	}
	say := func(of, format string, args ...any) {
		t.Rows = append(t.Rows, []Cell{text(of), text(fmt.Sprintf(format, args...))})
	}
	for i := range in.Items {
		item := &in.Items[i]
		switch {
		case item.Progress.LastPoint.IsZero():
			say(item.Name, "it has no point at all")
		case in.Now.Sub(item.Progress.LastPoint) > late:
			say(item.Name, "no point for %s", span(in.Now.Sub(item.Progress.LastPoint)))
		}
		if item.Schedule.IsZero() {
			say(item.Name, "it has no schedule: it runs only when somebody asks")
		}
		if r := item.Retention; r != nil && r.Yearly != nil && r.Yearly.Keep > overLong {
			say(item.Name, "yearly points are kept for %d years; is that meant?", r.Yearly.Keep)
		}
		if r := item.Retention; r != nil && r.Hourly != nil && (len(item.Schedule.At) == 1 || len(item.Schedule.Days) > 0) {
			say(item.Name, "hourly points are to be kept, but it does not run each hour")
		}
	}
	for i := range in.Vault {
		v := &in.Vault[i]
		if v.Policy == nil && v.Points > 0 {
			say(v.Address, "it has no retention: points are kept for ever")
		}
		if n := len(v.Deleted); n > 0 {
			say(v.Address, "%d deleted points still take space, until %s", n, slices.MaxFunc(v.Deleted, func(a, b health.Deleted) int { return a.GoneAfter.Compare(b.GoneAfter) }).GoneAfter.In(in.Zone).Format("2006-01-02"))
		}
	}
	return t
}
