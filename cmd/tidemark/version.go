package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

// build says what this program was built from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go,omitempty"`
	System   string `json:"system,omitempty"`
	Format   int    `json:"format"` // newest format of repositories that it writes
}

func thisBuild() build {
	b := build{Version: "(unknown)", Format: 1}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version, b.Go = info.Main.Version, info.GoVersion
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	b.Revision, b.Modified = set["vcs.revision"], set["vcs.modified"] == "true"
	if set["GOOS"] != "" {
		b.System = set["GOOS"] + "/" + set["GOARCH"]
	}
	return b
}

func newVersion(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the version",
		Long:              "Print the version of this program, and of the format in which it writes.",
		Example:           "  tidemark version --json",
		Args:              arguments(cobra.NoArgs),
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil }, // works with a broken configuration
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			if app.Globals.JSON {
				return app.JSON(b)
			}
			app.Printf("tidemark %s, repository format %d", b.Version, b.Format)
			if b.System != "" {
				app.Printf(", %s, %s", b.Go, b.System)
			}
			app.Printf("\n")
			return nil
		},
	}
}
