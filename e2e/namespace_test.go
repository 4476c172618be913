//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// This file opens sockets in other network namespaces than the test's own. A
// socket stays in the namespace that it was opened in, so a copy of the test
// binary opens it there and passes it on.

// passSocketEnv in the environment of the test binary makes it open a socket,
// pass it on as a message on descriptor 3, and exit. The socket is "udp4",
// "udp6", "packet:" and the name of an interface, for the frames that arrive
// there, or "capture:" and the name of an interface, for copies of all frames.
const passSocketEnv = "PICO_E2E_PASS_SOCKET"

func passSocket(what string) error {
	fd, err := openHere(what)
	if err != nil {
		return err
	}
	return unix.Sendmsg(3, []byte{0}, unix.UnixRights(fd), nil, 0)
}

func openHere(what string) (int, error) {
	if name, ok := strings.CutPrefix(what, "packet:"); ok {
		return openPacket(name, unix.PACKET_VNET_HDR, unix.PACKET_IGNORE_OUTGOING)
	}
	if name, ok := strings.CutPrefix(what, "capture:"); ok {
		return openPacket(name)
	}
	conn, err := net.ListenPacket(what, ":0")
	if err != nil {
		return 0, err
	}
	file, err := conn.(*net.UDPConn).File()
	if err != nil {
		return 0, err
	}
	return int(file.Fd()), nil
}

// openPacket opens a socket that reads and writes an interface's frames. With
// PACKET_VNET_HDR each frame has a struct virtio_net_hdr before it, so a checksum
// that the sender left to its card stays left.
func openPacket(name string, options ...int) (int, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	// Without a protocol, because otherwise it would receive from every
	// interface until it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	for _, option := range options {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1); err != nil {
			return 0, err
		}
	}
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network order
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device.Index})
}

// openThere opens a socket in a namespace, for this process to use.
func openThere(namespace, what string) (*os.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	child := exec.Command("ip", "netns", "exec", namespace, self)
	child.Env = append(os.Environ(), passSocketEnv+"="+what)
	child.ExtraFiles = []*os.File{theirs}
	if out, err := child.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("open %s in %s: %w: %s", what, namespace, err, out)
	}
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive a socket from %s: %w", namespace, err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, fmt.Errorf("%d control messages from %s", len(messages), namespace)
	}
	descriptors, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(descriptors[0]), what), nil
}
