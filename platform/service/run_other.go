//go:build !windows

package service

import "context"

// Run calls do. Where a manager of services wants to be told that the service
// runs, and to tell it to stop, that is done.
func Run(ctx context.Context, _ string, do func(context.Context) error) error { return do(ctx) }
