package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxEvents is how many events are taken at a time.
	maxEvents = 128
	// keepAliveSeconds is how long a connection is silent before the kernel probes it,
	// and the time between two probes.
	keepAliveSeconds = 15
)

// poller waits for events of many descriptors: an epoll instance (epoll(7)),
// edge-triggered, so that a connection is registered once and costs no call after that.
type poller struct {
	fd int
	// waker is an eventfd, by which other goroutines end a wait.
	waker  int
	events [maxEvents]unix.EpollEvent
}

// event is what happened to the socket with a ticket.
type event struct {
	ticket
	readable, writable, ended, broken bool
}

// Tickets that no socket has.
const (
	wakerSlot    = -1
	listenerSlot = -2 // and below, for further listeners
)

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an epoll instance: %w", err)
	}
	waker, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		closeFD(fd)
		return nil, fmt.Errorf("create an eventfd: %w", err)
	}
	p := &poller{fd: fd, waker: waker}
	if err := p.control(unix.EPOLL_CTL_ADD, waker, unix.EPOLLIN|unix.EPOLLET, ticket{slot: wakerSlot}); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) close() {
	closeFD(p.fd)
	closeFD(p.waker)
}

func (p *poller) control(op, fd int, events uint32, t ticket) error {
	if err := unix.EpollCtl(p.fd, op, fd, &unix.EpollEvent{Events: events, Fd: t.slot, Pad: t.turn}); err != nil {
		return fmt.Errorf("watch a descriptor: %w", err)
	}
	return nil
}

func (p *poller) add(fd int, t ticket) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, t)
}

// addListener tells of new connections, but not every loop of each one.
func (p *poller) addListener(fd, n int) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, ticket{slot: int32(listenerSlot - n)})
}

// remove is for descriptors that stay open, be it in another process; others leave by
// being closed.
func (p *poller) remove(fd int) { _ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// wake ends the wait that is going on, or the next one.
func (p *poller) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.waker, one[:]) // it fails only when there are 2^64 wakes to come
}

// wait returns the number of events that have come, when there is one or the time is up;
// a negative timeout is for ever.
func (p *poller) wait(timeout time.Duration) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), maxEvents, 0, 0, 0)
	if errno == 0 && n == 0 && timeout != 0 {
		// Rounded up, so that a wait never ends just before its time.
		milliseconds := min((timeout+time.Millisecond-1)/time.Millisecond, 1<<30)
		if timeout < 0 {
			milliseconds = -1
		}
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), maxEvents, uintptr(milliseconds), 0, 0)
	}
	if errno != 0 {
		return 0 // EINTR: a signal for the process
	}
	return int(n)
}

// event returns an event of the last wait.
func (p *poller) event(n int) event {
	e := &p.events[n]
	if e.Fd == wakerSlot {
		var count [8]byte
		_, _ = unix.Read(p.waker, count[:])
	}
	return event{
		ticket:   ticket{e.Fd, e.Pad},
		readable: e.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
		writable: e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0,
		ended:    e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0,
		broken:   e.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0,
	}
}

// The calls below never block, so that the scheduler needn't know of them.

func readFD(fd int, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func writeFD(fd int, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func writevFD(fd int, a, b []byte) (int, syscall.Errno) {
	parts := [2]unix.Iovec{{Base: unsafe.SliceData(a), Len: uint64(len(a))}, {Base: unsafe.SliceData(b), Len: uint64(len(b))}}
	message := unix.Msghdr{Iov: &parts[0], Iovlen: 2}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), unix.MSG_NOSIGNAL)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// peekFD returns EAGAIN when there is nothing to read, not even the end.
func peekFD(fd int) syscall.Errno {
	var b [1]byte
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno
}

func closeFD(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func shutdownWriteFD(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }

// resetFD has the coming close send a reset rather than an end.
func resetFD(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// acceptFD takes a connection, with the address of its client, which is none for a unix
// socket.
func acceptFD(listener int) (fd int, from netip.Addr, errno syscall.Errno) {
	var peer unix.RawSockaddrInet6 // which is longer than that of IPv4
	size := uint32(unsafe.Sizeof(peer))
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&peer)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	switch {
	case errno != 0:
		return -1, netip.Addr{}, errno
	case peer.Family == unix.AF_INET:
		from = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&peer)).Addr)
	case peer.Family == unix.AF_INET6:
		from = netip.AddrFrom16(peer.Addr).Unmap()
	}
	if fd = int(n); from.IsValid() {
		// A connection inherits these from its listener only if it came after they were
		// set there. Small writes aren't to wait, and one that is silent for long is
		// probed.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveSeconds)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveSeconds)
	}
	return fd, from, 0
}

// peerOf returns the address of a client whose connection came from another process.
func peerOf(fd int) netip.Addr {
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return netip.Addr{} // it has gone
	}
	switch a := peer.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap()
	}
	return netip.Addr{}
}

// address is an upstream's address as the kernel wants it.
type address struct {
	family int
	sockaddr
}

type sockaddr = unix.Sockaddr

func addressOf(network, text string) (address, error) {
	if network == "unix" {
		return address{unix.AF_UNIX, &unix.SockaddrUnix{Name: text}}, nil
	}
	a, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return address{}, fmt.Errorf("its address is %q, want IP:port", text)
	case a.Addr().Unmap().Is4():
		return address{unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().Unmap().As4()}}, nil
	}
	return address{unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone(a.Addr())}}, nil
}

// zone returns the index of the interface in a link-local address; 0 is none.
func zone(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	ifi, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0
	}
	return uint32(ifi.Index)
}

// connectFD begins to connect. done is set when the connection is there already.
func connectFD(a address) (fd int, done bool, err error) {
	fd, err = unix.Socket(a.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, false, err
	}
	if a.family != unix.AF_UNIX {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	switch err = unix.Connect(fd, a.sockaddr); {
	case err == nil:
		return fd, true, nil
	case errors.Is(err, unix.EINPROGRESS):
		return fd, false, nil
	}
	closeFD(fd)
	return -1, false, err
}

// connectedFD returns how connecting has ended. A connection to a port of this machine
// where nobody listens can be one with itself, when that port is given to it: nobody
// is there.
func connectedFD(fd int) error {
	switch code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); {
	case err != nil:
		return err
	case code != 0:
		return syscall.Errno(code)
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return err
	}
	if same(own, peer) {
		return unix.ECONNREFUSED
	}
	return nil
}

// ackedFD returns how many bytes the peer's kernel has acknowledged (TCP_INFO), or -1 when
// it isn't known.
func ackedFD(fd int) int64 {
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || uintptr(size) < unsafe.Offsetof(info.Bytes_acked)+unsafe.Sizeof(info.Bytes_acked) {
		return -1
	}
	return int64(info.Bytes_acked)
}

func same(a, b unix.Sockaddr) bool {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		b, ok := b.(*unix.SockaddrInet4)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	case *unix.SockaddrInet6:
		b, ok := b.(*unix.SockaddrInet6)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	}
	return false
}

// listenerFD returns a copy of a listener's descriptor that doesn't block.
func listenerFD(l net.Listener) (fd int, err error) {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("listener %s is a %T, which has no descriptor", l.Addr(), l)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("listener %s: %w", l.Addr(), err)
	}
	var dupErr error
	err = raw.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return -1, fmt.Errorf("copy the descriptor of listener %s: %w", l.Addr(), err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		closeFD(fd)
		return -1, fmt.Errorf("listener %s: %w", l.Addr(), err)
	}
	return fd, nil
}

// connOf makes a descriptor a connection of package net, to which it belongs then.
func connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("hand a connection over: %w", err)
	}
	return conn, nil
}

// newPipe returns nil when this process has too many descriptors or pipes.
func newPipe() *pipe {
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC) != nil {
		return nil
	}
	p := &pipe{out: fds[0], in: fds[1]}
	if _, err := unix.FcntlInt(uintptr(p.in), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		p.close()
		return nil
	}
	return p
}

// spliceFD has the kernel pass bytes from one descriptor to another, of which one is a
// pipe.
func spliceFD(from, to, n int) (int, syscall.Errno) {
	for {
		moved, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if errno == 0 {
			return int(moved), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}
