package proxy

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// told is a handler that notes that it was told.
type told struct{ times int }

func (h *told) ready() { h.times++ }

// pair returns the descriptors of two connected sockets that don't block.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

func polled(t *testing.T) *loop {
	t.Helper()
	p, err := newPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	l := newLoop(New(Config{Loops: 1}))
	l.poller = p
	return l
}

// A descriptor that was closed after something had happened to it, and given to another
// connection by the kernel before that was looked at: the other one isn't told.
func TestEventOfClosedSocketIsNobodys(t *testing.T) {
	l := polled(t)
	var first, second socket
	var old, young told
	a, b := pair(t)
	if err := first.watch(l, a, &old); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(b, []byte("x")); err != nil {
		t.Fatal(err)
	}
	n := l.poller.wait(-1)
	if n == 0 {
		t.Fatal("there is no event")
	}
	// The loop is about to handle the event, and closes the connection for another reason.
	slot := first.ticket.slot
	first.close()
	c, d := pair(t)
	if c != a {
		t.Fatalf("the kernel gives the descriptor %d, not %d again: this test shows nothing", c, a)
	}
	if err := second.watch(l, c, &young); err != nil {
		t.Fatal(err)
	}
	if second.ticket.slot != slot {
		t.Fatalf("the slot is %d, not %d again: this test shows nothing", second.ticket.slot, slot)
	}
	for i := range n {
		l.handle(l.poller.event(i))
	}
	if old.times != 0 || young.times != 0 || second.readable {
		t.Errorf("the closed one was told %d times, the new one %d times", old.times, young.times)
	}
	// Its own events come.
	if _, err := unix.Write(d, []byte("y")); err != nil {
		t.Fatal(err)
	}
	for i := range l.poller.wait(-1) {
		l.handle(l.poller.event(i))
	}
	if young.times == 0 || !second.readable {
		t.Error("the new one isn't told")
	}
	second.close()
	closeFD(b)
	closeFD(d)
}

// What a socket knows of its state is what the kernel would say.
func TestSocketKnowsItsState(t *testing.T) {
	l := polled(t)
	var s socket
	a, b := pair(t)
	if err := s.watch(l, a, &told{}); err != nil {
		t.Fatal(err)
	}
	look := func() {
		for i := range l.poller.wait(0) {
			l.handle(l.poller.event(i))
		}
	}
	look()
	if s.readable || !s.writable || s.ended || s.broken || !s.quiet() {
		t.Errorf("at first: %+v", s)
	}
	unix.Write(b, []byte("abc"))
	look()
	if !s.readable || s.quiet() {
		t.Errorf("with something to read: %+v", s)
	}
	buffer := make([]byte, 10)
	if n, errno := s.read(buffer[:2]); n != 2 || errno != 0 || !s.readable {
		t.Errorf("a part: %d, %v, %+v", n, errno, s)
	}
	if n, errno := s.read(buffer); n != 1 || errno != 0 || s.readable {
		t.Errorf("the rest: %d, %v, %+v", n, errno, s)
	}
	for s.writable {
		if _, errno := s.write(make([]byte, 1000), make([]byte, 5000)); errno != 0 && errno != syscall.EAGAIN {
			t.Fatal(errno)
		}
	}
	unix.Write(b, []byte("z"))
	unix.Shutdown(b, unix.SHUT_WR)
	look()
	if !s.ended || s.broken || s.writable || s.quiet() {
		t.Errorf("with the peer's direction ended: %+v", s)
	}
	if n, _ := s.read(buffer); n != 1 || !s.readable {
		t.Errorf("the end has to be read still: %d, %+v", n, s)
	}
	if n, errno := s.read(buffer); n != 0 || errno != 0 {
		t.Errorf("the end: %d, %v", n, errno)
	}
	closeFD(b)
	look()
	if !s.broken {
		t.Errorf("with the peer gone: %+v", s)
	}
	s.close()
	if s.watched() {
		t.Error("it is closed and watched")
	}
}

// A connection to an ephemeral port of this machine where nobody listens can be one with
// itself.
func TestNoConnectionWithItself(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, own); err != nil {
		t.Fatal(err)
	}
	if err := connectedFD(fd); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v, want that nobody is there", err)
	}
}

func TestAddressOf(t *testing.T) {
	for _, c := range []struct{ network, text, wrong string }{
		{"tcp", "127.0.0.1:80", ""},
		{"tcp", "[::1]:80", ""},
		{"unix", "/run/x", ""},
		{"tcp", "localhost:80", "IP:port"},
		{"tcp", "127.0.0.1", "IP:port"},
	} {
		if _, err := addressOf(c.network, c.text); (err != nil) != (c.wrong != "") {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	// Both kinds of TCP reach somebody.
	for _, network := range []string{"tcp4", "tcp6"} {
		l, err := net.Listen(network, map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network])
		if err != nil {
			t.Fatal(err)
		}
		a, err := addressOf("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fd, _, err := connectFD(a)
		if err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		if _, err := l.Accept(); err != nil {
			t.Errorf("%s: %v", network, err)
		}
		closeFD(fd)
		l.Close()
	}
}

// A client that had connected before anybody served it has what the others have: its
// small answers don't wait for acknowledgements.
func TestEarlyClientIsNotDelayed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := New(Config{Loops: 1})
	if err := p.Apply(t.Context(), Table{Version: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, []net.Listener{listener}, nil) }()
	l := p.loops[0]
	eventually(t, "the client is accepted", func() bool { return l.load.Load() == 1 })
	l.do(func() {
		for _, c := range l.clients() {
			for name, option := range map[string][2]int{"TCP_NODELAY": {unix.IPPROTO_TCP, unix.TCP_NODELAY}, "SO_KEEPALIVE": {unix.SOL_SOCKET, unix.SO_KEEPALIVE}} {
				if on, err := unix.GetsockoptInt(c.fd, option[0], option[1]); err != nil || on == 0 {
					t.Errorf("%s is %d, %v", name, on, err)
				}
			}
		}
	})
	conn.Close()
	stop()
	if err := await(t, "Run ends", ended); err != nil {
		t.Error(err)
	}
}
