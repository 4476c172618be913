//go:build !linux || portable

package main

import (
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file has no functions on systems without netlink: interfaces are not
// followed.

type linkMonitor struct{}

func newLinkMonitor([]*udp.Socket, *tracker, bool, *logger.Logger) *linkMonitor { return nil }

func (*linkMonitor) start() {}
func (*linkMonitor) stop()  {}

// interfaceNumber returns 0: sockets are bound by the name of the interface.
func interfaceNumber(string) (uint32, error) { return 0, nil }
