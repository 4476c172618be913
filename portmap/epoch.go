package main

import "time"

// An epoch remembers a router's clock, which PCP and NAT-PMP replies carry. The
// clock starts again from 0 when the router loses its mappings.
type epoch struct {
	server uint32
	client time.Time // when server was received; zero: none yet
}

// restarted reports whether the router lost its mappings since the last call
// (RFC 6887, section 8.5).
func (e *epoch) restarted(server uint32, now time.Time) bool {
	last := *e
	e.server, e.client = server, now
	if last.client.IsZero() {
		return false
	}
	if uint64(server)+1 < uint64(last.server) { // a second back may be a reordered packet
		return true
	}
	byClient := int64(now.Sub(last.client) / time.Second)
	byServer := int64(server) - int64(last.server)
	return byClient+2 < byServer-byServer/16 || byServer+2 < byClient-byClient/16
}
