package main

import (
	"net"
	"syscall"
)

// sharedListener lets other programs of this host, which map ports too, listen
// on the same port.
var sharedListener = net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
	var failure error
	err := raw.Control(func(fd uintptr) {
		failure = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	})
	if err != nil {
		return err
	}
	return failure
}}
