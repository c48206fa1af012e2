// Package process starts programs of others with care: it kills all that one
// started, and tells whether others may change a program before it runs with
// the rights of this one.
package process
