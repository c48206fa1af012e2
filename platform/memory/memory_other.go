//go:build !linux

package memory

func large(int) (done func()) { return func() {} }
