package main

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/filewatch"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file is the access list: info hashes that the tracker allows (a whitelist)
// or refuses (a blacklist). They come from a file or a directory. The active list
// is a sorted array with 20 bytes for each hash, outside the Go heap.
//
// The loader, a goroutine, reads the list, because a file system may hang. The
// maintenance loop sends it requests and installs its results.
//
// Additions are active at once. Removals wait, because a file may be incomplete
// while a program writes to it, and a torrent that is no longer allowed loses all
// its peers. If a new list lacks torrents of the active list, the loader adds
// them, until the file has not changed for some seconds. A file that is renamed
// to the path is complete.

// hashSet is a sorted list of info hashes.
type hashSet []bep15.InfoHash

func (s hashSet) contains(h *bep15.InfoHash) bool {
	_, found := slices.BinarySearchFunc(s, h, func(a bep15.InfoHash, b *bep15.InfoHash) int { return bytes.Compare(a[:], b[:]) })
	return found
}

// activeList is the list that the workers use.
type activeList struct {
	hashes hashSet
	all    bool // refuse everything: the file is missing, or was never read
	deny   bool
}

const (
	listCheckInterval seconds = 5 * 60 // how often the list is checked without a notice
	listSlow          seconds = 10     // after this time the log says that a load takes long

	// Most loads end within this time. So the maintenance loop waits this long
	// for the result, instead of waking up again.
	loadWait = 100 * time.Millisecond

	// A list is complete if it has not changed for settleTime, or for
	// settleTimeShort if it became much shorter: more than half of the torrents
	// are gone, and they are at least minLost.
	settleTime      seconds = 3
	settleTimeShort seconds = 10
	minLost                 = 10
)

// Results of a load.
const (
	readOK = iota
	readFailed
	readMissing
	numReads
)

var readNames = [numReads]string{readOK: "ok", readFailed: "failed", readMissing: "missing"}

// accessList is the access list as the maintenance loop and the workers see it.
type accessList struct {
	path    string
	deny    bool // a blacklist
	log     *logger.Logger
	current atomic.Pointer[activeList]

	notice   atomic.Uint32 // bits: noticeChanged and so on
	wakeup   alarm         // rings when there is a notice
	requests chan listRequest
	results  chan listResult
	ended    chan struct{} // closed by close
	unwatch  func()        // nil: the system does not report changes

	// The fields below belong to the maintenance loop.
	loading     bool    // the loader has a request
	slowLogged  bool    // the log has the warning that the load takes long
	requestedAt seconds // time of the last request
	retry       bool    // send another request in a second
	reads       [numReads]uint64

	loader listLoader // belongs to the loader while loading is true
}

// Reasons to load the list.
const (
	noticeChanged  = 1 << iota // the system reports a change
	noticeReplaced             // a file was renamed to the path
	noticeReload               // SIGHUP
)

// listRequest makes the loader check the list.
type listRequest struct {
	now    seconds
	wall   uint32 // the time of day
	notice uint32
}

// listResult is what the loader found.
type listResult struct {
	list  *activeList // nil: the active list stays
	read  int         // readOK and so on, -1: nothing was read
	retry bool        // check again in a second
	info  string      // for the log, after the list is installed
	warn  string
}

// newAccessList makes a list with room for max hashes, and for the table of known
// files if known is set. It refuses everything until it is loaded.
func newAccessList(path string, deny bool, max int, known bool, log *logger.Logger) (*accessList, error) {
	l := &accessList{path: path, deny: deny, log: log,
		requests: make(chan listRequest, 1), results: make(chan listResult, 1), ended: make(chan struct{})}
	if err := l.loader.reserve(max, known); err != nil {
		return nil, err
	}
	l.current.Store(&activeList{all: true})
	return l, nil
}

// admits reports whether the active list allows a torrent.
func (l *accessList) admits(h *bep15.InfoHash) bool {
	s := l.current.Load()
	return !s.all && s.hashes.contains(h) != s.deny
}

// size returns the number of hashes in the active list.
func (l *accessList) size() int { return len(l.current.Load().hashes) }

// kind returns the name of the list in the log.
func (l *accessList) kind() string {
	if l.deny {
		return "blacklist"
	}
	return "whitelist"
}

// start starts the loader and requests the first load. If the system does not
// report changes of files, the list is only checked every 5 minutes.
func (l *accessList) start(now seconds, wall uint32) {
	go l.serve()
	l.unwatch, _ = filewatch.Watch(l.path, func(e filewatch.Event) {
		if e == filewatch.Replaced {
			l.notify(noticeReplaced)
		} else {
			l.notify(noticeChanged)
		}
	})
	l.request(now, wall)
}

// firstLoadWait is how long the tracker waits for the first load at its start.
// Tests shorten it.
var firstLoadWait = time.Duration(listSlow) * time.Second

// firstLoad waits for the first load, for at most firstLoadWait: after that the
// tracker starts and refuses everything until the list is read.
func (l *accessList) firstLoad() {
	const step = 2 * time.Millisecond
	for waited := time.Duration(0); waited < firstLoadWait; waited += step {
		if len(l.results) > 0 {
			l.install(<-l.results)
			return
		}
		time.Sleep(step)
	}
}

// serve is the loader's goroutine.
func (l *accessList) serve() {
	for {
		select {
		case r := <-l.requests:
			l.results <- l.load(r)
		case <-l.ended:
			return
		}
	}
}

// close stops the loader and the watch. It does not wait for a load that hangs.
func (l *accessList) close() {
	close(l.ended)
	if l.unwatch != nil {
		l.unwatch()
	}
}

// notify makes the next tick load the list.
func (l *accessList) notify(reason uint32) {
	l.notice.Or(reason)
	l.wakeup.ring()
}

// due returns the time of the next tick that has something to do.
func (l *accessList) due(now seconds) seconds {
	switch {
	case l.loading && l.slowLogged:
		return now + listSlow
	case l.loading, l.retry, l.notice.Load() != 0:
		return now + 1
	}
	return l.requestedAt + listCheckInterval
}

// request sends a request to the loader.
func (l *accessList) request(now seconds, wall uint32) {
	l.loading, l.slowLogged, l.retry, l.requestedAt = true, false, false, now
	l.requests <- listRequest{now, wall, l.notice.Swap(0)}
}

// tick sends a request to the loader if one is due, and installs a result. It
// reports whether another list is active now. Then the caller must wait until no
// worker uses the old list, and call discardOld.
func (l *accessList) tick(now seconds, wall uint32) bool {
	if l.loading {
		select {
		case r := <-l.results:
			return l.install(r)
		default:
		}
		if !l.slowLogged && now-l.requestedAt >= listSlow {
			l.slowLogged = true
			l.log.Warn(l.kind(), " ", l.path, ": reading it takes more than ", strconv.Itoa(int(listSlow)), " s", l.meanwhile())
		}
		return false
	}
	if l.notice.Load() == 0 && !(l.retry && now != l.requestedAt) && now-l.requestedAt < listCheckInterval {
		return false
	}
	l.request(now, wall)
	const step = loadWait / 20
	for waited := time.Duration(0); waited < loadWait && len(l.results) == 0; waited += step {
		time.Sleep(step)
	}
	if len(l.results) == 0 {
		return false
	}
	return l.install(<-l.results)
}

// reloadPending reports whether a requested load has not ended. A load that takes
// long does not count.
func (l *accessList) reloadPending() bool {
	return !(l.loading && l.slowLogged) && (l.loading || l.notice.Load() != 0)
}

// install makes the result of the loader the active list.
func (l *accessList) install(r listResult) bool {
	l.loading, l.retry = false, r.retry
	if r.read >= 0 {
		l.reads[r.read]++
	}
	if r.list == nil {
		l.loader.discardIdle() // frees a list that was read in part
	} else {
		l.current.Store(r.list)
	}
	name := l.kind() + " " + l.path + ": "
	if r.info != "" {
		l.log.Info(name, r.info)
	}
	if r.warn != "" {
		l.log.Warn(name, r.warn)
	}
	return r.list != nil
}

// meanwhile returns which list is active while a new one cannot be read.
func (l *accessList) meanwhile() string {
	if l.current.Load().all {
		return "; every torrent is refused until it is read"
	}
	return "; the list that was read before stays in force"
}

// discardOld returns the memory of the old list to the system. No worker may be
// using it.
func (l *accessList) discardOld() {
	if !l.loading {
		l.loader.discardIdle()
	}
}

// fingerprint identifies a version of the list. Two versions are equal if their
// fingerprints are.
type fingerprint struct {
	file    sys.FileState // of a file; zero: the path does not exist
	entries uint64        // of a directory: the sum of the keys of its files
}

// listLoader reads the list into the buffer that the active list does not use.
type listLoader struct {
	buffers [2][]bep15.InfoHash
	known   [2]knownFiles // for directories
	next    int           // the buffer for the next load

	started     bool        // the first load is done
	read        fingerprint // of the version that was read last
	complete    bool        // the active list is exactly this version
	seen        fingerprint // of the version that was seen last
	since       seconds     // time when that version was first seen
	wait        seconds     // how long it must stay unchanged
	loggedCount int         // torrents in the last log line

	reader  listReader
	hashes  []bep15.InfoHash // hashes that this load has read
	path    string           // path of the file that is being read
	log     *logger.Logger   // nil: bad lines and files are not reported
	bad     int              // bad lines and files of this load
	current uint64           // key of the .torrent file that is being read, or 0
}

// load checks the list and reads it if it changed.
func (l *accessList) load(r listRequest) listResult {
	d := &l.loader
	name := l.kind() + " " + l.path
	none := listResult{read: -1}
	fail := func(err error) listResult {
		l.log.Error(name, ": ", err.Error(), l.meanwhile(), sandbox.Hint(err))
		d.started, d.complete = true, true
		d.read = fingerprint{file: sys.FileState{Size: -1}} // try again at the next check
		return listResult{read: readFailed}
	}
	now, err := d.inspect(l.path)
	if err != nil {
		return fail(err)
	}
	if now.file.IsPipe() && d.started {
		if r.notice&noticeReload != 0 {
			l.log.Warn(name, ": a pipe is read only once, at the start", l.meanwhile())
		}
		return none
	}
	first, same := !d.started, now == d.read
	if now != d.seen || first {
		d.seen, d.since, d.wait = now, r.now, settleTime
	}
	if same && d.complete && !first && r.notice&noticeReload == 0 {
		return none
	}
	before := l.current.Load()
	missing := now == fingerprint{}
	// notYet is the result while the file may be incomplete.
	notYet := listResult{read: -1, retry: true}
	if r.notice&noticeReload != 0 {
		notYet.info = "it changed just now; it is read when it has not changed for " + strconv.Itoa(int(settleTime)) + " s"
	}
	// A clock that was set makes no difference to a file that is seen to change.
	quiet := r.now - d.since
	if age := int64(r.wall) - now.file.Seconds; now.file.IsRegular() && age > int64(quiet) {
		quiet = seconds(min(age, int64(settleTimeShort)))
	}
	final := first || same && d.complete || before.all && !l.deny ||
		!missing && (r.notice&noticeReplaced != 0 || now.file.Replaced(&d.read.file))
	settled := final || quiet >= d.wait
	if !settled && (same || r.notice == 0 && !d.complete) {
		d.complete = false
		return notYet
	}
	if missing {
		if d.read, d.complete = now, settled; !settled {
			return notYet
		}
		d.started = true
		return listResult{list: &activeList{all: true}, read: readMissing,
			warn: "no such file; every torrent is refused until it is there"}
	}

	d.log = nil
	if settled {
		d.log = l.log
	}
	after, err := d.readAll(l.path, now)
	switch {
	case err != nil && !settled:
		d.read, d.complete = now, false
		return notYet
	case err != nil:
		return fail(err)
	case after != now: // a program is writing to it
		settled = false
		d.seen, d.since = after, r.now
	}
	lost := 0
	if !final {
		for i := range before.hashes {
			if !hashSet(d.hashes).contains(&before.hashes[i]) {
				lost++
			}
		}
		if lost >= minLost && 2*lost > len(before.hashes) {
			d.wait = settleTimeShort
			settled = settled && quiet >= d.wait
		}
	}
	if !settled && !first {
		// An incomplete blacklist may lack many torrents. Before it existed,
		// everything was refused, and that stays.
		if before.all || !d.addMissing(before.hashes) {
			d.read, d.complete = now, false
			return notYet
		}
	}
	result := listResult{list: &activeList{hashes: d.hashes, deny: l.deny}, read: readOK, retry: !settled}
	if n := len(d.hashes); n != d.loggedCount || first || before.all || r.notice&noticeReload != 0 {
		d.loggedCount = n
		result.info = textutil.Count(uint64(n), "torrent")
		if lost > 0 && !settled {
			result.info += "; " + strconv.Itoa(lost) + " of them are no longer in it and go when it has not changed for " +
				strconv.Itoa(int(d.wait)) + " s"
		}
		if n == 0 && !l.deny {
			result.warn = "no info hash in it; every torrent is refused"
		}
	}
	d.started, d.read, d.complete = true, now, settled
	d.next ^= 1
	return result
}

// inspect returns the fingerprint of the file or directory at path. It returns an
// error if it cannot be a list.
func (d *listLoader) inspect(path string) (fingerprint, error) {
	st, err := sys.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fingerprint{}, nil
	case err != nil:
		return fingerprint{}, err
	case st.IsDirectory():
		sum := fingerprint{file: st.Directory()}
		err := sys.EachEntry(path, func(name string) error {
			if kindOfEntry(name) != entryIgnored {
				if st, err := sys.Stat(path + "/" + name); err == nil {
					sum.entries += st.Key(name)
				}
			}
			return nil
		})
		return sum, err
	case !st.IsRegular() && !st.IsPipe():
		return fingerprint{}, errNotList
	}
	return fingerprint{file: st}, nil
}

var errListFull = errors.New("more info hashes than the memory set aside for the list holds; restart, or raise -memory")

// maxBadLines is how many bad lines or files are reported one by one.
const maxBadLines = 10

// readAll reads the list into the idle buffer. after is the fingerprint after the
// load.
func (d *listLoader) readAll(path string, before fingerprint) (after fingerprint, err error) {
	d.hashes, d.bad, d.current = d.buffers[d.next][:0], 0, 0
	d.path = path
	after = before
	switch {
	case before.file.IsDirectory():
		err = d.readDirectory(path)
	case before.file.IsPipe():
		var f sys.File
		if f, err = sys.Open(path); err == nil {
			err = d.reader.file(f, d)
			f.Close()
		}
	default:
		var f sys.File
		if f, _, err = openRegular(path); err == nil {
			if err = d.reader.file(f, d); err == nil {
				after.file, err = f.Stat()
			}
			f.Close()
		}
	}
	if d.log != nil && d.bad > maxBadLines {
		d.log.Warn(path, ": ", strconv.Itoa(d.bad), " lines or files skipped in all")
	}
	if err != nil {
		return after, err
	}
	sortHashes(d.hashes, 0)
	d.hashes = slices.Compact(d.hashes)
	return after, nil
}

// found takes a hash from the reader.
func (d *listLoader) found(h *bep15.InfoHash, _ string) error {
	if len(d.hashes) == cap(d.hashes) {
		return errListFull
	}
	d.hashes = append(d.hashes, *h)
	if d.current != 0 {
		d.known[d.next].add(d.current, h)
	}
	return nil
}

// badLine reports a line without an info hash.
func (d *listLoader) badLine(number int, err error) {
	d.skipped(":"+strconv.Itoa(number), err)
}

// skipped reports a line or a file that is skipped.
func (d *listLoader) skipped(where string, err error) {
	if d.bad++; d.log != nil && d.bad <= maxBadLines {
		d.log.Warn(d.path, where, ": ", err.Error(), "; skipped")
	}
}

// readDirectory reads the files of a directory. It does not read a .torrent file
// again that did not change.
func (d *listLoader) readDirectory(path string) error {
	d.known[d.next].clear()
	return sys.EachEntry(path, func(name string) error {
		kind := kindOfEntry(name)
		if kind == entryIgnored {
			return nil
		}
		full := path + "/" + name
		st, err := sys.Stat(full)
		if err != nil {
			return nil // removed in the meantime, or a broken symbolic link
		}
		d.path, d.current = path, 0
		key := st.Key(name)
		if kind == entryTorrent {
			if seen, err := d.copyKnown(key); seen || err != nil {
				return err
			}
			d.current = key
		} else {
			d.path = path + "/" + textutil.Printable(name)
		}
		err = d.reader.entry(full, kind, d)
		if err == errListFull {
			return err
		}
		if err != nil {
			d.path = path
			d.skipped("/"+textutil.Printable(name), err)
			if d.log != nil && d.current != 0 {
				d.known[d.next].add(key, &bep15.InfoHash{}) // do not report it again
			}
		}
		return nil
	})
}

// copyKnown copies the hashes of a .torrent file that was read before.
func (d *listLoader) copyKnown(key uint64) (seen bool, err error) {
	d.current = key
	d.known[d.next^1].each(key, func(h *bep15.InfoHash) {
		seen = true
		if *h == (bep15.InfoHash{}) {
			d.known[d.next].add(key, h)
		} else if err == nil {
			err = d.found(h, "")
		}
	})
	return seen, err
}

// addMissing adds the hashes of the active list that the new list lacks. It
// reports whether there was room.
func (d *listLoader) addMissing(before hashSet) bool {
	n := len(d.hashes)
	for i := range before {
		if hashSet(d.hashes[:n]).contains(&before[i]) {
			continue
		}
		if len(d.hashes) == cap(d.hashes) {
			return false
		}
		d.hashes = append(d.hashes, before[i])
	}
	sortHashes(d.hashes, 0)
	return true
}

// sortHashes sorts hashes in place that are equal up to a bit: a radix sort by
// bits. The sort of package slices is slower and takes 3 KB of flash.
func sortHashes(h []bep15.InfoHash, bit int) {
	for ; len(h) > 1 && bit < 8*len(bep15.InfoHash{}); bit++ {
		low, high := 0, len(h)
		for low < high {
			if h[low][bit/8]<<(bit%8)&0x80 == 0 {
				low++
			} else {
				high--
				h[low], h[high] = h[high], h[low]
			}
		}
		sortHashes(h[:low], bit+1)
		h = h[low:]
	}
}

// knownFiles remembers the .torrent files of a directory: an open-addressing
// table from the key of a file to its info hashes.
type knownFiles []knownFile

// knownFile is an entry. The zero hash marks a file that is no torrent.
type knownFile struct {
	key  [2]uint32 // zero: free
	hash bep15.InfoHash
}

var _ [28]byte = [unsafe.Sizeof(knownFile{})]byte{}

func splitKey(key uint64) [2]uint32 { return [2]uint32{uint32(key), uint32(key>>32) | 1} }

// add adds an entry. If the table is too full, it removes the other entries of
// the file, and the file will be read again. With a part of its entries the other
// hashes would be lost.
func (k knownFiles) add(key uint64, h *bep15.InfoHash) {
	for i, tries := k.slot(key), 0; tries < min(len(k), 64); i, tries = (i+1)%len(k), tries+1 {
		if k[i].key == ([2]uint32{}) {
			k[i] = knownFile{splitKey(key), *h}
			return
		}
	}
	for i, tries := k.slot(key), 0; tries < min(len(k), 64); i, tries = (i+1)%len(k), tries+1 {
		if k[i].key == splitKey(key) {
			k[i].key = removedKey
		}
	}
}

// removedKey marks a removed entry. It equals no result of splitKey, because that
// is odd.
var removedKey = [2]uint32{0, 2}

// each calls f for each entry of a file.
func (k knownFiles) each(key uint64, f func(*bep15.InfoHash)) {
	for i, tries := k.slot(key), 0; tries < min(len(k), 64) && k[i].key != [2]uint32{}; i, tries = (i+1)%len(k), tries+1 {
		if k[i].key == splitKey(key) {
			f(&k[i].hash)
		}
	}
}

func (k knownFiles) slot(key uint64) int { return int(key % uint64(max(len(k), 1))) }

// clear frees all entries. It does not write to free entries, because memory that
// was never written is not resident.
func (k knownFiles) clear() {
	for i := range k {
		if k[i].key != ([2]uint32{}) {
			k[i] = knownFile{}
		}
	}
}

// listBytes returns the memory that a list of max hashes takes: two buffers for
// hashes, and for a directory two tables of known files that are at most three
// quarters full.
func listBytes(max int, directory bool) int {
	n := 2 * max * len(bep15.InfoHash{})
	if directory {
		n += 2 * (max + max/3) * int(unsafe.Sizeof(knownFile{}))
	}
	return n
}

// reserve reserves the memory for max hashes.
func (d *listLoader) reserve(max int, known bool) error {
	mem, err := sys.Reserve(listBytes(max, false))
	if err != nil {
		return err
	}
	all := unsafe.Slice((*bep15.InfoHash)(unsafe.Pointer(unsafe.SliceData(mem))), 2*max)
	d.buffers = [2][]bep15.InfoHash{all[:max:max], all[max:]}
	if !known {
		return nil
	}
	slots := max + max/3
	if mem, err = sys.Reserve(2 * slots * int(unsafe.Sizeof(knownFile{}))); err != nil {
		return err
	}
	files := unsafe.Slice((*knownFile)(unsafe.Pointer(unsafe.SliceData(mem))), 2*slots)
	d.known = [2]knownFiles{files[:slots:slots], files[slots:]}
	return nil
}

// discardIdle returns the memory of the idle buffer to the system.
func (d *listLoader) discardIdle() {
	half, known := d.buffers[d.next], d.known[d.next]
	if len(half) == 0 {
		return
	}
	discardWhole(unsafe.Pointer(&half[0]), len(half)*len(bep15.InfoHash{}))
	if len(known) > 0 {
		discardWhole(unsafe.Pointer(&known[0]), len(known)*int(unsafe.Sizeof(knownFile{})))
	}
}

// discardWhole returns the system pages that are completely inside n bytes at p.
func discardWhole(p unsafe.Pointer, n int) {
	first, size := uintptr(p), uintptr(sys.PageSize)
	from := (first + size - 1) &^ (size - 1)
	to := (first + uintptr(n)) &^ (size - 1)
	if from < to {
		sys.Discard(unsafe.Slice((*byte)(unsafe.Add(p, from-first)), to-from))
	}
}

// listEstimate is the size of a list for the memory plan.
type listEstimate struct {
	hashes    int64
	directory bool
}

// estimateList estimates the list at the start of the tracker. It returns an error
// if the path cannot be a list.
func estimateList(path string) (e listEstimate, err error) {
	st, err := sys.Stat(path)
	switch {
	case err != nil:
		return e, nil // the file may come later
	case st.IsRegular():
		e.hashes = st.Size / minListLine
	case st.IsDirectory():
		e.directory = true
		err = sys.EachEntry(path, func(name string) error {
			switch kindOfEntry(name) {
			case entryTorrent:
				e.hashes += 2 // a hybrid torrent has two hashes
			case entryList:
				if st, err := sys.Stat(path + "/" + name); err == nil && st.IsRegular() {
					e.hashes += st.Size / minListLine
				}
			}
			return nil
		})
	case !st.IsPipe():
		err = errNotList
	}
	return e, err
}

// minListLine is the length of the shortest line with an info hash, without its
// end.
const minListLine = 40
