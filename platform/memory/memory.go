// Package memory gets memory in large pages for those who use much of it once.
//
// Deriving a key from a passphrase fills 64 MiB. In pages of 4 KiB the kernel
// hands them out 33,000 times (a page is read before it is written, which counts
// twice), and that took 0.1 of the 0.4 seconds of processor time; in pages of
// 2 MiB it takes 0.02.
package memory

// Large makes it likely that the next n bytes that are allocated at once lie in
// large pages, where the system has them. done is to be called when they are
// not used any more. It runs the collector once.
func Large(n int) (done func()) { return large(n) }
