//go:build linux && !portable

package sys

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file owns what the tracker asks the system about itself.

// MemoryLimit is how many bytes the process may use: the least of the limits
// of its control groups, v1 or v2, and of the machine's memory. 0 is unknown.
func MemoryLimit() uint64 {
	limit := uint64(0)
	least := func(n uint64) {
		if n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		least(uint64(si.Totalram) * uint64(max(si.Unit, 1)))
	}
	groups, err := ReadFile("/proc/self/cgroup")
	if err != nil {
		return limit
	}
	for _, line := range strings.Split(string(groups), "\n") {
		// hierarchy:controllers:path, with no controllers for v2
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "/memory.max"
		if f[1] != "" {
			if !strings.Contains(","+f[1]+",", ",memory,") {
				continue
			}
			root, file = "/sys/fs/cgroup/memory", "/memory.limit_in_bytes"
		}
		for path := f[2]; ; path = path[:strings.LastIndexByte(path, '/')] {
			if b, err := ReadFile(root + path + file); err == nil {
				n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
				if err == nil { // "max" is no number, and no limit
					least(n)
				}
			}
			if !strings.Contains(path, "/") {
				break
			}
		}
	}
	return limit
}

// DeclineHugePages starts the program anew where the system would back all
// memory with huge pages unasked: the first byte that the Go runtime touches in
// each would make two megabytes resident. The refusal outlives an exec, and can
// only be made before memory is used. Where something is in the way the program
// goes on as it is.
func DeclineHugePages() {
	mode, err := ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || !strings.Contains(string(mode), "[always]") {
		return
	}
	if off, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0); err != nil || off != 0 {
		return
	}
	// Linux 6.18 can except what is asked for, as the slab's are.
	const exceptAdvised = 1 << 1
	if unix.Prctl(unix.PR_SET_THP_DISABLE, 1, exceptAdvised, 0, 0) != nil &&
		unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0) != nil {
		return
	}
	// By its path, or ps would know it as "exe".
	path := make([]byte, 4096)
	if n, err := unix.Readlink("/proc/self/exe", path); err == nil && n < len(path) {
		_ = unix.Exec(string(path[:n]), os.Args, os.Environ())
	}
}

// Random fills b from the kernel's random source. (crypto/rand would
// bring math/big and fmt along.)
func Random(b []byte) error {
	if n, err := unix.Getrandom(b, 0); err == nil && n == len(b) {
		return nil
	}
	f, err := Open("/dev/urandom") // a kernel without getrandom
	if err != nil {
		return errors.New("neither getrandom nor /dev/urandom: " + err.Error())
	}
	defer f.Close()
	_, err = io.ReadFull(f, b)
	return err
}

// File is a file open for reading. (os.File would bring deadlines, time zones
// and their parser along: 40 KB of a router's flash.)
type File int

func Open(path string) (File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return File(fd), err
		}
	}
}

func (f File) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(f), b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (f File) Close() error { return unix.Close(int(f)) }

// FileState tells a file from another, and from what it was before.
type FileState struct {
	Seconds, Nanoseconds int64 // of the last change of its content
	Size                 int64
	Device, Inode        uint64

	mode                              uint32
	changedSeconds, changedNanosecond int64 // of the last change of its content, name or mode
}

func (f File) Stat() (FileState, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f), &st)
	return stateOf(&st), err
}

func Stat(path string) (FileState, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return stateOf(&st), err
}

// IsRegular reports whether path, or the file that it links to, is a regular
// file.
func IsRegular(path string) (bool, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Mode&unix.S_IFMT == unix.S_IFREG, err
}

func stateOf(st *unix.Stat_t) FileState {
	sec, nsec := st.Mtim.Unix()
	changedSec, changedNsec := st.Ctim.Unix()
	return FileState{Seconds: sec, Nanoseconds: nsec, Size: st.Size, Device: uint64(st.Dev), Inode: uint64(st.Ino),
		mode: st.Mode, changedSeconds: changedSec, changedNanosecond: changedNsec}
}

// AtomicFile is a file that is written under another name and then takes the
// place of the one that was there: a reader has one or the other, never half of
// one. Names are kept as system calls want them, so that nothing is allocated.
type AtomicFile struct{ path, temporary []byte }

func NewAtomicFile(path string) *AtomicFile {
	return &AtomicFile{append([]byte(path), 0), append([]byte(path), ".new\x00"...)}
}

// Write makes b the content of the file, which everybody may read. It does not
// wait until a disk has it: the next one comes soon, and flash wears.
func (r *AtomicFile) Write(b []byte) error {
	if err := r.Check(); err != nil {
		return err
	}
	r.unlink(r.temporary) // what a power cut left, or a stranger put in the way
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&r.temporary[0])), flags, 0o600, 0, 0)
	if errno != 0 {
		return errno
	}
	err := writeAll(int(fd), b)
	if err == nil {
		err = unix.Fchmod(int(fd), 0o644) // whatever the umask
	}
	if e := unix.Close(int(fd)); err == nil {
		err = e
	}
	if err == nil {
		_, _, errno = unix.Syscall6(unix.SYS_RENAMEAT2, atFDCWD, uintptr(unsafe.Pointer(&r.temporary[0])),
			atFDCWD, uintptr(unsafe.Pointer(&r.path[0])), 0, 0)
		if errno == 0 {
			return nil
		}
		err = errno
	}
	r.unlink(r.temporary)
	return err
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		default:
			b = b[n:]
		}
	}
	return nil
}

// Remove removes the file.
func (r *AtomicFile) Remove() {
	if r.Check() == nil {
		r.unlink(r.path)
	}
}

// Check returns ErrNotRegular if the path is something else than a regular file or
// nothing: to replace a device would destroy it. The file is opened only to look
// at it; a kernel before Linux 3.6 cannot do that, and is believed.
func (r *AtomicFile) Check() error {
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&r.path[0])), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0, 0, 0)
	if errno == unix.ENOENT {
		return nil
	}
	if errno != 0 {
		return errno
	}
	var st unix.Stat_t
	err := unix.Fstat(int(fd), &st)
	unix.Close(int(fd))
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ErrNotRegular
	}
	return nil
}

// Name returns the path of the file, quoted.
func (r *AtomicFile) Name() string { return strconv.Quote(string(r.path[:len(r.path)-1])) }

func (r *AtomicFile) unlink(name []byte) {
	_, _, _ = unix.Syscall(unix.SYS_UNLINKAT, atFDCWD, uintptr(unsafe.Pointer(&name[0])), 0)
}

// atFDCWD is AT_FDCWD: a path counts from the working directory.
const atFDCWD = ^uintptr(99)

// IsTerminal says whether standard output is one.
func IsTerminal() bool {
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	return err == nil
}

// IsJournal says whether standard error is what JOURNAL_STREAM names by device
// and inode.
func IsJournal(name string) bool {
	var st unix.Stat_t
	return unix.Fstat(2, &st) == nil &&
		name == strconv.FormatUint(uint64(st.Dev), 10)+":"+strconv.FormatUint(st.Ino, 10)
}

// SeparatePipes says whether standard output and standard error are pipes, and not
// the same one.
func SeparatePipes() bool {
	var out, err unix.Stat_t
	return unix.Fstat(1, &out) == nil && unix.Fstat(2, &err) == nil &&
		out.Mode&unix.S_IFMT == unix.S_IFIFO && err.Mode&unix.S_IFMT == unix.S_IFIFO && out.Ino != err.Ino
}
