package power

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	supplies  = "/sys/class/power_supply"
	busWait   = 3 * time.Second // for a bus that does not answer
	maxSysfs  = 1000            // supplies that are looked at
	networks  = "org.freedesktop.NetworkManager"
	networksP = "/org/freedesktop/NetworkManager"
)

func battery(context.Context) Answer { return batteryOf(supplies) }

// batteryOf reads a tree as the kernel's power_supply class has it. A supply from
// outside that is on decides; without one, a battery of the system does, not
// that of a mouse.
func batteryOf(root string) Answer {
	list, err := os.ReadDir(root)
	if err != nil {
		return Unknown
	}
	read := func(name, file string) string {
		b, _ := os.ReadFile(filepath.Join(root, name, file)) // "": it does not say
		return strings.TrimSpace(string(b))
	}
	batteries, discharging, outside := 0, false, false
	for _, e := range list[:min(len(list), maxSysfs)] {
		name := e.Name()
		if read(name, "scope") == "Device" {
			continue
		}
		switch read(name, "type") {
		case "Battery":
			batteries++
			discharging = discharging || read(name, "status") == "Discharging"
		case "Mains", "USB", "Wireless":
			if read(name, "online") == "1" {
				return No
			}
			outside = true
		}
	}
	return answer(batteries > 0 && (discharging || outside))
}

func metered(ctx context.Context) Answer {
	return meteredOn(ctx, func() (*dbus.Conn, error) { return dbus.ConnectSystemBus() })
}

// meteredOn asks the NetworkManager of a bus, which also guesses: by what a
// phone or a modem tells.
func meteredOn(ctx context.Context, connect func() (*dbus.Conn, error)) Answer {
	conn, err := connect()
	if err != nil {
		return Unknown
	}
	defer func() { _ = conn.Close() }() // nothing is sent that could be lost
	ctx, stop := context.WithTimeout(ctx, busWait)
	defer stop()
	var v dbus.Variant
	call := conn.Object(networks, networksP).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, networks, "Metered")
	if call.Store(&v) != nil {
		return Unknown
	}
	switch n, _ := v.Value().(uint32); n {
	case 1, 3: // yes, and yes by a guess
		return Yes
	case 2, 4:
		return No
	}
	return Unknown
}
