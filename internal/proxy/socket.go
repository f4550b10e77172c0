package proxy

import "syscall"

// socket is a connection that a loop watches. The kernel tells only of what changes, so
// that what it has told is kept here until a call says otherwise.
type socket struct {
	loop *loop
	fd   int
	// ticket is what the poller knows the socket by.
	ticket  ticket
	handler handler

	// readable and writable are set when a call may get somewhere. ended is set when
	// the peer has ended its direction, broken when both are.
	readable, writable, ended, broken bool
}

// handler is told when there may be something to do on its socket.
type handler interface{ ready() }

// ticket names a socket to the poller: a place in the loop's list, and how often that
// was given away before. The kernel gives a closed descriptor to the next connection at
// once; a ticket it doesn't, so that an event of a socket that was closed meanwhile is
// nobody's.
type ticket struct{ slot, turn int32 }

// slots are the sockets of a loop by their tickets.
type slots struct {
	list []slot
	free []int32
}

type slot struct {
	socket *socket
	turn   int32
}

func (s *slots) take(sock *socket) ticket {
	if len(s.free) == 0 {
		s.list = append(s.list, slot{})
		s.free = append(s.free, int32(len(s.list)-1))
	}
	n := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.list[n].socket = sock
	return ticket{n, s.list[n].turn}
}

func (s *slots) give(t ticket) {
	s.list[t.slot].socket = nil
	s.list[t.slot].turn++
	s.free = append(s.free, t.slot)
}

// find returns nil when the ticket isn't good any more.
func (s *slots) find(t ticket) *socket {
	if int(t.slot) >= len(s.list) || s.list[t.slot].turn != t.turn {
		return nil
	}
	return s.list[t.slot].socket
}

// watch has the loop tell a handler what happens on a descriptor.
func (s *socket) watch(l *loop, fd int, h handler) error {
	s.loop, s.fd, s.handler = l, fd, h
	s.ticket = l.slots.take(s)
	if err := l.poller.add(fd, s.ticket); err != nil {
		l.slots.give(s.ticket)
		s.handler = nil
		return err
	}
	return nil
}

// watched reports whether the socket is open and its loop's.
func (s *socket) watched() bool { return s.handler != nil }

// release ends watching and returns the descriptor.
func (s *socket) release() (fd int) {
	s.loop.poller.remove(s.fd)
	s.forget()
	return s.fd
}

// close closes the descriptor, of which the poller then tells no more.
func (s *socket) close() {
	if s.watched() {
		closeFD(s.fd)
		s.forget()
	}
}

func (s *socket) forget() {
	s.loop.slots.give(s.ticket)
	s.handler = nil
	s.readable, s.writable = false, false
}

// read reads what there is. n is 0 at the end. EAGAIN is for later.
func (s *socket) read(b []byte) (n int, errno syscall.Errno) {
	n, errno = readFD(s.fd, b)
	if errno == syscall.EAGAIN || (n > 0 && n < len(b) && !s.ended && !s.broken) {
		// Fewer bytes than were asked for are all (epoll(7)).
		s.readable = false
	}
	return n, errno
}

// write writes as much as fits of one text and then another. EAGAIN is for later.
func (s *socket) write(a, b []byte) (n int, errno syscall.Errno) {
	switch {
	case len(a) == 0:
		n, errno = writeFD(s.fd, b)
	case len(b) == 0:
		n, errno = writeFD(s.fd, a)
	default:
		n, errno = writevFD(s.fd, a, b)
	}
	if errno == syscall.EAGAIN || (errno == 0 && n < len(a)+len(b)) {
		s.writable = false
	}
	return n, errno
}

// quiet reports whether an idle connection is neither ended by the peer nor has bytes
// from it, which nobody asked for.
func (s *socket) quiet() bool {
	if s.ended || s.broken || peekFD(s.fd) != syscall.EAGAIN {
		return false
	}
	s.readable = false
	return true
}
