package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Lock is held on a file until Unlock, or until the process ends, however it
// ends. It keeps out other holders in this process, too.
type Lock struct {
	file *os.File
}

// lockPoll is how often AcquireLock asks again.
const lockPoll = 100 * time.Millisecond

// TryLock takes the lock on the file path, which it makes with mode 0600 if it
// is missing and which stays there. If somebody holds it the error is
// fault.Unavailable.
func TryLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// AcquireLock takes the lock as TryLock does, and waits for it while somebody
// else holds it.
func AcquireLock(ctx context.Context, path string) (*Lock, error) {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		l, err := TryLock(path)
		if err == nil || !errors.Is(err, fault.Unavailable) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

// Unlock gives up the lock. The file stays: removing it would let two
// processes hold locks on two files of one name.
func (l *Lock) Unlock() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlock %s: %w", l.file.Name(), err)
	}
	return nil
}
