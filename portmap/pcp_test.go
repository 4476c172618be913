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
		{"good", pcpReplyTo(nil), good, nil},
		{"with options", append(pcpReplyTo(nil), make([]byte, 8)...), good, nil},
		{"length not a multiple of 4", append(pcpReplyTo(nil), 0), pcpMapping{}, errPCPBad},
		{"empty", nil, pcpMapping{}, errPCPBad},
		{"header only", pcpReplyTo(nil)[:24], pcpMapping{}, errPCPBad},
		{"too long", append(pcpReplyTo(nil), make([]byte, 1044)...), pcpMapping{}, errPCPBad},
		{"a request", pcpReplyTo(func(b []byte) { b[1] = 1 }), pcpMapping{}, errPCPForeign},
		{"another opcode", pcpReplyTo(func(b []byte) { b[1] = 0x80 }), pcpMapping{}, errPCPForeign},
		{"another nonce", pcpReplyTo(func(b []byte) { b[24]++ }), pcpMapping{}, errPCPForeign},
		{"another nonce, refused", pcpReplyTo(func(b []byte) { b[24]++; b[3] = 2 }), pcpMapping{}, errPCPForeign},
		{"TCP", pcpReplyTo(func(b []byte) { b[36] = 6 }), pcpMapping{}, errPCPForeign},
		{"another port", pcpReplyTo(func(b []byte) { b[41]++ }), pcpMapping{}, errPCPForeign},
		{"NAT-PMP server", []byte{0, 0x81, 0, 1, 0, 0, 0, 9}, pcpMapping{}, errUnsupported},
		{"another version", pcpReplyTo(func(b []byte) { b[0] = 1; b[3] = 1 }), pcpMapping{}, errUnsupported},
		{"refused", pcpReplyTo(func(b []byte) { b[3] = 2 }), pcpMapping{}, refusal("not authorized")},
		{"refused, header only", pcpReplyTo(func(b []byte) { b[3] = 8 })[:24], pcpMapping{}, refusal("no resources")},
		{"unknown error", pcpReplyTo(func(b []byte) { b[3] = 99 }), pcpMapping{}, refusal("error 99")},
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
		{"same clock", time.Minute, 1060, false},
		{"a second back", 0, 999, false},
		{"two seconds back", 0, 998, true},
		{"started again", time.Minute, 20, true},
		{"started again long ago", 2 * time.Hour, 3000, true},
		{"a little slow", 160 * time.Second, 1148, false},
		{"slow", 160 * time.Second, 1147, true},
		{"a little fast", 160 * time.Second, 1172, false},
		{"fast", 160 * time.Second, 1175, true},
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
