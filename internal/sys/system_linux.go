//go:build linux && !portable

package sys

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file asks the system about the process, and has files by system calls.

// MemoryLimit returns how many bytes the process may use: the smallest of the
// limits of its control groups (v1 or v2) and the machine's memory. 0 means
// unknown.
func MemoryLimit() uint64 {
	machine := uint64(0)
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		machine = uint64(si.Totalram) * uint64(max(si.Unit, 1))
	}
	var buf [4096]byte
	return leastLimit(machine, readSome("/proc/self/cgroup", buf[:]), "/sys/fs/cgroup")
}

// leastLimit returns the smallest of limit, if it is known, and the limits of the
// control groups that a text like /proc/self/cgroup names, and of the groups that
// these are in. The hierarchies are mounted at root. It leaves little garbage and
// uses little other code, because both would stay resident.
func leastLimit(limit uint64, groups, root string) uint64 {
	for groups != "" {
		var line string
		line, groups, _ = strings.Cut(groups, "\n")
		// hierarchy:controllers:path; v2 has no controllers here
		_, line, _ = strings.Cut(line, ":")
		controllers, path, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		at, file := root, "/memory.max"
		if controllers != "" {
			if !strings.Contains(","+controllers+",", ",memory,") {
				continue
			}
			at, file = root+"/memory", "/memory.limit_in_bytes"
		}
		for ; ; path = path[:strings.LastIndexByte(path, '/')] {
			if n := readNumber(at + path + file); n > 0 && (limit == 0 || n < limit) {
				limit = n
			}
			if !strings.Contains(path, "/") {
				break
			}
		}
	}
	return limit
}

// readNumber returns the number in a file, 0 if it has none: "max" means no limit.
func readNumber(path string) (n uint64) {
	var buf [24]byte
	text, _, _ := strings.Cut(readSome(path, buf[:]), "\n")
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0
		}
		n = n*10 + uint64(text[i]-'0')
	}
	return n
}

// readSome returns what one read of a file puts into buf, "" after an error.
func readSome(path string, buf []byte) string {
	f, err := Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	n, err := f.Read(buf)
	if err != nil {
		return ""
	}
	return unsafe.String(unsafe.SliceData(buf), n)
}

// DeclineHugePages restarts the program without huge pages, if the system uses
// them for all memory. The first byte that the Go runtime touches in a huge
// page would make two megabytes resident. The setting survives exec, but must
// be made before memory is used. If anything fails, the program continues as it
// is.
func DeclineHugePages() {
	mode, err := ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || !strings.Contains(string(mode), "[always]") {
		return
	}
	if off, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0); err != nil || off != 0 {
		return
	}
	// Linux 6.18 can allow huge pages for memory that asks for them, as the slab does.
	const exceptAdvised = 1 << 1
	if unix.Prctl(unix.PR_SET_THP_DISABLE, 1, exceptAdvised, 0, 0) != nil &&
		unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0) != nil {
		return
	}
	// Started by its path: with /proc/self/exe, ps would show "exe".
	path := make([]byte, 4096)
	if n, err := unix.Readlink("/proc/self/exe", path); err == nil && n < len(path) {
		_ = unix.Exec(string(path[:n]), os.Args, os.Environ())
	}
}

// FileLimit returns how many files the process may have open.
func FileLimit() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 1 << 63
	}
	return limit.Cur
}

// Random fills b from the kernel's random source. crypto/rand would bring
// math/big and fmt with it.
func Random(b []byte) error {
	if n, err := unix.Getrandom(b, 0); err == nil && n == len(b) {
		return nil
	}
	f, err := Open("/dev/urandom") // for a kernel without getrandom
	if err != nil {
		return errors.New("neither getrandom nor /dev/urandom: " + err.Error())
	}
	defer f.Close()
	_, err = io.ReadFull(f, b)
	return err
}

// File is a file that is open for reading. os.File would bring deadlines, time
// zones and their parser: 40 KB of a router's flash.
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

// FileState identifies a file and its content.
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

// AtomicFile is a file that is replaced in one step, so readers always see a
// complete file. The paths are kept as system calls need them, so Write
// allocates nothing.
type AtomicFile struct{ path, temporary []byte }

func NewAtomicFile(path string) *AtomicFile {
	return &AtomicFile{append([]byte(path), 0), append([]byte(path), ".new\x00"...)}
}

// Write replaces the content of the file. Everybody may read it. Write does not
// wait until the disk has it: the next report comes soon, and flash wears out.
func (r *AtomicFile) Write(b []byte) error {
	if err := r.Check(); err != nil {
		return err
	}
	r.unlink(r.temporary) // left by a power cut, or made by somebody else
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&r.temporary[0])), flags, 0o600, 0, 0)
	if errno != 0 {
		return errno
	}
	err := writeAll(int(fd), b)
	if err == nil {
		err = unix.Fchmod(int(fd), 0o644) // the umask must not matter
	}
	if e := unix.Close(int(fd)); err == nil {
		err = e
	}
	if err == nil {
		_, _, errno = unix.Syscall6(unix.SYS_RENAMEAT2, atFDCWD, uintptr(unsafe.Pointer(&r.temporary[0])),
			atFDCWD, uintptr(unsafe.Pointer(&r.path[0])), 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.ENOSYS: // before Linux 3.15
			if err = unix.Rename(string(r.temporary[:len(r.temporary)-1]), string(r.path[:len(r.path)-1])); err == nil {
				return nil
			}
		default:
			err = errno
		}
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

// atFDCWD is AT_FDCWD: paths are relative to the working directory.
const atFDCWD = ^uintptr(99)

// IsTerminal reports whether standard output is a terminal.
func IsTerminal() bool {
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	return err == nil
}

// IsJournal reports whether standard error is the stream that JOURNAL_STREAM
// names by device and inode.
func IsJournal(name string) bool {
	var st unix.Stat_t
	return unix.Fstat(2, &st) == nil &&
		name == strconv.FormatUint(uint64(st.Dev), 10)+":"+strconv.FormatUint(st.Ino, 10)
}

// SeparatePipes reports whether standard output and standard error are two
// different pipes.
func SeparatePipes() bool {
	var out, err unix.Stat_t
	return unix.Fstat(1, &out) == nil && unix.Fstat(2, &err) == nil &&
		out.Mode&unix.S_IFMT == unix.S_IFIFO && err.Mode&unix.S_IFMT == unix.S_IFIFO && out.Ino != err.Ino
}
