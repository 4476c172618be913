package main

import (
	"errors"
	"net"
	"net/netip"
)

// A router is the default gateway, and this host's address towards it.
type router struct {
	gateway, local netip.Addr
}

var (
	errNoDefaultRoute = errors.New("no default route")
	errNoGateway      = errors.New("the default route has no gateway: this machine is the router")
	errPublicHost     = errors.New("this machine has a public address: no port mapping is needed (-external-ip auto)")
)

// findRouter returns the router with this gateway, or the default gateway if
// there is none given.
func findRouter(gateway netip.Addr) (router, error) {
	if !gateway.IsValid() {
		var err error
		if gateway, err = defaultGateway(); err != nil {
			return router{}, err
		}
	}
	// Connecting a UDP socket sends nothing. It chooses the source address.
	conn, err := net.DialUDP("udp4", nil, udpAddr(gateway, pcpPort))
	if err != nil {
		return router{}, err
	}
	defer conn.Close()
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if isPublic(local) {
		return router{}, errPublicHost
	}
	return router{gateway, local}, nil
}

// notPublic lists the ranges that no host on the internet can reach, as the
// tracker knows them, and those that no host has.
var notPublic = func() (prefixes []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.168.0.0/16", "224.0.0.0/3",
	} {
		prefixes = append(prefixes, netip.MustParsePrefix(p))
	}
	return prefixes
}()

// isPublic reports whether hosts on the internet can reach an IPv4 address.
func isPublic(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
