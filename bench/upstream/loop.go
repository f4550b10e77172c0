package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// loop serves its connections, edge-triggered: an event says that a descriptor may be
// read or written again, and then that is done until the kernel says no.
type loop struct {
	epoll     int
	listeners map[int]bool
	// conns are by descriptor.
	conns   []*conn
	buffer  []byte
	answers *answers
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	return &loop{epoll: epoll, listeners: make(map[int]bool), buffer: make([]byte, 256<<10), answers: newAnswers()}, nil
}

func (l *loop) listen(fd int) error {
	l.listeners[fd] = true
	return l.watch(fd, unix.EPOLLIN)
}

func (l *loop) watch(fd int, events uint32) error {
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (l *loop) run() error {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			fd := int(e.Fd)
			if l.listeners[fd] {
				if err := l.accept(fd); err != nil {
					return err
				}
				continue
			}
			if !l.serve(fd, l.conns[fd]) {
				l.conns[fd] = nil
				unix.Close(fd)
			}
		}
	}
}

// accept takes one connection; the event comes again while there are more.
func (l *loop) accept(listener int) error {
	fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNABORTED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	// A unix socket has no such option, and needs none.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = &conn{answers: l.answers}
	return l.watch(fd, unix.EPOLLIN|unix.EPOLLET)
}

// serve does what can be done now, and says whether the connection goes on.
func (l *loop) serve(fd int, c *conn) bool {
	for {
		if !flush(fd, c) {
			return false
		}
		if len(c.out) > 0 {
			return l.awaitWritable(fd, c)
		}
		n, err := unix.Read(fd, l.buffer)
		if errors.Is(err, unix.EAGAIN) {
			return true
		}
		if err != nil || n == 0 {
			return false
		}
		if err := c.take(l.buffer[:n]); err != nil {
			return false
		}
		if n < len(l.buffer) {
			// More to read makes a new event, so one read is enough.
			return flush(fd, c) && (len(c.out) == 0 || l.awaitWritable(fd, c))
		}
	}
}

// awaitWritable asks for events when c can be written, too; those that never need it
// are spared them.
func (l *loop) awaitWritable(fd int, c *conn) bool {
	if c.awaitsWritable {
		return true
	}
	c.awaitsWritable = true
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET, Fd: int32(fd)}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, fd, &e) == nil
}

// flush writes what the kernel takes, and says whether the connection goes on.
func flush(fd int, c *conn) bool {
	for len(c.out) > 0 {
		n, err := unix.Write(fd, c.out)
		if errors.Is(err, unix.EAGAIN) {
			return true
		}
		if err != nil {
			return false
		}
		c.out = c.out[n:]
	}
	return true
}
