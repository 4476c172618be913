package main

import (
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// This file owns the probe: it asks a UDP tracker, this one or any other, for
// a connection ID as a client would. How names are found and datagrams
// exchanged is the platform's business. All of it is small before it is fast:
// it takes flash on every router and runs once.

const (
	probeTries = 2
	probeMost  = 4 // addresses of a name that are tried
)

// probeWait is how long a try waits for its answer. Tests shorten it.
var probeWait = 2 * time.Second

var (
	errNoAnswer  = errors.New("no answer in 2 tries of 2 seconds")
	errTarget    = errors.New("not an address")
	errNoTracker = errors.New("what answers is no tracker")
	errNotSelf   = errors.New("-interface keeps the machine's own requests out; lo lets them in")
)

// probe writes a line when the tracker that c.probe names answers a connect.
// Of a name's addresses one that answers is enough.
func probe(c *config, stdout io.Writer) error {
	addrs, port, err := c.probeTargets()
	failures := ""
	if err != nil {
		failures = ": " + err.Error()
	}
	for i := 0; i < len(addrs) && i < probeMost; i++ {
		to := endpoint{addrs[i], port}
		if err = probeConnect(to); err == nil {
			_, err = io.WriteString(stdout, to.String()+" answers\n")
			return err
		}
		failures += ": " + to.String() + ": " + err.Error()
	}
	return errors.New("probe " + c.probe + failures)
}

// probeTargets are the addresses to try, one at least, and the port.
func (c *config) probeTargets() ([]ipAddr, uint16, error) {
	if c.probe == "self" {
		addrs := probeSelf(c.listen)
		if addrs == nil {
			return nil, 0, errNotSelf
		}
		return addrs, c.port, nil
	}
	host, port, err := splitTarget(c.probe, c.port)
	if err != nil {
		return nil, 0, err
	}
	if addr, ok := parseAddress(host); ok {
		return []ipAddr{addr.unmap()}, port, nil
	}
	addrs, err := lookup(host)
	return addrs, port, err
}

// probeSelf are the addresses at which a tracker that listens on these can be
// asked from its own machine: a wildcard's is the loopback address. What a
// machine sends to itself comes by its loopback interface, whatever the
// address; but for a link-local one.
func probeSelf(listen []ipAddr) (addrs []ipAddr) {
	for _, a := range listen {
		linkLocal := a.isLinkLocal6()
		switch {
		case a.zone != "" && a.zone != "lo" && !linkLocal:
			continue
		case a.isUnspecified():
			a = loopback(a.is6())
		case !linkLocal:
			a.zone = ""
		}
		addrs = append(addrs, a)
	}
	return addrs
}

func loopback(v6 bool) ipAddr {
	if v6 {
		return ipAddr{ip: anyIPv6.ip[:15] + "\x01"}
	}
	return ipAddr{ip: "\x7f\x00\x00\x01"}
}

// splitTarget takes apart HOST, HOST:PORT, [HOST]:PORT or a tracker's URL. An
// IPv6 address may stand without brackets where no port follows.
func splitTarget(v string, port uint16) (string, uint16, error) {
	if url, ok := strings.CutPrefix(v, "udp://"); ok {
		v, _, _ = strings.Cut(url, "/")
	}
	host, rest := v, ""
	if strings.HasPrefix(v, "[") {
		end := strings.IndexByte(v, ']')
		if end < 0 {
			return "", 0, errTarget
		}
		host, rest = v[1:end], v[end+1:]
	} else if i := strings.IndexByte(v, ':'); i >= 0 && i == strings.LastIndexByte(v, ':') {
		host, rest = v[:i], v[i:]
	}
	if rest != "" {
		n, err := number(rest[1:], 1, 65535)
		if err != nil || rest[0] != ':' {
			return "", 0, errTarget
		}
		port = uint16(n)
	}
	if host == "" {
		return "", 0, errTarget
	}
	return host, port, nil
}

// probeConnect has a tracker answer a connect.
func probeConnect(to endpoint) error {
	request := make([]byte, 16)
	binary.BigEndian.PutUint64(request, protocolID)
	if err := randomBytes(request[12:]); err != nil {
		return err
	}
	reply, err := exchange(to, request, func(b []byte) bool {
		return len(b) >= 8 && string(b[4:8]) == string(request[12:])
	})
	if err != nil {
		return err
	}
	return checkConnect(reply)
}

// checkConnect judges a reply with the transaction ID of our connect.
func checkConnect(reply []byte) error {
	switch action := binary.BigEndian.Uint32(reply); {
	case action == actionConnect && len(reply) >= 16:
		return nil
	case action == actionError:
		return errors.New("refused: " + strconv.Quote(string(reply[8:])))
	}
	return errNoTracker
}
