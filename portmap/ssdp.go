package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"
)

// This file finds the router's UPnP device by SSDP. It is hand-written: goupnp's
// discovery fetches what any host on the LAN names, and does not tell who sent a
// reply. Here a reply counts only if the gateway sent it and if it names the
// gateway.

const (
	ssdpGroup = "239.255.255.250"
	ssdpPort  = 1900

	// searchTime is how long routers may take to reply (MX is a second).
	searchTime = 2500 * time.Millisecond
	// maxDevices limits how many devices of one gateway are looked at.
	maxDevices = 4
)

// searchTargets are what is searched for. IGD 2 routers reply to the first, too.
// Some routers know the root device only.
var searchTargets = []string{
	"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
	"urn:schemas-upnp-org:device:InternetGatewayDevice:2",
	"upnp:rootdevice",
}

func searchRequest(target string) []byte {
	return []byte("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + target + "\r\n\r\n")
}

// search asks the router for its UPnP devices and calls use with the address of
// each description, until use returns true or time is up. It reports whether use
// did.
func search(ctx context.Context, r router, use func(*url.URL) bool) (bool, error) {
	conn, err := net.ListenUDP("udp4", udpAddr(r.local, 0))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	deadline := time.Now().Add(searchTime)
	if err := conn.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	// To the group, as UPnP says, and to the gateway, because some networks
	// drop multicast. One of the two is enough.
	var sendErr error
	sent := false
	for _, to := range []netip.Addr{netip.MustParseAddr(ssdpGroup), r.gateway} {
		for _, target := range searchTargets {
			if _, err := conn.WriteToUDPAddrPort(searchRequest(target), netip.AddrPortFrom(to, ssdpPort)); err != nil {
				sendErr = err
			} else {
				sent = true
			}
		}
	}
	if !sent {
		return false, sendErr
	}
	seen := map[string]bool{}
	buffer := make([]byte, 2048)
	for len(seen) < maxDevices {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return false, closedPort(err)
		}
		if from.Addr().Unmap() != r.gateway {
			continue
		}
		location := parseSearchReply(buffer[:n], r.gateway)
		if location == nil || seen[location.String()] {
			continue
		}
		seen[location.String()] = true
		if use(location) {
			return true, nil
		}
	}
	return false, nil
}

// parseSearchReply returns the address of the description in an SSDP reply, or
// nil if it is not at the gateway.
func parseSearchReply(b []byte, gateway netip.Addr) *url.URL {
	reply, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return nil
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil
	}
	location, err := url.Parse(reply.Header.Get("Location"))
	if err != nil || location.Scheme != "http" {
		return nil
	}
	if host, err := netip.ParseAddr(location.Hostname()); err != nil || host.Unmap() != gateway {
		return nil
	}
	return location
}
