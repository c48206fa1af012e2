package mount

import "os/exec"

// programs says which of some programs are on PATH.
func programs(names ...string) map[string]bool {
	found := map[string]bool{}
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			found[name] = true
		}
	}
	return found
}
