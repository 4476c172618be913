package main

// This file detects that all peers have one address. Then a proxy in front of the
// tracker replaces the addresses of clients, and no client can reach another:
// Docker's userland proxy, rootless podman, a load balancer. The detection must
// not cost anything on the packet path, so it reads the store.

// manyPorts is the number of ports that the address must have. A client announces
// one port for all of its torrents, so a home with one client has fewer.
const manyPorts = 8

// addressScan collects the addresses and ports of peers.
type addressScan struct {
	v4    key4
	v6    key6
	found [2]bool // an address of IPv4, IPv6
	two   bool    // two addresses of one family: there is no proxy
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

// oneAddress returns the address of all peers, one for each family. ok is false if
// there are more addresses, or fewer than manyPorts ports. The scan holds a
// shard's lock for one page at a time. It ends at the second address.
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
