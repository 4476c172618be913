// Pico-tracker-portmap asks the router in front of this machine to forward a
// UDP port and to tell its public address. It writes the address to a file that
// pico-tracker follows (-external-ip PATH).
//
// # Files
//
//	main           wiring, signals, exit codes
//	config         flags and environment variables
//	mapper         the loop: keep one mapping, retry, publish the address
//	publish        the address file and the state file
//	announcement   a router says that it restarted
//	listener       the socket for that
//	gateway        the default gateway
//	pcp            PCP (RFC 6887)
//	epoch          a router's clock
//	natpmp         NAT-PMP (RFC 6886)
//	upnp           UPnP IGD 1 and 2
//	ssdp           finds the UPnP device of the router
//	log            log lines
//
// # Trust
//
// The program trusts the default gateway and nobody else. PCP and NAT-PMP use
// connected sockets, so the kernel drops datagrams from other addresses. SSDP
// replies from other addresses are ignored, and the HTTP client connects to the
// gateway only, whatever a device description says. Everything that the gateway
// sends has a limit in bytes and in time, and is checked before it is used.
package main
