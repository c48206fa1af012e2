package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/report"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/durable"
)

type reportOptions struct{ last, format, output string }

func newReport(app *cli.App) *cobra.Command {
	var o reportOptions
	c := &cobra.Command{
		Use:   "report [PART…]",
		Short: "Report how backups went, what they hold and cost",
		Long: `Report how backups went in the last 30 days; --last takes another time. Without
a PART all are in it:

  items      each policy with the age of its newest point
  storage    what repositories hold, how that grew, and free space
  jobs       how many there were, how many succeeded, and how long they took
  adherence  on which days, and in which weeks, each policy got a point
  failures   what failed most, and why
  cost       a month's, by [report.prices] of the configuration
  forecast   growth, and when there is no space left
  advice     what got no point for 7 days, and what is kept for long

It is for people, in JSON (--json), as CSV (one PART), or a page that needs
nothing else (--format html), and can be sent by mail or printed. It asks the
agent, or reads its journal if none runs.`,
		Example: `  tidemark report
  tidemark report items adherence --last 90d
  tidemark report jobs --format csv > jobs.csv
  tidemark report --format html --output /srv/www/backup.html`,
		ValidArgs: report.Parts(),
		RunE:      func(c *cobra.Command, args []string) error { return o.run(c.Context(), app, args) },
	}
	c.Flags().StringVar(&o.last, "last", "30d", "of this `TIME`, such as 7d or 52w")
	c.Flags().StringVar(&o.format, "format", "", "text (the default), json, csv or html")
	c.Flags().StringVarP(&o.output, "output", "o", "", "write it into this `FILE`, which is replaced")
	return c
}

func (o *reportOptions) run(ctx context.Context, app *cli.App, names []string) error {
	for _, name := range names {
		if !slices.Contains(report.Parts(), name) {
			return cli.Hint(cli.Usage("there is no part %q of a report", name), "there are %s", strings.Join(report.Parts(), ", "))
		}
	}
	if o.format == "" {
		o.format = "text"
		if app.Globals.JSON {
			o.format = "json"
		}
	}
	if !slices.Contains([]string{"text", "json", "csv", "html"}, o.format) {
		return cli.Usage("--format=%s: there are text, json, csv and html", o.format)
	}
	if o.format == "csv" && len(names) != 1 {
		return cli.Usage("CSV has one table: name one of %s", strings.Join(report.Parts(), ", "))
	}
	last, err := schedule.ParseSpan(o.last)
	if err != nil {
		return cli.Usage("--last %w", err)
	}
	in, err := gather(ctx, app, app.Now().Add(-last))
	if err != nil {
		return err
	}
	return o.write(app, in, report.Make(in, names...))
}

// gather asks the agent, or reads its journal, and adds what the configuration
// says.
func gather(ctx context.Context, app *cli.App, since time.Time) (*report.Input, error) {
	conf := &app.Globals.Config
	in, err := fromJournal(app,
		func(c *agent.Client) (*report.Input, error) { return c.Gather(ctx, since) },
		func(j *journal.Journal) (*report.Input, error) { return agent.Gather(j, conf, since, app.Now()) })
	if err != nil {
		return nil, err
	}
	for i := range in.Items {
		if p := conf.Policy(in.Items[i].Name); p != nil {
			in.Items[i].Policy = *p
		}
	}
	in.Host, in.Prices, in.Zone = conf.Notify.Host, conf.Report.Prices, app.Zone
	if in.Host == "" {
		in.Host = hostOf()
	}
	return in, nil
}

func (o *reportOptions) write(app *cli.App, in *report.Input, tables []report.Table) error {
	var b strings.Builder
	var w io.Writer = app.Stdout
	if o.output != "" {
		w = &b
	}
	var err error
	switch o.format {
	case "json":
		err = report.JSON(w, in, tables)
	case "csv":
		err = report.CSV(w, &tables[0])
	case "html":
		err = report.HTML(w, in, tables)
	default:
		err = report.Text(w, tables)
	}
	if err != nil || o.output == "" {
		return err
	}
	path, err := filepath.Abs(o.output)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return durable.WriteFile(path, []byte(b.String()), 0o644)
}
