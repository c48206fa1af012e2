//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is one command line of a tool.
type command struct {
	args []string
	dir  string   // working folder, "" for ours
	env  []string // added to ours
}

// usage is what an act cost.
type usage struct {
	Wall time.Duration
	CPU  time.Duration // user and system
	Peak int64         // largest resident set in bytes, 0 if unknown
	// Others is the share of the machine's processors that everything else
	// took meanwhile, the kernel's own threads included; 0 in rows of a mount.
	Others float64
}

// process is a running command.
type process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	start  time.Time
	errors string // path of what it printed
	own    int64  // our own peak when it was started
	busy   time.Duration

	wait chan struct{} // closed when it has ended
	err  error         // valid after wait
	end  time.Time
	used time.Duration // by all processes, from start to end

	mu   sync.Mutex
	peak int64
}

// launch starts a command whose output goes into a file below logs. The
// command is killed when it runs longer than limit.
func launch(ctx context.Context, c command, logs string, limit time.Duration) (*process, error) {
	out, err := os.CreateTemp(logs, filepath.Base(c.args[0])+"-*.log")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second
	p := &process{cmd: cmd, cancel: cancel, errors: out.Name(), own: resident("self"), busy: busy(), wait: make(chan struct{}), start: time.Now()}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", c.args[0], err)
	}
	go p.watch(ctx)
	return p, nil
}

// watch samples the peak until the process has ended.
func (p *process) watch(ctx context.Context) {
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	pid := strconv.Itoa(p.cmd.Process.Pid)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case p.err = <-done:
			p.end, p.used = time.Now(), busy()-p.busy
			if ctx.Err() != nil {
				p.err = fmt.Errorf("stopped: %w", ctx.Err())
			}
			p.cancel()
			close(p.wait)
			return
		case <-tick.C:
			if n := resident(pid); n > 0 {
				p.mu.Lock()
				p.peak = max(p.peak, n)
				p.mu.Unlock()
			}
		}
	}
}

// finish waits for the end and returns what the process cost. An exit code in
// allowed is no error.
func (p *process) finish(allowed ...int) (usage, error) {
	<-p.wait
	s := p.cmd.ProcessState
	if s == nil {
		return usage{}, p.err
	}
	u := usage{Wall: p.end.Sub(p.start), CPU: s.UserTime() + s.SystemTime(), Peak: p.peak}
	u.Others = max(0, (p.used-u.CPU).Seconds()/u.Wall.Seconds()/float64(runtime.NumCPU()))
	// The kernel lets a child inherit our own peak, so its figure counts only
	// where it is the larger one.
	if r, ok := s.SysUsage().(*syscall.Rusage); ok && r.Maxrss<<10 > p.own+1<<20 {
		u.Peak = max(u.Peak, r.Maxrss<<10)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		for _, code := range allowed {
			if exit.ExitCode() == code {
				return u, nil
			}
		}
	}
	if p.err != nil {
		return u, fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), p.err, tail(p.errors))
	}
	return u, nil
}

// resident is the largest resident set a process had so far, 0 when it ended.
func resident(pid string) int64 {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	_, s, ok := strings.Cut(string(b), "VmHWM:")
	if !ok {
		return 0
	}
	s, _, _ = strings.Cut(strings.TrimSpace(s), " ")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// processor is the CPU time a process has used so far.
func processor(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 13 {
		return 0
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// busy is the time all processors together have worked since the start of the
// machine, in steps of 10 ms a processor.
func busy() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var total time.Duration
	for i, f := range strings.Fields(line) {
		// user nice system idle iowait irq softirq steal; guest is in user
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		total += time.Duration(n) * 10 * time.Millisecond
	}
	return total
}

// tail is the end of a log as one line, for error messages.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	s := strings.Join(strings.Fields(string(b)), " ")
	if len(s) > 300 {
		s = "… " + s[len(s)-300:]
	}
	return s
}

// dropCaches writes out and forgets all clean pages, names and inodes.
func dropCaches() error {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("drop caches (cold rows need root): %w", err)
	}
	return nil
}
