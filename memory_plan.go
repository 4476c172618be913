package main

import (
	"strconv"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file divides -memory among the parts of the tracker. plan.go prints the
// result for people.

// memoryPlan says how -memory is divided.
type memoryPlan struct {
	total     int  // bytes of the whole process: -memory
	batch     int  // datagrams that a socket receives at once
	idBits    int  // a worker remembers 1<<idBits connection IDs
	limits    int  // bytes of each of a worker's rate limiters
	listMax   int  // info hashes that the access list has room for
	listFiles bool // the access list is a directory: its files are remembered
	pages     int  // of the pool
	shards    int  // of the store
	perWorker int  // bytes of one worker
}

const (
	// runtimeBytes is the memory of the Go runtime and the program: measured with
	// a full pool, while the log is long (TestMemoryWhileLogging). It has room for
	// the garbage collector, which first runs then, and for what a reload
	// allocates.
	runtimeBytes = 4<<20 + 448<<10
	// minPages is the size of the smallest useful pool.
	minPages = 64
	// minMemory is the smallest useful -memory in MiB, with one socket.
	minMemory = 5
	// socketStack is the memory of a worker's stacks and of its thread.
	socketStack = 48 << 10

	// workerLimiters is how many rate limiters a worker has.
	workerLimiters = 4

	// -memory auto is an eighth of what the process may use, within these
	// limits.
	minAuto = 8 << 20
	maxAuto = 256 << 20

	// kernelReserve is what the kernel counts for a process besides its resident
	// memory, mostly page tables and datagrams in queues. TestFloodInMemoryLimit
	// has no more.
	kernelReserve = 2 << 20
)

// planMemory divides total bytes for this number of sockets and an access list
// (nil: none). If total is too small, the error has the smallest total that is
// enough.
func planMemory(total, sockets int, list *listEstimate) (memoryPlan, error) {
	for least := total; ; least = (least>>20 + 1) << 20 {
		l := divideMemory(least, sockets, list)
		if l.pages < minPages {
			continue
		}
		if least > total {
			return l, usageError("want at least " + strconv.Itoa(least>>20) + "M for this configuration")
		}
		return l, nil
	}
}

// divideMemory divides total bytes, even if too few are left for the pool.
func divideMemory(total, sockets int, list *listEstimate) memoryPlan {
	l := memoryPlan{total: total, batch: 16, idBits: 9, limits: 4 << 10}
	if per := total / sockets; per >= 8<<20 {
		l.batch, l.idBits, l.limits = udp.MaxBatch, 12, 64<<10
	} else if per >= 3<<20 {
		l.batch, l.idBits, l.limits = 32, 11, 16<<10
	}
	l.perWorker = socketStack + l.batch*datagramSizes.DatagramBytes() + l.tables()
	left := total - runtimeBytes - sockets*l.perWorker
	if list != nil {
		// Room for the present list and a quarter more, and at least a
		// sixteenth of the memory, because the list may grow later. The
		// size of a huge file must not overflow int.
		l.listFiles = list.directory
		most := int64(maxMemory / (listBytes(3, list.directory)/3 + 1))
		l.listMax = max(int(min(list.hashes, most))*5/4, total/16/listBytes(1, list.directory))
		left -= listBytes(l.listMax, list.directory)
	}
	l.pages = max(0, left/pageCost)
	l.shards = 1
	for l.shards < 8*sockets && l.pages >= 1024*l.shards {
		l.shards *= 2
	}
	return l
}

// tables returns the bytes of a worker's connection IDs and rate limiters.
func (l *memoryPlan) tables() int { return 24<<l.idBits + workerLimiters*l.limits }

// memoryPlan divides the memory for this configuration.
func (c *config) memoryPlan() (memoryPlan, error) {
	total := c.memory
	if total == 0 {
		total = int(min(max(sys.MemoryLimit()/8, minAuto), maxAuto))
	}
	var list *listEstimate
	if path := c.whitelist + c.blacklist; path != "" {
		e, err := estimateList(path)
		if err != nil {
			origin := c.origins["whitelist"] + c.origins["blacklist"]
			return memoryPlan{}, usageError(origin + " " + strconv.Quote(path) + ": " + err.Error() + "; want " + expectedList)
		}
		list = &e
	}
	l, err := planMemory(total, c.workers*len(c.listen), list)
	if tooSmall, ok := err.(usageError); ok {
		origin, shown, hint := "-memory", "auto", ""
		if c.memory == 0 {
			hint = " (" + sizeText(total) + ")"
		} else {
			origin, shown = c.origins["memory"], c.memoryText
			if _, err := parseNumber(shown, 1, 64<<10); err == nil {
				hint = " (" + strconv.Itoa(total) + " bytes; did you mean " + shown + "M?)"
			}
		}
		err = usageError(origin + " " + strconv.Quote(shown) + ": too small" + hint + "; " + string(tooSmall))
	}
	return l, err
}

// limitWarning returns a warning if the process may use only allowed bytes, and
// this is too little. 0 means unknown.
func (c *config) limitWarning(l *memoryPlan, allowed uint64) string {
	need := uint64(l.total) + kernelReserve
	if allowed == 0 || allowed >= need {
		return ""
	}
	origin := "-memory auto"
	if c.memory != 0 {
		origin = c.origins["memory"] + " " + strconv.Quote(c.memoryText)
	}
	text := origin + ": this process may use only " + sizeText(int(allowed)) + " (its control group, or the machine), so the kernel may end it; allow " +
		sizeText(int(need))
	if fits := (int(allowed) - kernelReserve) >> 20; fits >= minMemory {
		text += ", or set " + strconv.Itoa(fits) + "M"
	}
	return text
}

// quota returns how many granules one source may take: 5 % of the pool.
func (l *memoryPlan) quota() uint32 {
	return uint32(max(peerCost6, l.pages*(pageSize/quotaGranule)/20))
}
