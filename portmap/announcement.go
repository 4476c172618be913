package main

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// This file listens for the announcements of PCP and NAT-PMP routers. A router
// sends one when it restarts and when its public address changes. The content
// does not count: an announcement only makes the program ask the router now.

const (
	announcementGroup = "224.0.0.1" // all hosts; every host is in it
	announcementPort  = 5350

	// hintPause limits the effect of forged announcements by a host on the
	// LAN.
	hintPause = 5 * time.Second
)

// listenAnnouncements sends a hint for announcements of the default gateway, until
// ctx is done. Without the socket the router is still asked at each check.
func listenAnnouncements(ctx context.Context, fixed netip.Addr, hints chan<- string, l *logger) {
	conn, err := sharedListener.ListenPacket(ctx, "udp4", netip.AddrPortFrom(netip.MustParseAddr(announcementGroup), announcementPort).String())
	if err != nil {
		l.debug("announcements of the router are not received: %v", err)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	socket := conn.(*net.UDPConn)
	buffer := make([]byte, 64)
	var last time.Time
	for {
		_, from, err := socket.ReadFromUDPAddrPort(buffer)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.debug("announcements of the router: %v", err)
			return
		}
		if time.Since(last) < hintPause || !fromGateway(from, fixed) {
			continue
		}
		last = time.Now()
		select {
		case hints <- "announcement of the router":
		default: // one is waiting already
		}
	}
}

// fromGateway reports whether a datagram is from the router's PCP server.
func fromGateway(from netip.AddrPort, fixed netip.Addr) bool {
	if from.Port() != pcpPort {
		return false
	}
	r, err := findRouter(fixed)
	return err == nil && from.Addr().Unmap() == r.gateway
}
