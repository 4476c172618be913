// Package proc asks the kernel what a process has used, and pins threads to
// processors. The numbers of the kernel do not depend on the load generator.
package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime returns the user and system time of all threads of a process, also of
// threads that have ended. The kernel counts it in nanoseconds, without the
// time that a hypervisor took. /proc/PID/stat shows it in hundredths of a
// second.
func CPUTime(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3): the bits of the ID inverted, and the number of the clock below them.
	const schedulerClock = 2
	clock := int32(^pid)<<3 | schedulerClock
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Memory is what a process has in memory, in bytes.
type Memory struct {
	// Resident is counted page by page at the time of asking.
	Resident int64
	// Peak is the kernel's maximum (VmHWM).
	Peak int64
}

// ReadMemory asks for the memory of a process.
func ReadMemory(pid int) (m Memory, err error) {
	// VmRSS of status is summed from counters that each processor keeps for itself; the sum of
	// the mappings is exact.
	for _, source := range []struct {
		file, field string
		value       *int64
	}{
		{"smaps_rollup", "Rss", &m.Resident},
		{"status", "VmHWM", &m.Peak},
	} {
		name := fmt.Sprintf("/proc/%d/%s", pid, source.file)
		text, err := os.ReadFile(name)
		if err != nil {
			return m, err
		}
		if *source.value, err = parseKB(text, source.field); err != nil {
			return m, fmt.Errorf("%s: %w", name, err)
		}
	}
	// Peak is read after Resident, from less exact counters.
	m.Peak = max(m.Peak, m.Resident)
	return m, nil
}

// parseKB finds a line "Field:   123 kB" and returns bytes.
func parseKB(text []byte, field string) (int64, error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		rest, found := strings.CutPrefix(lines.Text(), field+":")
		if !found {
			continue
		}
		number, found := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		if !found {
			return 0, fmt.Errorf("%q is not in kB", lines.Text())
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		return kb << 10, err
	}
	return 0, fmt.Errorf("no field %s", field)
}

// PinThread binds the calling thread, and the processes that it will start, to some processors.
func PinThread(cpus ...int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to processors %v: %w", cpus, err)
	}
	return nil
}

// Processors returns the numbers of the processors that the calling thread may
// use.
func Processors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// Freeze stops a process, and returns when all its threads are stopped.
func Freeze(pid int) error {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		running, err := running(pid)
		if err != nil || !running {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not stop", pid)
		}
		time.Sleep(time.Millisecond)
	}
}

// Thaw continues a frozen process.
func Thaw(pid int) error { return unix.Kill(pid, unix.SIGCONT) }

// running reports whether any thread of a process is not stopped.
func running(pid int) (bool, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false, err
	}
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err != nil {
			return false, err
		}
		// pid (name, perhaps with spaces and brackets) state ...
		_, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " ")
		if !strings.HasPrefix(rest, "T") {
			return true, nil
		}
	}
	return false, nil
}

// Machine describes processor and kernel in a line.
func Machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(text), "\n") {
			if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := "unknown kernel"
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + strings.TrimSpace(string(text))
	}
	return model + ", " + kernel
}

// Named returns the processes and kernel threads whose name has this prefix.
func Named(prefix string) (pids []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		name, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		if bytes.HasPrefix(name, []byte(prefix)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Scheduled returns the processor time of one thread, which may be a kernel
// thread.
func Scheduled(tid int) (time.Duration, error) {
	name := fmt.Sprintf("/proc/%d/schedstat", tid)
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text)
	if len(fields) == 0 {
		return 0, fmt.Errorf("%s: %q", name, text)
	}
	ns, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return time.Duration(ns), err
}

// ContextSwitches returns how often the threads of a process have been switched, by themselves or by
// the kernel, and how many threads there are. A thread that ends takes its part with it.
func ContextSwitches(pid int) (switches, threads int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		threads++
		for _, line := range strings.Split(string(text), "\n") {
			key, value, _ := strings.Cut(line, ":")
			if key != "voluntary_ctxt_switches" && key != "nonvoluntary_ctxt_switches" {
				continue
			}
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0, 0, fmt.Errorf("%s: %q", name, line)
			}
			switches += n
		}
	}
	if threads == 0 {
		return 0, 0, fmt.Errorf("process %d has no threads", pid)
	}
	return switches, threads, nil
}
