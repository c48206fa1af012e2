//go:build !linux && !windows

package snapshot

import "context"

// host knows no snapshots here.
func host(_ context.Context, o *Options) (*plan, error) {
	p := &plan{}
	for _, path := range o.Paths {
		p.live = append(p.live, Live{Path: path, Why: "snapshots are taken on Linux and Windows only"})
	}
	return p, nil
}

func below(dir, rest string) string { return dir + "/" + rest }

func mounted(string) bool { return false }
