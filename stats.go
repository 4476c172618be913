package main

import "sync"

// This file owns the counters and their names. Every datagram that is received
// ends in exactly one verdict.

// verdict is what became of a datagram.
type verdict uint8

const (
	connected      verdict = iota
	announced              // the peer is stored, or was refreshed
	announcedStop          // the peer has gone
	announcedFull          // answered, but there is no room to store the peer
	announcedShare         // answered, but its source has stored its share
	scraped
	errorID        // error: the connection ID is bad or expired
	errorMalformed // error: too short, port 0, no hash
	errorDenied    // error: the access list refuses the torrent
	errorConnects  // error: too many connects
	dropShort      // dropped: under 16 bytes
	dropReply      // dropped: begins like a reply
	dropAction     // dropped: no request that is known
	dropMagic      // dropped: connect with another protocol ID
	dropSource     // dropped: no address to answer to
	dropConnects   // dropped: too many connects from one network
	dropErrors     // dropped: its source has had enough errors
	numVerdicts
)

var verdictNames = [numVerdicts]string{
	connected:      "connect",
	announced:      "announce",
	announcedStop:  "announce, stopped",
	announcedFull:  "announce, not stored: full",
	announcedShare: "announce, not stored: source has its share",
	scraped:        "scrape",
	errorID:        "error: connection ID",
	errorMalformed: "error: malformed",
	errorDenied:    "error: access list",
	errorConnects:  "error: connect limit",
	dropShort:      "dropped: short",
	dropReply:      "dropped: like a reply",
	dropAction:     "dropped: action",
	dropMagic:      "dropped: magic",
	dropSource:     "dropped: source",
	dropConnects:   "dropped: connect limit of the network",
	dropErrors:     "dropped: error limit of the network",
}

// counters are what one worker, or all of them, have done.
type counters struct {
	verdicts   [numVerdicts]uint64
	bytesIn    uint64
	bytesOut   uint64
	sendFailed uint64 // replies that the kernel refused to send
}

func (c *counters) add(o *counters) {
	for i, n := range o.verdicts {
		c.verdicts[i] += n
	}
	c.bytesIn += o.bytesIn
	c.bytesOut += o.bytesOut
	c.sendFailed += o.sendFailed
}

// received is how many datagrams the verdicts stand for.
func (c *counters) received() (n uint64) {
	for _, v := range c.verdicts {
		n += v
	}
	return n
}

// board is where a worker shows its counters: once a batch, so that counting
// costs a packet no more than an addition.
type board struct {
	mu sync.Mutex
	counters
}

func (b *board) show(c *counters) {
	b.mu.Lock()
	b.counters = *c
	b.mu.Unlock()
}

func (b *board) read() counters {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counters
}
