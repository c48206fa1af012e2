package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// catBuffer is how much is read at a time, in bytes.
const catBuffer = 1 << 20

func newCat(app *cli.App) *cobra.Command {
	var deleted bool
	c := &cobra.Command{
		Use:   "cat POINT:PATH…",
		Short: "Print files of a recovery point",
		Long: `Print the content of files of a recovery point, one after the other. The
content is printed as it is; --json concerns errors only.`,
		Example: `  tidemark cat latest:/etc/fstab
  tidemark cat "3d ago:/home/me/letter.odt" > letter.odt`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return runCat(c.Context(), app, args, deleted) },
	}
	deletedFlag(c, &deleted)
	return c
}

func runCat(ctx context.Context, app *cli.App, args []string, deleted bool) error {
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	r.deleted = deleted
	for _, arg := range args {
		if err = catOne(ctx, app, r, arg); err != nil {
			break
		}
	}
	return errors.Join(err, r.close())
}

func catOne(ctx context.Context, app *cli.App, r *opened, arg string) error {
	name, path := cli.SplitPointPath(arg)
	p, err := selectPoint(ctx, app, r, name)
	if err != nil {
		return err
	}
	t := onePoint(r, p)
	file, err := walkTo(ctx, t, path)
	if err != nil {
		return err
	}
	switch file.Kind {
	case table.File:
	case table.Folder:
		return fmt.Errorf("print %s: %w", path, fault.IsDir)
	default:
		return fmt.Errorf("print %s: it is a %s: %w", path, file.Kind, fault.Unsupported)
	}
	return content(ctx, t, file, make([]byte, catBuffer), func(b []byte) error {
		if _, err := app.Stdout.Write(b); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		return nil
	})
}
