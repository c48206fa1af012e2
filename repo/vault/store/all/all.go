// Package all turns an address, as a user types it, into a store.
//
// An address is a path of this host, or begins with the kind of place:
//
//	/srv/backup, ../backup, C:\backup    a folder
//	file:///srv/backup                   a folder
//	s3:… azure:… sftp:… https:…          known, but not in this version
//
// Whatever else looks like scheme://… is refused rather than taken for a
// folder of that name. To open a folder whose name looks like an address, put
// ./ in front.
package all

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// scheme matches what may be the kind of a place; a single letter is a drive
// of Windows.
var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+):`)

// Open returns the store at the address, which must exist: fault.NotExist
// otherwise. A kind that this version lacks is fault.Unsupported, an address
// that cannot be understood fault.Invalid. Whoever opens a store closes it, if
// it is an io.Closer.
func Open(ctx context.Context, address string) (store.Store, error) {
	return place(ctx, address, local.Open)
}

// Create is Open for a new repository: it makes the place if it is absent.
func Create(ctx context.Context, address string) (store.Store, error) {
	return place(ctx, address, local.Create)
}

func place(ctx context.Context, address string, folder func(string) (*local.Dir, error)) (store.Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", address, err)
	}
	path, err := folderOf(address)
	if err != nil {
		return nil, err
	}
	d, err := folder(path)
	if err != nil {
		return nil, err // not d: a nil *Dir in an interface is not nil
	}
	return d, nil
}

// folderOf returns the path that an address of a folder names.
func folderOf(address string) (string, error) {
	if address == "" || strings.ContainsRune(address, 0) {
		return "", fmt.Errorf("open store %q: no usable address: %w", address, fault.Invalid)
	}
	m := scheme.FindStringSubmatch(address)
	if m == nil {
		return address, nil
	}
	switch strings.ToLower(m[1]) {
	case "file":
		return folderOfURL(address)
	case "s3", "azure", "sftp", "http", "https":
		// The address may hold a password, so it is not repeated here.
		return "", fmt.Errorf("open a store of kind %s: not in this version: %w", strings.ToLower(m[1]), fault.Unsupported)
	}
	if strings.HasPrefix(address[len(m[0]):], "//") {
		return "", fmt.Errorf("open a store of kind %q: no such kind (a folder of that name: put ./ in front): %w", m[1], fault.Invalid)
	}
	return address, nil
}

func folderOfURL(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil ||
		(u.Host != "" && u.Host != "localhost") || !strings.HasPrefix(u.Path, "/") || strings.ContainsRune(u.Path, 0) {
		return "", fmt.Errorf("open store %q: want file:///PATH, with %%3F for ? and %%23 for #: %w", address, fault.Invalid)
	}
	// file:///C:/backup has a path of /C:/backup.
	if local := filepath.FromSlash(u.Path[1:]); filepath.VolumeName(local) != "" {
		return local, nil
	}
	return filepath.FromSlash(u.Path), nil
}
