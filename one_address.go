package main

// This file notices that all peers have one address, and so that something in
// front of the tracker replaces the addresses of clients: Docker's userland
// proxy, rootless podman, a load balancer. No client can reach another then. It
// must not depend on the packet path, which does nothing for it.

// manyPorts is how many ports must be behind the address. One client announces
// one port for all of its torrents, so a home with one client never has as many.
const manyPorts = 8

// addressScan collects the addresses and ports of peers.
type addressScan struct {
	v4    key4
	v6    key6
	found [2]bool // an address of IPv4, IPv6
	two   bool    // two of one family: nothing to report
	ports [manyPorts][2]byte
	n     int // of ports
}

// scanPeers adds peers to a scan.
func scanPeers[K peerKey](c *addressScan, first *K, found *bool, peers []peer[K]) {
	for i := range peers {
		k := &peers[i].key
		if !*found {
			*first, *found = *k, true
		}
		if !sameHost(first, k) {
			c.two = true
			return
		}
		c.addPort(portOf(k))
	}
}

func (c *addressScan) addPort(port [2]byte) {
	if c.n == manyPorts {
		return
	}
	for _, p := range c.ports[:c.n] {
		if p == port {
			return
		}
	}
	c.ports[c.n] = port
	c.n++
}

// oneAddress returns the addresses of all peers if they have one only, or one of
// each family, and manyPorts ports. The scan takes a shard's lock for one page at
// a time, and no longer than it takes to find a second address.
func (s *store) oneAddress(now seconds) (c addressScan, ok bool) {
	if s.quota.sources() > 2 {
		return c, false
	}
	for i := uint32(1); i < s.pool.highWater() && !c.two; i++ {
		s.eachBlock(i, now, func(sh *shard, class class, r ref) {
			if class == classTorrent {
				if t := sh.torrent(r); !t.spilled {
					scanPeers(&c, &c.v4, &c.found[0], inlinePeers[key4](&t.peerData))
					scanPeers(&c, &c.v6, &c.found[1], inlinePeers[key6](&t.peerData))
				}
				return
			}
			if l := block[leaf](s.pool, r); l.set < leechers6 {
				scanPeers(&c, &c.v4, &c.found[0], peersOf[key4](l, int(l.n)))
			} else {
				scanPeers(&c, &c.v6, &c.found[1], peersOf[key6](l, int(l.n)))
			}
		})
	}
	return c, !c.two && c.n == manyPorts
}
