package main

import (
	"net/netip"
	"testing"
)

// A LAN client that comes from the address of the router in front is given to
// others with the public address, because nobody listens at the router.
func TestReflection(t *testing.T) {
	at := netip.MustParseAddrPort
	const gateway = "192.168.1.1"
	lan, world := at("192.168.1.11:6882"), at("198.51.100.9:7000")
	tests := []struct {
		name      string
		external  [4]byte
		gateway   [4]byte
		requester host
		want      []host // of a peer that came from the gateway with port 6881
		reflected uint64
	}{
		{name: "LAN client", external: [4]byte{203, 0, 113, 7}, gateway: [4]byte{192, 168, 1, 1}, requester: lan, want: []host{at("203.0.113.7:6881")}, reflected: 1},
		{name: "internet client", external: [4]byte{203, 0, 113, 7}, gateway: [4]byte{192, 168, 1, 1}, requester: world, want: []host{at("203.0.113.7:6881")}, reflected: 1},
		{name: "the same LAN client by its own address", external: [4]byte{203, 0, 113, 7}, gateway: [4]byte{192, 168, 1, 1}, requester: at("192.168.1.12:6881"), reflected: 1},
		{name: "another reflected client", external: [4]byte{203, 0, 113, 7}, gateway: [4]byte{192, 168, 1, 1}, requester: at(gateway + ":6883"), want: []host{at("203.0.113.7:6881")}, reflected: 2},
		{name: "no public address", external: [4]byte{}, gateway: [4]byte{192, 168, 1, 1}, requester: lan, want: []host{at(gateway + ":6881")}, reflected: 1},
		{name: "another gateway", external: [4]byte{203, 0, 113, 7}, gateway: [4]byte{192, 168, 1, 254}, requester: lan, want: []host{at(gateway + ":6881")}, reflected: 0},
		{name: "no gateway", external: [4]byte{203, 0, 113, 7}, gateway: [4]byte{}, requester: lan, want: []host{at(gateway + ":6881")}, reflected: 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServiceOf(t, 200, "secret")
			s.setGateway(test.gateway)
			s.setExternal(test.external, [16]byte{})
			peer := at(gateway + ":6881")
			s.announce(peer, leech(peer))
			a := s.announce(test.requester, leech(test.requester))
			a.expect(t, a.leechers, 0, test.want...)
			if got := s.handlerOf(lan).count.reflected; got != test.reflected {
				t.Errorf("reflected announces: got %d, want %d", got, test.reflected)
			}
			// Its stop removes it.
			s.announce(peer, fields{event: 3, port: peer.Port()})
			if b := s.announce(test.requester, leech(test.requester)); b.leechers != 1 {
				t.Errorf("after the stop: got %d leechers, want 1", b.leechers)
			}
		})
	}
}

// A router that is no host of a private network is not in front of a LAN.
func TestReflectionGatewayIsPrivate(t *testing.T) {
	for _, gateway := range [][4]byte{{203, 0, 113, 1}, {169, 254, 0, 1}, {127, 0, 0, 1}, {0, 0, 0, 1}, {224, 0, 0, 1}} {
		tr := &tracker{}
		tr.setGateway(gateway)
		if e := tr.external.Load(); e != nil {
			t.Errorf("%v: got gateway %v, want none", gateway, e.gateway)
		}
	}
	// Addresses and gateway come in any order.
	tr := &tracker{}
	tr.setGateway([4]byte{192, 168, 1, 1})
	tr.setExternal([4]byte{203, 0, 113, 7}, [16]byte{})
	tr.setExternal([4]byte{}, [16]byte{})
	if e := tr.external.Load(); e == nil || e.v4 != [6]byte{} || e.gateway != [6]byte{192, 168, 1, 1} {
		t.Errorf("got %v, want the gateway alone", e)
	}
}
