//go:build !linux

package main

import (
	"errors"
	"net/netip"
)

// defaultGateway is for Linux only.
func defaultGateway() (netip.Addr, error) {
	return netip.Addr{}, errors.New("the default gateway is unknown on this system: want -gateway ADDRESS")
}
