// Package mount compares mounted recovery points of a real repository with
// the files that were backed up, by the eyes of other programs: rsync, tar,
// getfacl, getfattr, fio.
package mount
