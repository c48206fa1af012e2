package meta

// Info is what Lstat tells of a file.
type Info struct {
	Mode     uint32 // type and permission bits, as in st_mode
	UID, GID uint32
	Size     int64 // bytes
	MTime    Time
	Nlink    uint64
	Rdev     uint64 // of a device: its number
	ID       FileID
}

// FileID tells files of a host apart while they exist: hard links share it.
// Where the system has no such numbers it is zero.
type FileID struct{ Dev, Ino uint64 }

// Types of files in Info.Mode, the same on every system.
const (
	TypeMask   = typeMask
	TypeFolder = 0o040000
	TypeFile   = 0o100000
	TypeLink   = typeLink
	TypeFIFO   = 0o010000
	TypeChar   = 0o020000
	TypeBlock  = 0o060000
)

// Type returns the type bits of the mode.
func (i *Info) Type() uint32 { return i.Mode & typeMask }
