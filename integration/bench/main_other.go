//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: runs on Linux only: it drops the page cache and mounts FUSE file systems")
	os.Exit(1)
}
