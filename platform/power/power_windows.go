package power

import (
	"context"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

func battery(context.Context) Answer {
	// SYSTEM_POWER_STATUS of winbase.h.
	var status struct {
		line, battery, percent, saver byte
		life, full                    uint32
	}
	ok, _, _ := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemPowerStatus").Call(uintptr(unsafe.Pointer(&status)))
	if ok == 0 || status.line > 1 {
		return Unknown
	}
	return answer(status.line == 0)
}

// What netlistmgr.h says.
const (
	costFixed      = 0x2
	costVariable   = 0x4
	costRoaming    = 0x40000
	clsctxAll      = 0x17
	releaseInTable = 2 // of IUnknown
	getCostInTable = 3 // the first method of INetworkCostManager
)

// metered asks the Network List Manager, through the tables of functions that
// COM objects are.
func metered(context.Context) Answer {
	runtime.LockOSThread() // COM belongs to a thread
	defer runtime.UnlockOSThread()
	if err := windows.CoInitializeEx(0, windows.COINIT_MULTITHREADED); err != nil && err != syscall.Errno(1) { // S_FALSE: it is already
		return Unknown
	}
	defer windows.CoUninitialize()
	class := windows.GUID{Data1: 0xDCB00C01, Data2: 0x570F, Data3: 0x4A9B, Data4: [8]byte{0x8D, 0x69, 0x19, 0x9F, 0xDB, 0xA5, 0x72, 0x3B}}
	costs := windows.GUID{Data1: 0xDCB00008, Data2: 0x570F, Data3: 0x4A9B, Data4: [8]byte{0x8D, 0x69, 0x19, 0x9F, 0xDB, 0xA5, 0x72, 0x3B}}
	var object **[4]uintptr
	failed, _, _ := windows.NewLazySystemDLL("ole32.dll").NewProc("CoCreateInstance").Call(
		uintptr(unsafe.Pointer(&class)), 0, clsctxAll, uintptr(unsafe.Pointer(&costs)), uintptr(unsafe.Pointer(&object)))
	if int32(failed) < 0 || object == nil {
		return Unknown
	}
	this := uintptr(unsafe.Pointer(object))
	defer func() { _, _, _ = syscall.SyscallN((*object)[releaseInTable], this) }()
	var cost uint32
	if failed, _, _ := syscall.SyscallN((*object)[getCostInTable], this, uintptr(unsafe.Pointer(&cost)), 0); int32(failed) < 0 || cost == 0 {
		return Unknown
	}
	return answer(cost&(costFixed|costVariable|costRoaming) != 0)
}
