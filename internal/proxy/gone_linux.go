package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// endedByPeer reports whether the peer has closed a connection or its sending
// direction, even if there are bytes before the end that nobody has read. It doesn't
// block or consume anything.
func endedByPeer(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(poll, 0)
		ended = err == nil && n > 0
	})
	return err != nil || ended
}
