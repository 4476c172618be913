package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"
)

var (
	testNonce  = nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	testRouter = router{gateway: netip.MustParseAddr("192.168.1.1"), local: netip.MustParseAddr("192.168.1.2")}
)

// The request in bytes, as RFC 6887 draws it.
func TestPCPRequest(t *testing.T) {
	got := appendPCPMap(nil, testRouter.local, testNonce, 1337, 40000, time.Hour)
	want, err := hex.DecodeString("02010000" + "00000e10" + "00000000000000000000ffffc0a80102" +
		"0102030405060708090a0b0c" + "11000000" + "0539" + "9c40" + "00000000000000000000ffff00000000")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

// pcpReplyTo is a good reply with some bytes changed.
func pcpReplyTo(change func([]byte)) []byte {
	public := netip.MustParseAddr("203.0.113.7").As16()
	b := []byte{2, 0x81, 0, 0}
	b = append(b, 0, 0, 0x0e, 0x10) // lifetime
	b = append(b, 0, 0, 1, 0)       // epoch
	b = append(b, make([]byte, 12)...)
	b = append(b, testNonce[:]...)
	b = append(b, 17, 0, 0, 0)
	b = append(b, 0x05, 0x39, 0x9c, 0x40)
	b = append(b, public[:]...)
	if change != nil {
		change(b)
	}
	return b
}

func TestPCPReply(t *testing.T) {
	good := pcpMapping{public: netip.MustParseAddrPort("203.0.113.7:40000"), lifetime: time.Hour, epoch: 256}
	tests := []struct {
		name  string
		reply []byte
		want  pcpMapping
		err   error
	}{
		{name: "good", reply: pcpReplyTo(nil), want: good},
		{name: "with options", reply: append(pcpReplyTo(nil), make([]byte, 8)...), want: good},
		{name: "length not a multiple of 4", reply: append(pcpReplyTo(nil), 0), want: pcpMapping{}, err: errPCPBad},
		{name: "empty", want: pcpMapping{}, err: errPCPBad},
		{name: "header only", reply: pcpReplyTo(nil)[:24], want: pcpMapping{}, err: errPCPBad},
		{name: "too long", reply: append(pcpReplyTo(nil), make([]byte, 1044)...), want: pcpMapping{}, err: errPCPBad},
		{name: "a request", reply: pcpReplyTo(func(b []byte) { b[1] = 1 }), want: pcpMapping{}, err: errPCPForeign},
		{name: "another opcode", reply: pcpReplyTo(func(b []byte) { b[1] = 0x80 }), want: pcpMapping{}, err: errPCPForeign},
		{name: "another nonce", reply: pcpReplyTo(func(b []byte) { b[24]++ }), want: pcpMapping{}, err: errPCPForeign},
		{name: "another nonce, refused", reply: pcpReplyTo(func(b []byte) { b[24]++; b[3] = 2 }), want: pcpMapping{}, err: errPCPForeign},
		{name: "TCP", reply: pcpReplyTo(func(b []byte) { b[36] = 6 }), want: pcpMapping{}, err: errPCPForeign},
		{name: "another port", reply: pcpReplyTo(func(b []byte) { b[41]++ }), want: pcpMapping{}, err: errPCPForeign},
		{name: "NAT-PMP server", reply: []byte{0, 0x81, 0, 1, 0, 0, 0, 9}, want: pcpMapping{}, err: errUnsupported},
		{name: "another version", reply: pcpReplyTo(func(b []byte) { b[0] = 1; b[3] = 1 }), want: pcpMapping{}, err: errUnsupported},
		{name: "refused", reply: pcpReplyTo(func(b []byte) { b[3] = 2 }), want: pcpMapping{}, err: refusal("not authorized")},
		{name: "refused, header only", reply: pcpReplyTo(func(b []byte) { b[3] = 8 })[:24], want: pcpMapping{}, err: refusal("no resources")},
		{name: "unknown error", reply: pcpReplyTo(func(b []byte) { b[3] = 99 }), want: pcpMapping{}, err: refusal("error 99")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parsePCPMap(test.reply, testNonce, 1337)
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %v, %v; want %v, %v", got, err, test.want, test.err)
			}
		})
	}
}

// No datagram makes the parser panic, and it believes only what has our nonce.
func FuzzPCPReply(f *testing.F) {
	f.Add(pcpReplyTo(nil))
	f.Add(pcpReplyTo(func(b []byte) { b[3] = 2 }))
	f.Add([]byte{0, 0x81, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parsePCPMap(b, testNonce, 1337); err == nil && !bytes.Equal(b[24:36], testNonce[:]) {
			t.Errorf("accepts nonce %x", b[24:36])
		}
	})
}

func TestEpoch(t *testing.T) {
	start := time.Unix(1000, 0)
	tests := []struct {
		name   string
		after  time.Duration // since the first reply, which had epoch 1000
		server uint32
		want   bool
	}{
		{name: "same clock", after: time.Minute, server: 1060},
		{name: "a second back", after: 0, server: 999},
		{name: "two seconds back", after: 0, server: 998, want: true},
		{name: "started again", after: time.Minute, server: 20, want: true},
		{name: "started again long ago", after: 2 * time.Hour, server: 3000, want: true},
		{name: "a little slow", after: 160 * time.Second, server: 1148},
		{name: "slow", after: 160 * time.Second, server: 1147, want: true},
		{name: "a little fast", after: 160 * time.Second, server: 1172},
		{name: "fast", after: 160 * time.Second, server: 1175, want: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var e epoch
			if e.restarted(1000, start) {
				t.Error("the first reply counts as a restart")
			}
			if got := e.restarted(test.server, start.Add(test.after)); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
