// Package space tells how much room a file system has.
package space

import "fmt"

// Of returns the size of the file system that holds path, and what of it is
// left for this user, both in bytes. free is never more than total.
func Of(path string) (total, free int64, err error) {
	total, free, err = of(path)
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the space of %s: %w", path, err)
	}
	// Some file systems count a reserve below zero, some network ones invent
	// figures.
	total = max(total, 0)
	return total, min(max(free, 0), total), nil
}
