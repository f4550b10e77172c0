package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stopped is a proxy whose one loop stands still. What happens to its connections meanwhile
// it learns afterwards, all at once, and in that order, so that a test decides what comes
// first.
type stopped struct {
	t *testing.T
	l *loop
}

// still has the loop itself do something, which mustn't end the test, instead of waiting
// for events.
func (r *running) still(something func(s stopped)) {
	r.t.Helper()
	if len(r.loops) != 1 {
		r.t.Fatalf("there are %d loops, want one", len(r.loops))
	}
	l, done := r.loops[0], make(chan struct{})
	now := timer{owner: expirerFunc(func() {
		something(stopped{r.t, l})
		close(done)
	})}
	l.do(func() { l.timers.set(&now, l.now) })
	await(r.t, "the loop has done it", done)
}

type expirerFunc func()

func (f expirerFunc) expire() { f() }

// until waits until something is true of one of the sockets that belong to a T.
func until[T handler](s stopped, what string, holds func(fd int) bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		for i := range s.l.slots.list {
			if sock := s.l.slots.list[i].socket; sock != nil {
				if _, ok := sock.handler.(T); ok && holds(sock.fd) {
					return
				}
			}
		}
		if time.Now().After(end) {
			s.t.Errorf("after %s still not: %s", patience, what)
			return
		}
	}
}

// hasBytes reports whether something waits to be read.
func hasBytes(fd int) bool {
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return err == nil && n > 0
}

// hasEnd reports whether the peer has ended its direction.
func hasEnd(fd int) bool {
	all := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(all, 0)
	return err == nil && n == 1 && all[0].Revents&unix.POLLRDHUP != 0
}

// TestKeptConnectionCloses has an instance close the connection on which the next request
// would come, before, just as, and long before that comes. Whatever the method is, the
// request is answered, and no instance sees it twice. It goes out a second time only if it
// met the end.
func TestKeptConnectionCloses(t *testing.T) {
	const next = " / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
	for _, c := range []struct {
		name    string
		retried uint64
		// closes has the first connection close, and sends the next request.
		closes func(p *running, first *kept, end func(), method string)
	}{
		{"with the answer before", 0, func(p *running, first *kept, end func(), method string) {
			p.still(func(s stopped) {
				end()
				until[*upstreamConn](s, "the answer has come", hasBytes)
				until[*upstreamConn](s, "the end has come", hasEnd)
			})
			first.answer()
			p.settle()
			first.send(method + next)
		}},
		{"before", 0, func(p *running, first *kept, end func(), method string) {
			first.answer()
			p.settle()
			p.still(func(s stopped) {
				end()
				until[*upstreamConn](s, "the end has come", hasEnd)
				io.WriteString(first, method+next)
				until[*clientConn](s, "the request has come", hasBytes)
			})
		}},
		{"just as it comes", 1, func(p *running, first *kept, end func(), method string) {
			first.answer()
			p.settle()
			p.still(func(s stopped) {
				io.WriteString(first, method+next)
				until[*clientConn](s, "the request has come", hasBytes)
				end()
				until[*upstreamConn](s, "the end has come", hasEnd)
			})
		}},
	} {
		for _, network := range []string{"tcp", "unix"} {
			for _, method := range []string{"GET", "POST"} {
				t.Run(c.name+", "+network+", "+method, func(t *testing.T) {
					var seen atomic.Int64
					arrived, ends, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
					late := c.name != "with the answer before"
					up := fakedOn(t, network, func(n int64, conn *fakeConn) {
						if n > 1 {
							for req, _ := conn.request(); req != nil; req, _ = conn.request() {
								seen.Add(1)
								conn.say(ok("second"))
							}
							return
						}
						conn.request()
						close(arrived)
						if late {
							conn.say(ok("first"))
						}
						<-ends
						if !late {
							conn.say(ok("first"))
						}
						conn.Close()
						close(closed)
					})
					p := start(t, Config{Loops: 1}, web(rel("r1", 100, up)))
					first := keep(t, "tcp", p.addr)
					first.send(plainGet)
					await(t, "the first request arrives", arrived)
					c.closes(p, first, func() { close(ends); <-closed }, method)
					if got := first.answer(); got != "second" {
						t.Errorf("the client gets %q", got)
					}
					if got := p.release("r1"); seen.Load() != 1 || got.Retried != c.retried || got.Answered[2] != 2 {
						t.Errorf("the instance saw it %d times, want once, and it was sent again %d times, want %d; counted %+v", seen.Load(), got.Retried, c.retried, got)
					}
				})
			}
		}
	}
}

// TestAllKeptConnectionsDie: a request that met a dead connection doesn't go through all
// that are kept to the same instance, since those are as dead, but gets a new one.
func TestAllKeptConnectionsDie(t *testing.T) {
	const conns = maxAttempts + 1
	var inside sync.WaitGroup
	inside.Add(conns)
	f := faked(t, func(n int64, c *fakeConn) {
		c.request()
		if n <= conns {
			inside.Done()
			inside.Wait() // so that each has a connection of its own
			c.say(ok("first"))
			c.request()
			return
		}
		c.say(ok("second"))
	})
	p := start(t, Config{Loops: 1}, web(rel("r1", 100, f.Upstream)))
	var clients []*kept
	for range conns {
		k := keep(t, "tcp", p.addr)
		k.send(plainGet)
		clients = append(clients, k)
	}
	for _, k := range clients {
		k.answer()
	}
	p.settle()
	clients[0].send(plainGet)
	if resp, text := response(t, clients[0].r); resp.StatusCode != http.StatusOK || text != "second" {
		t.Errorf("%s: %s", resp.Status, text)
	}
	if got := p.release("r1"); got.Retried != 1 || f.conns.Load() != conns+1 {
		t.Errorf("it was sent again %d times, over %d connections; want once, over a new one", got.Retried, f.conns.Load()-conns)
	}
}

// TestBodyGoesOnAfterTheAnswer: an instance that has answered before it has read all of a
// body gets what comes of it after the answer has gone out.
func TestBodyGoesOnAfterTheAnswer(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			half, answers, whole := make(chan struct{}), make(chan struct{}), make(chan string, 1)
			up := fakedOn(t, network, func(_ int64, c *fakeConn) {
				req := c.head()
				first := make([]byte, 5)
				io.ReadFull(req.Body, first)
				close(half)
				<-answers
				c.say(ok("early"))
				rest, err := io.ReadAll(req.Body)
				if err != nil {
					rest = []byte(err.Error())
				}
				whole <- string(first) + string(rest)
			})
			p := start(t, Config{Loops: 1}, web(rel("r1", 100, up)))
			conn, r := p.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
			await(t, "a half arrives", half)
			p.still(func(s stopped) {
				close(answers)
				until[*upstreamConn](s, "the answer has come", hasBytes)
				io.WriteString(conn, "world")
				until[*clientConn](s, "the other half has come", hasBytes)
			})
			if resp, text := response(t, r); resp.StatusCode != http.StatusOK || text != "early" || !resp.Close {
				t.Errorf("%s: %s, close: %v", resp.Status, text, resp.Close)
			}
			if got := await(t, "the instance has it", whole); got != "helloworld" {
				t.Errorf("the instance gets %q", got)
			}
		})
	}
}

// TestContinueIsPassedOn: a client that waits to be asked for its body is asked when the
// instance does so, and doesn't wait for the second to be over after which it is asked in any
// case.
func TestContinueIsPassedOn(t *testing.T) {
	arrived, asks := make(chan struct{}), make(chan struct{})
	up := faked(t, func(_ int64, c *fakeConn) {
		req := c.head()
		close(arrived)
		<-asks
		c.say("HTTP/1.1 100 Continue\r\n\r\n")
		body, _ := io.ReadAll(req.Body)
		c.say(ok(string(body)))
	})
	p := start(t, Config{Loops: 1}, web(rel("r1", 100, up.Upstream)))
	conn, r := p.raw("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	await(t, "the head arrives", arrived)
	var x *exchange
	p.still(func(s stopped) {
		close(asks)
		until[*upstreamConn](s, "the instance asks", hasBytes)
		x = s.l.registry.accounts[accountKey{"web", "r1"}].flights.first.owner.(*exchange)
	})
	// What has happened before is done with first.
	p.still(func(stopped) {
		if x.upload.asking {
			t.Error("the client isn't asked when the instance asks")
		}
	})
	if resp, _ := response(t, r); resp.StatusCode != http.StatusContinue {
		t.Errorf("%s, want to be asked", resp.Status)
	}
	io.WriteString(conn, "hello")
	if resp, text := response(t, r); resp.StatusCode != http.StatusOK || text != "hello" {
		t.Errorf("%s: %s", resp.Status, text)
	}
}

// TestEndIsTold: a client that goes on sending until it sees the end of its answer, which is
// that of the connection, sees it. The end doesn't wait for what the client sends, nor for
// the time in which that is taken, which is made endless here; afterwards the client would
// be met with a reset.
func TestEndIsTold(t *testing.T) {
	arrived, ends := make(chan struct{}), make(chan struct{})
	up := faked(t, func(_ int64, c *fakeConn) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\n\r\nhello")
		close(arrived)
		<-ends
	})
	p := start(t, Config{Loops: 1}, web(rel("r1", 100, up.Upstream)))
	conn, r := p.raw("GET / HTTP/1.0\r\n\r\n")
	await(t, "the instance has answered", arrived)
	p.still(func(s stopped) {
		close(ends)
		until[*upstreamConn](s, "the end has come", hasEnd)
		// The loop goes on with the end, and then comes here.
		s.l.timers.set(&timer{owner: expirerFunc(func() {
			for _, c := range s.l.clients() {
				if c.state != lingering {
					t.Errorf("the client's connection is in state %d", c.state)
				}
				c.since = c.since.Add(time.Hour)
			}
		})}, s.l.now.Add(1))
	})
	seen, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		for b := make([]byte, 1000); ; {
			select {
			case <-seen:
				return
			default:
			}
			if _, err := conn.Write(b); err != nil {
				return
			}
		}
	}()
	if all, err := io.ReadAll(r); err != nil || !strings.HasSuffix(string(all), "\r\n\r\nhello") {
		t.Errorf("the client gets %q, %v", all, err)
	}
	close(seen)
	<-written
	conn.Close()
}

// TestDoorTellsTheEnd: before a connection of the door is closed, its client can be told the
// end, and go on sending until it has seen it.
func TestDoorTellsTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	door := &doorConn{Conn: conn}
	if err := door.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := client.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %d bytes and %v, want the end", n, err)
	}
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(door, make([]byte, 1)); err != nil {
		t.Errorf("what the client sends: %v", err)
	}
}
