package main

import (
	"encoding/binary"
	"net/netip"
	"syscall"
)

// This file finds the default gateway through netlink. It needs no /proc, which
// a sandbox may hide. The standard library has the whole of it.

// defaultGateway returns the gateway of the IPv4 default route with the lowest
// metric in the main table.
func defaultGateway() (netip.Addr, error) {
	dump, err := syscall.NetlinkRIB(syscall.RTM_GETROUTE, syscall.AF_INET)
	if err != nil {
		return netip.Addr{}, err
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return netip.Addr{}, err
	}
	var best netip.Addr
	var bestMetric uint32
	found := false
	for i := range messages {
		gateway, metric, ok := parseDefaultRoute(&messages[i])
		if ok && (!found || metric < bestMetric) {
			best, bestMetric, found = gateway, metric, true
		}
	}
	switch {
	case !found:
		return netip.Addr{}, errNoDefaultRoute
	case !best.IsValid():
		return netip.Addr{}, errNoGateway
	}
	return best, nil
}

// parseDefaultRoute reports whether a message is a default route in the main
// table. The gateway is not valid if the route has none.
func parseDefaultRoute(m *syscall.NetlinkMessage) (gateway netip.Addr, metric uint32, ok bool) {
	if m.Header.Type != syscall.RTM_NEWROUTE || len(m.Data) < syscall.SizeofRtMsg {
		return netip.Addr{}, 0, false
	}
	prefixLength, table, kind := m.Data[1], m.Data[4], m.Data[7] // struct rtmsg
	if prefixLength != 0 || table != syscall.RT_TABLE_MAIN || kind != syscall.RTN_UNICAST {
		return netip.Addr{}, 0, false
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return netip.Addr{}, 0, false
	}
	for _, a := range attributes {
		switch {
		case a.Attr.Type == syscall.RTA_GATEWAY && len(a.Value) == 4:
			gateway = netip.AddrFrom4([4]byte(a.Value))
		case a.Attr.Type == syscall.RTA_PRIORITY && len(a.Value) == 4:
			metric = binary.NativeEndian.Uint32(a.Value)
		}
	}
	return gateway, metric, true
}
