//go:build unix && !linux

package durable

// renameNew renames temp to path if nothing has that name.
func renameNew(temp, path string) error { return linkNew(temp, path) }
