package config

import (
	"fmt"
	"net"
	"strconv"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// CheckPage refuses an address for the web page that others than this machine
// could reach.
func CheckPage(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("page %q: give an address and a port, as in 127.0.0.1:8377: %w", address, fault.Invalid)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("page %q: %q is no port: %w", address, port, fault.Invalid)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("page %q: others than this machine could reach it; give 127.0.0.1 or [::1], and a tunnel (ssh -L) from elsewhere: %w", address, fault.Invalid)
	}
	return nil
}
