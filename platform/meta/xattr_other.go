//go:build !linux

package meta

import (
	"errors"
	"strings"

	"github.com/pkg/xattr"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// listXattrs returns the zero-terminated names.
func listXattrs(a At, buf []byte) ([]byte, error) {
	if !xattr.XATTR_SUPPORTED {
		return nil, fault.Unsupported
	}
	names, err := xattr.LList(a.Path())
	if err != nil {
		return nil, err
	}
	all := strings.Join(names, "\x00")
	if len(all) > len(buf) {
		return nil, tooLarge(len(all), len(buf))
	}
	return []byte(all), nil
}

func getXattr(a At, attr string, buf []byte) ([]byte, error) {
	value, err := xattr.LGet(a.Path(), attr)
	if err == nil && len(value) > len(buf) {
		return nil, tooLarge(len(value), len(buf))
	}
	return value, err
}

func setXattr(a At, attr string, value []byte) error {
	return xattr.LSet(a.Path(), attr, value)
}

func removeXattr(a At, attr string) error {
	err := xattr.LRemove(a.Path(), attr)
	if isMissing(err) {
		return nil
	}
	return err
}

// isMissing says that there is no such attribute now.
func isMissing(err error) bool { return errors.Is(err, xattr.ENOATTR) }
