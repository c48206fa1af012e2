// Package sim drives a whole repository through everything that may happen to
// it, in one process and in virtual time.
//
// Nouns: a Place is a store in memory that somebody watches: each operation may
// fail, be carried out and reported as failed, or be the last before a crash.
// A Share says how much survives of what was under way when the power went.
//
// What a Store promises is what survives: an object is there once Put returned,
// and a deletion may be undone. So the states worth looking at are: an
// operation that had not begun, one that was under way and was lost or stored,
// a reply that was lost, and deletions that came back.
package sim
