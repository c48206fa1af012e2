//go:build unix

package meta

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// nextData returns where the next data at or after offset begins and where
// the hole after it does. Without data data is size.
func nextData(f *os.File, offset, size int64) (data, hole int64, err error) {
	data, err = f.Seek(offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if cannotTell(err) {
		return offset, size, nil
	}
	if err != nil {
		return 0, 0, err
	}
	hole, err = f.Seek(data, unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, io.EOF) { // the file was cut meanwhile
		return size, size, nil
	}
	return data, hole, err
}

// cannotTell says that the file system does not know of holes.
func cannotTell(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOTTY)
}

// DeviceNumbers splits a device number of this host, as in st_rdev.
func DeviceNumbers(rdev uint64) (major, minor uint32) { return unix.Major(rdev), unix.Minor(rdev) }

// DeviceOf makes a device number of this host.
func DeviceOf(major, minor uint32) uint64 { return unix.Mkdev(major, minor) }
