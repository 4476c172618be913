package main

import (
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fabricionaweb/pico-tracker/internal/filewatch"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file follows the file of -external-ip PATH. Another program writes the
// public addresses of this network to it, for example pico-tracker-portmap.

// externalFile is the file and its last content. A missing or empty file means
// that the addresses are not known.
type externalFile struct {
	path    string
	tracker *tracker
	log     *logger.Logger
	stop    func() // ends the watch; nil: not watched

	checking atomic.Bool // check runs

	mu     sync.Mutex // the watcher and check call load
	text   string     // content at the last read
	read   bool       // the file was read before
	failed string     // the error that was logged last
	found  [2]ipaddr.Endpoint

	ports [2]atomic.Uint32 // public ports of IPv4 and IPv6; 0: not given
}

// newExternalFile reads the file and follows it from now on.
func newExternalFile(path string, t *tracker, log *logger.Logger) *externalFile {
	f := &externalFile{path: path, tracker: t, log: log}
	stop, err := filewatch.Watch(path, func(filewatch.Event) { f.load() })
	switch {
	case err == nil:
		f.stop = stop
	case !errors.Is(err, errors.ErrUnsupported):
		log.Warn("-external-ip ", path, ": cannot watch it: ", err.Error(), "; it is checked every 5 minutes")
	}
	f.load()
	return f
}

// check reads the file without making the caller wait: the file may be on a
// network file system that hangs. It does nothing while the last check does.
func (f *externalFile) check() {
	if f.checking.Swap(true) {
		return
	}
	go func() {
		f.load()
		f.checking.Store(false)
	}()
}

// load reads the file, and tells the tracker what changed.
func (f *externalFile) load() {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := readRegular(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		if f.failed != err.Error() {
			f.failed = err.Error()
			f.log.Warn("-external-ip ", f.path, ": ", f.failed, "; the last addresses are kept", sandbox.Hint(err))
		}
		return
	}
	f.failed = ""
	if f.read && f.text == string(b) {
		return
	}
	first := !f.read
	f.text, f.read = string(b), true
	before := f.found
	f.found = [2]ipaddr.Endpoint{}
	f.parse(f.text)
	var v4 [4]byte
	var v6 [16]byte
	copy(v4[:], f.found[0].Addr.IP)
	copy(v6[:], f.found[1].Addr.IP)
	f.tracker.setExternal(v4, v6)
	for i := range f.found {
		f.ports[i].Store(uint32(f.found[i].Port))
		if f.found[i] == before[i] {
			continue
		}
		text := "none"
		if f.found[i].Addr.IP != "" {
			text = f.found[i].Addr.String()
		}
		if port := f.found[i].Port; port != 0 {
			text += ", public port " + strconv.Itoa(int(port))
		}
		f.log.Info("external ", ipaddr.FamilyName(i == 1), " address: ", text)
	}
	if first && f.found == before {
		f.log.Info("external address: not known yet; following ", f.path)
	}
}

// readRegular returns the beginning of a regular file. A pipe would block.
func readRegular(path string) ([]byte, error) {
	file, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, sys.MaxFile))
}

// parse sets found to the first address of each family in text.
func (f *externalFile) parse(text string) {
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line, _, _ = strings.Cut(line, "#")
		if line = textutil.TrimSpace(line); line == "" {
			continue
		}
		e, ok := parsePublic(line)
		i := 0
		if e.Addr.Is6() {
			i = 1
		}
		wrong := ""
		switch {
		case !ok:
			wrong = ": want an address, for example 203.0.113.7, 203.0.113.7:40000 or [2001:db8::1]:1337"
		case !isGlobal(e.Addr.IP):
			wrong = " is not a public address"
		case f.found[i].Addr.IP != "":
			wrong = " is the second " + ipaddr.FamilyName(i == 1) + " address"
		default:
			f.found[i] = e
			continue
		}
		f.log.Warn("-external-ip ", f.path, ":", strconv.Itoa(n), ": ", strconv.Quote(line[:min(len(line), 60)]), wrong, "; line skipped")
	}
}

// parsePublic reads an address with or without a port. The port is 0 if there
// is none.
func parsePublic(s string) (e ipaddr.Endpoint, ok bool) {
	host, port, hasPort := s, "", false
	if inner, isBracketed := strings.CutPrefix(s, "["); isBracketed {
		var closed bool
		if host, port, closed = strings.Cut(inner, "]"); !closed || !strings.Contains(host, ":") {
			return e, false
		}
		if port != "" {
			if port, hasPort = strings.CutPrefix(port, ":"); !hasPort {
				return e, false
			}
		}
	} else if strings.Count(s, ":") == 1 {
		host, port, hasPort = strings.Cut(s, ":")
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return e, false
		}
		e.Port = uint16(n)
	}
	e.Addr, ok = ipaddr.Parse(host)
	return e, ok && e.Addr.Zone == "" && !e.Addr.IsMapped()
}

// close ends the watch.
func (f *externalFile) close() {
	if f.stop != nil {
		f.stop()
	}
}
