package main

import (
	"io"
	"strconv"
	"unsafe"
)

// This file prints -plan: how the memory is used, how many torrents and peers
// fit, and how many requests they send.

// A peer of a swarm that is larger than a leaf takes about this many tenths of a
// byte, because leaves are rarely full. Up to 7 % more peers fit: plan_test.go
// fills a store.
const (
	largePeer4 = 85
	largePeer6 = 227
)

// population is a set of torrents with the same number of peers, half of them
// seeders.
type population struct {
	peers int // of each torrent
	v6    bool
}

var populations = []population{
	{1, false}, {4, false}, {10, false}, {50, false}, {1000, false},
	{1, true}, {10, true}, {50, true}, {1000, true},
}

// torrents returns how many such torrents fit into this number of pages.
func (p population) torrents(pages int) int {
	cost := int64(pageSize * 10 / pageTorrents) // tenths of a byte for each torrent
	cost += p.setCost(p.peers/2) + p.setCost(p.peers-p.peers/2)
	return int(int64(pages) * pageSize * 10 / cost)
}

// setCost returns the memory of n peers in one role, in tenths of a byte, without
// the torrent's record.
func (p population) setCost(n int) int64 {
	most, class, large := leafCap[key4](maxLeaf), leafClass[key4](n), int64(largePeer4)
	inRecord := fitsInline(uint32(p.peers), 0)
	if p.v6 {
		most, class, large = leafCap[key6](maxLeaf), leafClass[key6](n), largePeer6
		inRecord = fitsInline(0, uint32(p.peers))
	}
	switch {
	case inRecord || n == 0:
		return 0
	case n > most:
		return int64(n) * large
	}
	return int64(pageSize * 10 / class.blocks())
}

// printPlan prints how a tracker with this configuration would use its memory.
func printPlan(c *config, l *memoryPlan, stdout io.Writer) error {
	sockets := c.workers * len(c.listen)
	var w textBuilder
	row := func(name string, columns ...int) {
		w.add("  ")
		w.add(name)
		width := 34 + 14 - len(name)
		for _, n := range columns {
			w.right(strconv.Itoa(n), width)
			width = 14
		}
		w.add("\n")
	}
	w.add("use of memory                                    bytes\n")
	row("Go runtime and program", runtimeBytes)
	row(strconv.Itoa(sockets)+" sockets", sockets*(l.perWorker-l.tables()))
	row("connection IDs and limiters", sockets*l.tables())
	if l.listMax > 0 {
		row("list of up to "+strconv.Itoa(l.listMax)+" torrents", listBytes(l.listMax, l.listFiles))
	}
	row("table of torrents", l.pages*pageTorrents*bucketBytes)
	row("table of pages", l.pages*int(unsafe.Sizeof(page{})))
	row("torrents and peers", l.pages*pageSize)
	row("total", l.total)

	w.add("\nwhat fits, to within 7 %                      torrents         peers    announces/s\n")
	for _, p := range populations {
		family := " IPv4"
		if p.v6 {
			family = " IPv6"
		}
		n := p.torrents(l.pages)
		row(strconv.Itoa(p.peers)+family+" each", n, n*p.peers, n*p.peers/int(c.interval))
	}
	w.add("\nEach line: torrents that all have this number of peers. Larger swarms count as 1000.\n")
	w.count("Every peer announces once in ", uint64(c.interval), " seconds. Most connect before: expect twice as many requests.\n")
	w.count("One IPv4 address can have ", uint64(l.quota()/peerCost4), " peers, one IPv6 /64 ")
	w.count("", uint64(l.quota()/peerCost6), ".\n")
	_, err := stdout.Write(w)
	return err
}
