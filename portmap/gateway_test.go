package main

import (
	"net/netip"
	"testing"
)

func TestIsPublic(t *testing.T) {
	tests := []struct {
		address string
		want    bool
	}{
		{"0.0.0.0", false}, {"9.255.255.255", true}, {"10.0.0.0", false}, {"11.0.0.0", true},
		{"100.63.255.255", true}, {"100.64.0.0", false}, {"100.127.255.255", false}, {"100.128.0.0", true},
		{"127.0.0.1", false}, {"169.254.1.1", false}, {"172.15.255.255", true}, {"172.16.0.0", false},
		{"172.31.255.255", false}, {"172.32.0.0", true}, {"192.0.0.4", false}, {"192.168.1.1", false},
		{"203.0.113.7", true}, {"223.255.255.255", true}, {"224.0.0.1", false}, {"255.255.255.255", false},
		{"2001:db8::1", false}, {"::ffff:8.8.8.8", false},
	}
	for _, test := range tests {
		if got := isPublic(netip.MustParseAddr(test.address)); got != test.want {
			t.Errorf("isPublic(%s): got %v, want %v", test.address, got, test.want)
		}
	}
}

func TestFindRouter(t *testing.T) {
	want := router{gateway: netip.MustParseAddr("127.0.0.53"), local: netip.MustParseAddr("127.0.0.1")}
	got, err := findRouter(want.gateway)
	if err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}
