//go:build !linux || portable

package main

import (
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// Elsewhere no interface is followed.

type links struct{}

func newLinks([]*udp.Socket, *tracker, bool, *logger.Logger) *links { return nil }

func (*links) start() {}
func (*links) stop()  {}

// interfaceNumber returns 0: sockets are bound by the name of the interface.
func interfaceNumber(string) (uint32, error) { return 0, nil }
