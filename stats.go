package main

import "sync"

// This file has the counters and their names. Every received datagram ends in
// exactly one verdict.

// verdict is the result of handling a datagram.
type verdict uint8

const (
	connected          verdict = iota
	announcedNew               // the peer is stored now
	announcedRefreshed         // the peer was stored and is refreshed
	announcedStopped           // the peer was removed
	announcedAbsent            // stopped, and was not stored
	announcedFull              // answered, but the memory is full
	announcedQuota             // answered, but its source has used its quota
	scraped
	errorID        // error to an announce: the connection ID is bad or expired
	errorScrapeID  // the same to a scrape
	errorMalformed // error to an announce: too short, port 0
	errorNoHash    // error to a scrape: no hash
	errorDenied    // error: the access list refuses the torrent
	errorConnects  // error: too many connects
	dropShort      // dropped: under 16 bytes
	dropReply      // dropped: begins like a reply
	dropAction     // dropped: unknown action
	dropMagic      // dropped: connect with another protocol ID
	dropSource     // dropped: not a valid source address
	dropConnects   // dropped: too many connects from one network
	dropErrors     // dropped: its network got enough errors
	dropRepeats    // dropped: its IP, port and info hash got enough errors
	numVerdicts
)

// Outcomes: the kind of a verdict.
const (
	outcomeAnswered = "answered"
	outcomeError    = "error"
	outcomeDropped  = "dropped"
)

// verdictInfo has the name of each verdict in the log, and its labels in the
// statistics.
var verdictInfo = [numVerdicts]struct{ name, action, outcome, reason string }{
	connected:          {"connect", "connect", outcomeAnswered, ""},
	announcedNew:       {"announce, new", "announce", outcomeAnswered, "new"},
	announcedRefreshed: {"announce", "announce", outcomeAnswered, "refreshed"},
	announcedStopped:   {"announce, stopped", "announce", outcomeAnswered, "stopped"},
	announcedAbsent:    {"announce, stopped: not stored", "announce", outcomeAnswered, "absent"},
	announcedFull:      {"announce, not stored: full", "announce", outcomeAnswered, "full"},
	announcedQuota:     {"announce, not stored: source has its share", "announce", outcomeAnswered, "share"},
	scraped:            {"scrape", "scrape", outcomeAnswered, ""},
	errorID:            {"error: connection ID", "announce", outcomeError, "connection_id"},
	errorScrapeID:      {"error: connection ID", "scrape", outcomeError, "connection_id"},
	errorMalformed:     {"error: malformed", "announce", outcomeError, "malformed"},
	errorNoHash:        {"error: malformed", "scrape", outcomeError, "malformed"},
	errorDenied:        {"error: access list", "announce", outcomeError, "access_list"},
	errorConnects:      {"error: connect limit", "connect", outcomeError, "connect_limit"},
	dropShort:          {"dropped: short", "other", outcomeDropped, "short"},
	dropReply:          {"dropped: like a reply", "other", outcomeDropped, "like_reply"},
	dropAction:         {"dropped: action", "other", outcomeDropped, "action"},
	dropMagic:          {"dropped: magic", "other", outcomeDropped, "magic"},
	dropSource:         {"dropped: source", "other", outcomeDropped, "source"},
	dropConnects:       {"dropped: connect limit of the network", "connect", outcomeDropped, "network_connects"},
	dropErrors:         {"dropped: error limit of the network", "other", outcomeDropped, "network_errors"},
	dropRepeats:        {"dropped: repeated after errors", "other", outcomeDropped, "repeated"},
}

// traffic counts datagrams, their bytes, and the bytes of the replies.
type traffic struct{ datagrams, in, out uint64 }

func (c *traffic) add(o traffic) {
	c.datagrams += o.datagrams
	c.in += o.in
	c.out += o.out
}

// counters are the counters of one worker, or the sum of all workers.
type counters struct {
	verdicts   [numVerdicts]traffic
	sendFailed uint64 // replies that the kernel refused to send
	reflected  uint64 // announces from the address of the router in front
}

// record counts a datagram.
func (c *counters) record(v verdict, in, out int) {
	n := &c.verdicts[v]
	n.datagrams++
	n.in += uint64(in)
	n.out += uint64(out)
}

func (c *counters) add(o *counters) {
	for i, n := range o.verdicts {
		c.verdicts[i].add(n)
	}
	c.sendFailed += o.sendFailed
	c.reflected += o.reflected
}

// sum returns the total of all verdicts.
func (c *counters) sum() (n traffic) {
	for _, v := range c.verdicts {
		n.add(v)
	}
	return n
}

// counterSnapshot is a copy of a worker's counters for other goroutines. The worker
// updates it once for each batch, so that counting a packet is only an addition.
type counterSnapshot struct {
	mu sync.Mutex
	counters
}

func (b *counterSnapshot) publish(c *counters) {
	b.mu.Lock()
	b.counters = *c
	b.mu.Unlock()
}

func (b *counterSnapshot) load() counters {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counters
}
