// Package probetest has a UDP server for tests that send requests to a tracker.
package probetest

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// Serve answers each datagram with the datagrams that answer returns for it. It
// returns its port.
func Serve(t *testing.T, network, addr string, answer func(request []byte) [][]byte) uint16 {
	t.Helper()
	conn, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			for _, reply := range answer(b[:n]) {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	return uint16(conn.LocalAddr().(*net.UDPAddr).Port)
}

// ConnectionID is the connection ID that ConnectReply gives.
const ConnectionID = "12345678"

// ConnectReply returns the reply to a connect, or nil for other requests.
func ConnectReply(request []byte) []byte {
	if len(request) != bep15.ConnectSize || bep15.ConnectionID(request) != bep15.ProtocolID || bep15.Action(request) != bep15.ActionConnect {
		return nil
	}
	return append(Reply(request, bep15.ActionConnect), ConnectionID...)
}

// Reply returns a reply to a request, with an action and 32-bit fields. It
// builds the bytes by hand, because the client must not be tested with itself.
func Reply(request []byte, action uint32, fields ...uint32) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, action), request[12:16]...)
	for _, field := range fields {
		b = binary.BigEndian.AppendUint32(b, field)
	}
	return b
}
