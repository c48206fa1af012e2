package walk

import (
	"slices"

	"golang.org/x/sys/unix"
)

// isTop says whether the path is above all file systems of the host.
func isTop(string) bool { return false }

// madeUp are file systems whose files the kernel makes up. Reading them all is
// pointless at best: some never end, some wait for ever, some change the system.
var madeUp = [...]int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
	unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC,
	unix.EFIVARFS_MAGIC, unix.SELINUX_MAGIC, unix.SMACK_MAGIC, unix.BINFMTFS_MAGIC, unix.NSFS_MAGIC,
	0x62656570, 0x65735543, // configfs, fusectl
}

// isMadeUp says whether an open folder is on such a file system.
func isMadeUp(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && slices.Contains(madeUp[:], int64(st.Type))
}

func statPath(path string, follow bool) (Stat, error) {
	flags := unix.AT_NO_AUTOMOUNT
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	var st unix.Stat_t
	for {
		err := unix.Fstatat(unix.AT_FDCWD, path, &st, flags)
		if err == unix.EINTR {
			continue
		}
		var s Stat
		s.fill(&st)
		return s, err
	}
}
