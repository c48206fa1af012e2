package webdav

import (
	"strings"
)

// agent is a client's kind, as far as it matters.
type agent uint8

const (
	other     agent = iota
	microsoft       // Windows' redirector (WebClient) and Office
	apple           // macOS' webdavfs and its Finder
)

func agentOf(userAgent string) agent {
	switch {
	case strings.HasPrefix(userAgent, "Microsoft-WebDAV-MiniRedir"),
		strings.HasPrefix(userAgent, "Microsoft Office"),
		strings.HasPrefix(userAgent, "Microsoft Data Access"),
		strings.HasPrefix(userAgent, "DavClnt"):
		return microsoft
	case strings.HasPrefix(userAgent, "WebDAVFS/"), strings.HasPrefix(userAgent, "WebDAVLib/"):
		return apple
	}
	return other
}

// class is the DAV header. M1: with locks offered macOS mounts for writing,
// and then fails at each write; Windows and Office want locks before they
// open anything, so they are told of some (lock.go).
func (a agent) class() string {
	if a == microsoft {
		return "1, 2"
	}
	return "1"
}

// maxReply bounds a listing in bytes. W3: beyond 1,000,000 bytes Windows shows
// nothing of a folder. The rest is in a folder of its own (more.go).
func (a agent) maxReply() int {
	if a == microsoft {
		return 980_000
	}
	return 0
}
