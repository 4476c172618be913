// Package rtnetlink asks the Linux kernel for interfaces, addresses and default
// routes, and waits for changes of them, by rtnetlink(7). A notification only
// means that something has changed. The caller then asks for the new state, so
// nothing is lost if the kernel drops a notification. It is written by hand,
// because libraries for it use package net: 125 KB of a router's flash.
package rtnetlink
