// Package webdav looks at a WebDAV share of real recovery points with real
// clients: curl, cadaver, rclone, gvfs, davfs2, tar, unzip, litmus and Chromium.
package webdav
