package durable

import iofs "io/fs"

// Private accepts every file: on Windows a file's access list comes from its
// folder, which belongs to the user or the system.
func Private(iofs.FileInfo) error { return nil }

// ownLike does nothing: owner and access list of a new file come from its folder.
func ownLike(string, iofs.FileInfo) error { return nil }
