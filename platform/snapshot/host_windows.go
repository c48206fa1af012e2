package snapshot

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
)

// host looks for the drives on which paths lie.
func host(_ context.Context, o *Options) (*plan, error) {
	p := &plan{}
	for _, path := range o.Paths {
		path = filepath.Clean(path)
		name := strings.ToUpper(filepath.VolumeName(path))
		if len(name) != 2 {
			p.live = append(p.live, Live{Path: path, Why: "it is on no drive of this machine"})
			continue
		}
		at := name + `\`
		i := slices.IndexFunc(p.volumes, func(v *volume) bool { return v.Path == at })
		if i < 0 {
			i = len(p.volumes)
			p.volumes = append(p.volumes, &volume{Driver: vssDriver, Path: at})
			p.wants = append(p.wants, want{path: at, volume: p.volumes[i]})
		}
	}
	return p, nil
}

// below returns the path of something below a folder of this host. That of a
// shadow copy ends with a backslash, or it is the device.
func below(dir, rest string) string { return dir + `\` + rest }

func mounted(string) bool { return false }
