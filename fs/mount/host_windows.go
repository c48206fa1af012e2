package mount

import (
	"path/filepath"
	"runtime"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Probe finds out what this machine has.
func Probe() Host {
	return Host{
		System: runtime.GOOS, Root: windows.GetCurrentProcessToken().IsElevated(), AllowOther: true,
		WinFsp: winfspLibrary(), WebClient: webClient(), Programs: programs("net", "explorer"),
	}
}

// winfspLibrary looks where cgofuse does: WinFsp tells its folder in the part
// of the registry that is for 32-bit programs.
func winfspLibrary() string {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `Software\WinFsp`, registry.QUERY_VALUE|registry.WOW64_32KEY)
	if err != nil {
		return ""
	}
	defer k.Close()
	dir, _, err := k.GetStringValue("InstallDir")
	if err != nil {
		return ""
	}
	name := "winfsp-x64.dll"
	if runtime.GOARCH == "arm64" {
		name = "winfsp-a64.dll"
	}
	path := filepath.Join(dir, "bin", name)
	d := windows.NewLazyDLL(path)
	if d.Load() != nil {
		return ""
	}
	return path
}

const webClientKey = `SYSTEM\CurrentControlSet\Services\WebClient`

func webClient() *WebClient {
	service, err := registry.OpenKey(registry.LOCAL_MACHINE, webClientKey, registry.QUERY_VALUE)
	if err != nil {
		return nil
	}
	defer service.Close()
	w := &WebClient{Start: number(service, "Start", 3), FileLimit: webClientFileLimit, ListingLimit: webClientListingLimit, BasicAuthLevel: 1}
	if k, err := registry.OpenKey(registry.LOCAL_MACHINE, webClientKey+`\Parameters`, registry.QUERY_VALUE); err == nil {
		defer k.Close()
		w.FileLimit = number(k, "FileSizeLimitInBytes", w.FileLimit)
		w.ListingLimit = number(k, "FileAttributesLimitInBytes", w.ListingLimit)
		w.BasicAuthLevel = number(k, "BasicAuthLevel", w.BasicAuthLevel)
	}
	if k, err := registry.OpenKey(registry.CURRENT_USER, `Software\Microsoft\Windows\CurrentVersion\Internet Settings`, registry.QUERY_VALUE); err == nil {
		defer k.Close()
		w.ProxySearch = number(k, "AutoDetect", 0) != 0
	}
	return w
}

func number(k registry.Key, name string, otherwise uint32) uint32 {
	n, _, err := k.GetIntegerValue(name)
	if err != nil || n > 1<<32-1 {
		return otherwise
	}
	return uint32(n)
}
