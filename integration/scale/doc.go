// Package scale tests that size costs time and room, and never memory: folders
// of a million names, files of 100 GiB, a thousand points. It runs the program
// itself, as users do, and asks the kernel what that took at most. Sizes are
// small unless TIDEMARK_LONG is set.
package scale
