package config

import (
	"fmt"
	"net"
	"strconv"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// CheckPage refuses an address for the web page that others than this machine
// could reach.
func CheckPage(address string) error { return checkLoopback("page", address) }

// checkLoopback refuses an address that others than this machine could reach.
func checkLoopback(key, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s %q: give an address and a port, as in 127.0.0.1:8377: %w", key, address, fault.Invalid)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s %q: %q is no port: %w", key, address, port, fault.Invalid)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s %q: others than this machine could reach it; give 127.0.0.1 or [::1], and a tunnel (ssh -L) from elsewhere: %w", key, address, fault.Invalid)
	}
	return nil
}
