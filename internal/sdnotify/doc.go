// Package sdnotify tells a service manager such as systemd the state of the
// program, by the protocol of sd_notify(3): ready, reloading, stopping, and alive
// for the watchdog. Without NOTIFY_SOCKET in the environment it does nothing. It
// is written by hand, because libraries for it use package net: 125 KB of a
// router's flash.
package sdnotify
