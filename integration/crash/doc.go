// Package crash tests what is left when a backup ends before its time: killed
// at any moment, on a full disk, in a place that takes no writes. Earlier
// points stay whole, and the next run stores only what is missing.
//
// Runs that are killed are child processes: the test binary started again.
package crash
