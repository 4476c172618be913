//go:build linux && !portable && (386 || s390x)

package sandbox

// On these processors all calls for sockets share one number, socketcall.

// socketCalls are the first arguments of socketcall: SYS_SOCKET, SYS_BIND,
// SYS_SENDTO, SYS_SETSOCKOPT, SYS_GETSOCKOPT, SYS_SENDMSG, SYS_RECVMSG.
var socketCalls = []uint32{1, 2, 11, 14, 15, 16, 17}
