package report

import (
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Text writes tables for a terminal.
func Text(w io.Writer, tables []Table) error {
	var b strings.Builder
	for i := range tables {
		t := &tables[i]
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s\n%s\n", t.Title, strings.Repeat("=", utf8.RuneCountInString(t.Title)))
		if len(t.Rows) == 0 {
			b.WriteString(t.Empty + "\n")
			continue
		}
		writeColumns(&b, t)
		if t.Note != "" {
			fmt.Fprintf(&b, "(%s)\n", t.Note)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeColumns(b *strings.Builder, t *Table) {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = utf8.RuneCountInString(c.Title)
		for _, row := range t.Rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(plain(row[i].Text)))
		}
	}
	line := func(cell func(int) string) {
		var l strings.Builder
		for i, c := range t.Columns {
			text := cell(i)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if i > 0 {
				l.WriteString("  ")
			}
			if c.Right {
				l.WriteString(pad + text)
			} else {
				l.WriteString(text + pad)
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	line(func(i int) string { return strings.ToUpper(t.Columns[i].Title) })
	for _, row := range t.Rows {
		line(func(i int) string { return plain(row[i].Text) })
	}
}

// plain takes from a text what would move a terminal's cursor, or more.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// JSON writes tables as one object: of each the rows, by the keys of columns.
func JSON(w io.Writer, in *Input, tables []Table) error {
	out := map[string]any{"host": in.Host, "since": in.Since.UTC(), "until": in.Now.UTC()}
	for i := range tables {
		rows := []map[string]any{}
		for _, row := range tables[i].Rows {
			object := map[string]any{}
			for k, c := range tables[i].Columns {
				object[c.Key] = row[k].Value
			}
			rows = append(rows, object)
		}
		out[tables[i].Name] = rows
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// CSV writes one table, with the keys of its columns as the first row.
func CSV(w io.Writer, t *Table) error {
	c := csv.NewWriter(w)
	heading := make([]string, len(t.Columns))
	for i := range t.Columns {
		heading[i] = t.Columns[i].Key
	}
	if err := c.Write(heading); err != nil {
		return err
	}
	for _, row := range t.Rows {
		record := make([]string, len(row))
		for i, cell := range row {
			record[i] = field(cell.Value)
		}
		if err := c.Write(record); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// field writes a value for CSV. A spreadsheet takes what begins with one of
// these signs for a formula, and names of files may.
func field(v any) string {
	var text string
	switch v := v.(type) {
	case nil:
		return ""
	case time.Time:
		return v.Format(time.RFC3339)
	case []string:
		text = strings.Join(v, ", ")
	case string:
		text = v
	default:
		return fmt.Sprint(v)
	}
	if strings.ContainsAny(text[:min(1, len(text))], "=+-@\t\r") {
		text = "'" + text
	}
	return text
}

//go:embed report.html
var page string

// HTML writes tables as one page that needs nothing else.
func HTML(w io.Writer, in *Input, tables []Table) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"stamp": func(at time.Time) string { return at.In(in.Zone).Format("2006-01-02 15:04 MST") },
		"signs": signs,
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("read the page of reports: %w", err)
	}
	return t.Execute(w, struct {
		*Input
		Tables []Table
	}{in, tables})
}

// sign is a day of a grid.
type sign struct{ Class, Title string }

// signs takes a grid apart.
func signs(grid string) []sign {
	var list []sign
	for _, r := range grid {
		switch r {
		case signPoint:
			list = append(list, sign{"good", "a point"})
		case signNone:
			list = append(list, sign{"bad", "no point"})
		default:
			list = append(list, sign{"early", "not there yet"})
		}
	}
	return list
}
