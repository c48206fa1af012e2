package direct

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/meta"
)

const (
	// bounce is how much of what is written lies in an aligned copy at a time:
	// small enough to stay in a processor's cache, which makes that copy cheap,
	// and large enough to keep a disk's head where it is.
	bounce = 2 << 20
	// least is the size from which it pays to set all this up.
	least = 1 << 20
)

// able says whether the kernel can pass the cache by for this file.
func able(f *os.File) bool {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	return err == nil && st.Mask&unix.STATX_DIOALIGN != 0 &&
		fits(st.Dio_mem_align) && fits(st.Dio_offset_align) && (st.Dio_read_offset_align == 0 || fits(st.Dio_read_offset_align))
}

func fits(align uint32) bool { return align != 0 && Align%align == 0 }

// pass turns passing by on or off for an open file.
func pass(f *os.File, on bool) error {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags)
	return err
}

// Reader reads one file, front to back. It is for one goroutine.
type Reader struct {
	f    *os.File
	able bool
	on   bool
}

// NewReader returns a reader of f, which it may leave in either way of reading.
func NewReader(f *os.File) *Reader {
	r := &Reader{f: f, able: able(f)}
	if !r.able {
		meta.Sequential(f)
		return r
	}
	// Reading ahead into the cache would make the rest of the file look as if
	// it had been there already.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) // advice only
	return r
}

// ReadAt is io.ReaderAt. Buffers that come from Buffer, of a length and for an
// offset that are multiples of Align, are filled past the cache; the rest, and
// what the cache holds at least half of, through it.
func (r *Reader) ReadAt(p []byte, at int64) (int, error) {
	r.choose(r.able && aligned(p, at) && len(p) > 0 && !r.cached(at, len(p)))
	if !r.on {
		return r.f.ReadAt(p, at)
	}
	n, err := pread(r.f, p, at)
	if err != nil {
		// Some file systems find out late that they cannot. A disk that fails
		// will fail again.
		r.able, n = false, 0
	}
	if n == len(p) {
		return n, nil
	}
	r.choose(false) // the end of the file, or nearly
	more, err := r.f.ReadAt(p[n:], at+int64(n))
	return n + more, err
}

func (r *Reader) choose(on bool) {
	if r.on == on {
		return
	}
	if err := pass(r.f, on); err != nil {
		r.able = false // and plain reads need no alignment either way
		return
	}
	r.on = on
}

// cached says whether at least half of a part of the file is in memory.
func (r *Reader) cached(at int64, n int) bool {
	var st unix.Cachestat_t
	err := unix.Cachestat(uint(r.f.Fd()), &unix.CachestatRange{Off: uint64(at), Len: uint64(n)}, &st, 0)
	if err != nil {
		// Too old a kernel, or a file that is not ours: we may not know.
		r.able = false
		meta.Sequential(r.f)
		return true
	}
	return 2*st.Cache*uint64(os.Getpagesize()) >= uint64(n)
}

func pread(f *os.File, p []byte, at int64) (int, error) {
	for {
		n, err := unix.Pread(int(f.Fd()), p, at)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// Write writes data into the new and empty file f.
func Write(f *os.File, data []byte) error {
	at := 0
	if len(data) >= least && able(f) {
		var err error
		if at, err = write(f, data[:len(data)&^(Align-1)]); err != nil {
			return err
		}
	}
	if at == 0 {
		_, err := f.Write(data)
		return err
	}
	_, err := f.WriteAt(data[at:], int64(at))
	return err
}

// write writes past the cache, and returns how far it came before it found
// that it could not.
func write(f *os.File, data []byte) (done int, err error) {
	// In one piece where there is room for that, and a full disk is told of
	// before anything is written.
	err = unix.Fallocate(int(f.Fd()), 0, 0, int64(len(data)))
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return 0, &os.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	if err := pass(f, true); err != nil {
		return 0, nil
	}
	buf := Buffer(min(bounce, len(data)))
	for done < len(data) {
		n := copy(buf, data[done:])
		_, err := f.WriteAt(buf[:n], int64(done))
		if errors.Is(err, unix.EINVAL) {
			break
		}
		if err != nil {
			return 0, err
		}
		done += n
	}
	return done, pass(f, false)
}
