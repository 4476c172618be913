//go:build !linux

package main

import "net"

// sharedListener is a plain listener on systems other than Linux.
var sharedListener net.ListenConfig
