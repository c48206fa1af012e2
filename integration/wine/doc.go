// Package wine runs the program for Windows as far as Wine can run it: backup,
// points, restore, and shares; and the tests of the tree. WinFsp is a driver, which Wine cannot load; what
// stands in for it there, a mount through WebDAV, is tried instead.
package wine
