//go:build linux && !portable

package sandbox

import (
	"math/bits"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// This file takes the rights away, from all threads of the process. The
// filter is installed for all threads at once. Each thread makes the other calls
// itself: syscall.AllThreadsSyscall does this, but not in a program with cgo.

// Enter takes rights away. It must be called when all sockets are bound, and
// while no thread of the process waits for a file system that may hang.
func Enter(c *Config) (r Result) {
	if allThreads(unix.SYS_PRCTL, ^uintptr(0), 0) == unix.ENOTSUP { // else EINVAL, of this thread only
		return Result{Missing: "not possible in a program with cgo"}
	}
	keep, drop := c.capabilities()
	errno := setFilter(0, nil)
	switch {
	case processor() == 0:
		errno = unix.ENOSYS
	case errno == unix.EFAULT:
		errno = 0
	}
	filter := errno
	abi, files := landlockABI()
	if files == 0 {
		files = c.restrictFiles(abi)
	}
	r.note(Files, files)
	filesRestricted = files == 0

	errno = 0
	if drop {
		errno = setCapabilities(keep)
	}
	r.note(Capabilities, errno)
	for _, k := range capabilityNames {
		if keep&(1<<k.bit) != 0 {
			r.Kept += " " + k.name
		}
	}

	if filter == 0 {
		unknown := verdictUnknown
		if c.Strict {
			unknown = unix.SECCOMP_RET_KILL_PROCESS
		}
		prog := c.filter(uint32(unix.Getpid()), unknown)
		// The filter takes no_new_privs of this thread to the others. A
		// call in each thread would make 30 KB of stacks resident.
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) // if it fails, the filter does
		// The process runs no code of others, so it needs no protection
		// against speculation, which costs time before Linux 5.16.
		filter = setFilter(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, prog)
		if filter == unix.EINVAL { // before Linux 4.17
			filter = setFilter(0, prog)
		}
		runtime.UnlockOSThread()
	}
	r.note(SystemCalls, filter)
	return r
}

// note notes that a part is in force, or why it is not.
func (r *Result) note(p Part, errno unix.Errno) {
	if errno == 0 {
		r.In |= p
		return
	}
	if r.Missing != "" {
		r.Missing += ", "
	}
	r.Missing += Names[bits.TrailingZeros8(uint8(p))] + ": " + errno.Error()
}

// allThreads makes a system call in each thread.
//
//go:uintptrescapes
//go:noinline
func allThreads(nr, a, b uintptr) unix.Errno {
	_, _, errno := syscall.AllThreadsSyscall(nr, a, b, 0)
	return errno
}

// setFilter installs a filter for all threads. Without a program it returns EFAULT
// if the kernel can do it.
func setFilter(flags uintptr, prog []unix.SockFilter) unix.Errno {
	fprog := &unix.SockFprog{Len: uint16(len(prog)), Filter: unsafe.SliceData(prog)}
	if prog == nil {
		fprog = nil
	}
	thread, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags|unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(fprog)))
	if errno == 0 && thread != 0 {
		return unix.ESRCH // this thread has another filter
	}
	return errno
}

// landlockABI returns the version of Landlock.
func landlockABI() (int, unix.Errno) {
	abi, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return int(abi), errno
}

// Rights of Landlock.
const (
	rightsRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rightsWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_REG

	rightsFirst = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1 // all rights of the first version
	rightsTCP   = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
)

// restrictFiles leaves only the files of c. TCP is forbidden too, if the kernel
// can do it. Signals are not restricted here: before Linux 6.15 this would also
// stop signals between threads, because each has a domain of its own.
func (c *Config) restrictFiles(abi int) unix.Errno {
	// Landlock and the filter need it. It also keeps root from getting capabilities
	// back by executing a program, so the bounding set does not matter.
	if errno := allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); errno != 0 {
		return errno
	}
	attr := unix.LandlockRulesetAttr{Access_fs: rightsFirst}
	size := unsafe.Sizeof(attr.Access_fs)
	if abi >= 2 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.Access_net = rightsTCP
		size += unsafe.Sizeof(attr.Access_net)
	}
	if abi >= 5 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	rules, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return errno
	}
	for _, path := range c.Read {
		if path == "" {
			continue
		}
		// If path is a symbolic link, the directory of its target counts too.
		// The target itself is enough if it is a pipe without a name.
		allow(rules, path, rightsRead)
		if fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			if target := realPath(fd); target != "" {
				allow(rules, target, rightsRead)
			}
			if addRule(rules, fd, rightsRead) != 0 { // not a directory
				addRule(rules, fd, unix.LANDLOCK_ACCESS_FS_READ_FILE)
			}
			unix.Close(fd)
		} else { // it may be a symbolic link to a file that comes later
			allow(rules, sys.FollowLinks(path), rightsRead)
		}
	}
	if c.Write != "" {
		allow(rules, c.Write, rightsWrite)
	}
	errno = allThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0)
	unix.Close(int(rules))
	return errno
}

// allow gives rights to all that is below the directory of path, because another
// file may be renamed to path. If the directory is missing, the nearest directory
// above it gets them.
func allow(rules uintptr, path string, rights uint64) {
	for {
		path = directory(path)
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			addRule(rules, fd, rights)
			unix.Close(fd)
		}
		if err == nil || len(path) == 1 { // "/" or "."
			return
		}
	}
}

// addRule gives rights to an open file, or to what is below an open directory.
func addRule(rules uintptr, fd int, rights uint64) unix.Errno {
	const pathBeneath = 1 // LANDLOCK_RULE_PATH_BENEATH
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, pathBeneath, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	return errno
}

// realPath returns the path of an open file, or "" if it is not known.
func realPath(fd int) string {
	target := make([]byte, 512)
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), target)
	if err != nil || target[0] != '/' || n == len(target) {
		return ""
	}
	return string(target[:n])
}

// directory returns the directory of a path, which is "/" for "/".
func directory(path string) string {
	for len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:max(i, 1)]
		}
	}
	return "."
}

// capabilityNames are the capabilities that may be kept.
var capabilityNames = [...]struct {
	bit  uint8
	name string
}{
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
	{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
	{unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"},
	{unix.CAP_NET_RAW, "CAP_NET_RAW"},
}

// capabilitySets are the arguments of capget and capset. The second half of the
// sets has the bits from 32 on.
type capabilitySets struct {
	head unix.CapUserHeader
	sets [2]unix.CapUserData
}

// call calls capget or capset for this thread.
func (s *capabilitySets) call(nr uintptr) unix.Errno {
	s.head = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	_, _, errno := unix.RawSyscall(nr, uintptr(unsafe.Pointer(&s.head)), uintptr(unsafe.Pointer(&s.sets)), 0)
	return errno
}

// capabilities returns those that the process must keep, and whether there are
// others, which it can drop.
func (c *Config) capabilities() (keep uint32, drop bool) {
	var has capabilitySets
	if has.call(unix.SYS_CAPGET) != 0 || has.sets == [2]unix.CapUserData{} {
		return 0, false
	}
	if c.Rebind && c.Port < 1024 {
		keep = 1 << unix.CAP_NET_BIND_SERVICE
	}
	// This thread alone tries without its capabilities.
	runtime.LockOSThread()
	none := has
	none.sets[0].Effective, none.sets[1].Effective = 0, 0
	if none.call(unix.SYS_CAPSET) == 0 {
		keep |= c.fileCapabilities()
		if c.Rebind && !bindsInterfaces() {
			keep |= 1 << unix.CAP_NET_RAW
		}
		has.call(unix.SYS_CAPSET)
	}
	runtime.UnlockOSThread()
	keep &= has.sets[0].Permitted
	return keep, has.sets != [2]unix.CapUserData{{Permitted: keep, Effective: keep}}
}

// setCapabilities drops all capabilities of all threads except keep.
func setCapabilities(keep uint32) unix.Errno {
	want := &capabilitySets{unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{{Permitted: keep, Effective: keep}}}
	return allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&want.head)), uintptr(unsafe.Pointer(&want.sets)))
}

// fileCapabilities returns the capabilities without which root cannot read the
// files of another user, or cannot write to a directory.
func (c *Config) fileCapabilities() (keep uint32) {
	const others = unix.S_IWGRP | unix.S_IWOTH
	for _, path := range c.Read {
		// The files of a directory may belong to anybody, and a file may be replaced
		// by one of anybody who can write to its directory.
		if path != "" && (foreign(path, unix.S_IRUSR, unix.S_IFDIR) || foreign(directory(path), 0, others)) {
			keep |= 1 << unix.CAP_DAC_READ_SEARCH
		}
	}
	if c.Write != "" && foreign(directory(c.Write), unix.S_IWUSR|unix.S_IXUSR, 0) {
		keep |= 1 << unix.CAP_DAC_OVERRIDE
	}
	return keep
}

// foreign reports whether a file or directory belongs to another user or cannot
// be reached, or whether its mode lacks bits of need or has bits of avoid. A
// missing one may be made by this user.
func foreign(path string, need, avoid uint32) bool {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err != unix.ENOENT
	}
	return int(st.Uid) != unix.Geteuid() || st.Mode&(need|avoid) != need
}

// bindsInterfaces reports whether a socket can be bound to an interface without
// a capability, as since Linux 5.7.
func bindsInterfaces() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.BindToDevice(fd, "lo")
		unix.Close(fd)
	}
	return err != unix.EPERM
}
