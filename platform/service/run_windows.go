package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/kardianos/service"
)

// managed is a program that the service control manager starts and stops.
type managed struct {
	ctx  context.Context // of Run, which outlives it
	do   func(context.Context) error
	stop context.CancelFunc
	done chan error
}

// Start implements service.Interface.
func (m *managed) Start(service.Service) error {
	ctx, stop := context.WithCancel(m.ctx)
	m.stop = stop
	go func() { m.done <- m.do(ctx) }()
	return nil
}

// Stop implements service.Interface.
func (m *managed) Stop(service.Service) error {
	m.stop()
	return <-m.done
}

// Run calls do. Where a manager of services wants to be told that the service
// runs, and to tell it to stop, that is done.
func Run(ctx context.Context, name string, do func(context.Context) error) error {
	if service.Interactive() {
		return do(ctx)
	}
	m := &managed{ctx: ctx, do: do, done: make(chan error, 1)}
	v, err := service.New(m, &service.Config{Name: name})
	if err == nil {
		err = v.Run()
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run service %s: %w", name, err)
	}
	return nil
}
