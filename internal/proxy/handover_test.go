package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// successor starts a proxy on the sockets of another and has it take over.
func (r *running) successor(cfg Config) *running {
	r.t.Helper()
	next := r.waiting(cfg)
	if _, err := next.control.TakeOver(context.Background(), r.control.path, patience); err != nil {
		r.t.Fatal(err)
	}
	return next
}

// waiting starts a proxy on the sockets of another, which has nothing to do yet.
func (r *running) waiting(cfg Config) *running {
	r.t.Helper()
	files, err := r.control.Sockets(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	var listeners []net.Listener
	for _, f := range files {
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			r.t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	// Clients that are there until the test's end needn't be waited for.
	cfg.ShutdownGrace = 100 * time.Millisecond
	return startOn(r.t, cfg, listeners...)
}

// kept is a connection of a client that is not to be closed.
type kept struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func keep(t *testing.T, network, address string) *kept {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &kept{conn, t, bufio.NewReader(conn)}
}

func (k *kept) send(text string) {
	k.t.Helper()
	if _, err := io.WriteString(k, text); err != nil {
		k.t.Fatal(err)
	}
}

// answer reads an answer which isn't the last.
func (k *kept) answer() string {
	k.t.Helper()
	resp, text := response(k.t, k.r)
	if resp.StatusCode != 200 || resp.Close {
		k.t.Fatalf("%s, close: %v", resp.Status, resp.Close)
	}
	return text
}

const plainGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// echo answers with a request's method, path, body, and where it comes from.
func echo(t *testing.T) Upstream {
	return handled(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, body, r.Header.Get("X-Forwarded-For"))
	})
}

// Connections that wait for a request go on as they are, wherever the bytes of the next
// one are.
func TestTakeOverPassesConnectionsOn(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	path := controlPath(t)
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old := startOn(t, Config{}, tcp, local)
	old.apply(1, web(rel("r1", 100, echo(t))))
	for _, at := range []struct{ network, address, from string }{
		{"tcp", tcp.Addr().String(), "127.0.0.1"}, {"unix", path, ""},
	} {
		// In the order in which they are made, so that an answer to the last says that all
		// the others are where they should be.
		fresh := keep(t, at.network, at.address)
		idle := keep(t, at.network, at.address)
		idle.send(plainGet)
		idle.answer()
		half := keep(t, at.network, at.address)
		half.send("GET /half HTTP/1.1\r\nHo")
		halfKept := keep(t, at.network, at.address)
		halfKept.send(plainGet + "POST /kept HTTP/1.1\r\nHost: a\r\nContent-Le")
		halfKept.answer()
		eventually(t, "the halves are read", func() bool { return old.inState(inHead) >= 2 })

		next := old.successor(Config{})
		eventually(t, "all have been passed on", func() bool { return old.clients.open.Load() == 0 })
		fresh.send("GET /fresh HTTP/1.1\r\nHost: a\r\n\r\n")
		idle.send("GET /idle HTTP/1.1\r\nHost: a\r\n\r\nGET /again HTTP/1.1\r\nHost: a\r\n\r\n")
		half.send("st: a\r\n\r\n")
		halfKept.send("ngth: 4\r\n\r\nbody")
		for _, want := range []struct {
			k    *kept
			text string
		}{
			{fresh, "GET /fresh  "}, {idle, "GET /idle  "}, {idle, "GET /again  "}, {half, "GET /half  "}, {halfKept, "POST /kept body "},
		} {
			if got := want.k.answer(); got != want.text+at.from {
				t.Errorf("%s: got %q, want %q", at.network, got, want.text+at.from)
			}
		}
		if n := next.stats().ConnectionsAccepted; n%4 != 0 {
			t.Errorf("%d connections accepted, want only those of clients", n)
		}
		old = next
	}
	old.settle()
	if s := old.stats(); s.ConnectionsAccepted != 8 || statsOf(s, "web", "r1").Accepted != 14 {
		t.Errorf("%d connections and %d requests were counted, want 8 and 14", s.ConnectionsAccepted, statsOf(s, "web", "r1").Accepted)
	}
}

// inState is how many connections of clients are in a state.
func (r *running) inState(state clientState) (n int) {
	for _, l := range r.loops {
		l.mu.Lock()
		for _, c := range l.clients() {
			if c.state == state {
				n++
			}
		}
		l.mu.Unlock()
	}
	return n
}

// A request in flight is answered by the proxy that has it, and its connection goes on in
// the next one, with what came meanwhile.
func TestTakeOverPassesOnAfterTheAnswer(t *testing.T) {
	hold, arrived := make(chan struct{}), make(chan struct{}, 2)
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-hold
		}
		io.WriteString(w, r.URL.Path)
	})
	old := start(t, Config{}, web(rel("r1", 100, up)))
	quiet, pipelined := keep(t, "tcp", old.addr), keep(t, "tcp", old.addr)
	quiet.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	pipelined.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /piped HTTP/1.1\r\nHost: a\r\n\r\nGET /ha")
	await(t, "the first one is there", arrived)
	await(t, "both are there", arrived)
	next := old.successor(Config{})
	if n := statsOf(next.stats(), "web", "r1").InFlight; n != 2 {
		t.Errorf("%d in flight after the handover, want 2", n)
	}
	close(hold)
	for k, wants := range map[*kept][]string{quiet: {"/slow"}, pipelined: {"/slow", "/piped"}} {
		for _, want := range wants {
			if got := k.answer(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	eventually(t, "both are passed on, though nothing more comes", func() bool { return old.clients.open.Load() == 0 })
	pipelined.send("lf HTTP/1.1\r\nHost: a\r\n\r\n")
	quiet.send(plainGet)
	if got := pipelined.answer() + quiet.answer(); got != "/half/" {
		t.Errorf("got %q", got)
	}
	if got := next.release("r1"); got.Answered[2] != 5 || got.Accepted != 5 {
		t.Errorf("counted %+v", got)
	}
}

// Ten takeovers in a row under load: no answer is missing, and no connection is closed.
func TestTakeOverUnderLoad(t *testing.T) {
	const clients, takeovers = 16, 10
	old := start(t, Config{}, web(rel("r1", 100, echo(t))))
	var (
		all  sync.WaitGroup
		sent atomic.Int64
	)
	stop := make(chan struct{})
	for n := range clients {
		k := keep(t, "tcp", old.addr)
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				path := fmt.Sprintf("/%d/%d", n, i)
				text, want := "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n", "GET "+path+"  127.0.0.1"
				if n%3 == 0 {
					body := strings.Repeat("x", 100*n)
					text = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
					want = "POST " + path + " " + body + " 127.0.0.1"
				}
				if n%4 == 1 {
					text, want = text+text, want+want
				}
				if _, err := io.WriteString(k, text); err != nil {
					t.Errorf("client %d: %v", n, err)
					return
				}
				for got := ""; len(got) < len(want); {
					resp, err := http.ReadResponse(k.r, nil)
					if err != nil {
						t.Errorf("client %d, request %d: %v", n, i, err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					if got += string(body); err != nil || resp.Close || !strings.HasPrefix(want, got) {
						t.Errorf("client %d, request %d: %q, %v, close: %v", n, i, got, err, resp.Close)
						return
					}
					sent.Add(1)
				}
			}
		})
	}
	for range takeovers {
		before := sent.Load()
		eventually(t, "requests are answered", func() bool { return sent.Load() > before+100 || t.Failed() })
		old = old.successor(Config{})
	}
	close(stop)
	all.Wait()
	if got := old.release("r1"); int64(got.Accepted) != sent.Load() || int64(got.Answered[2]) != sent.Load() {
		t.Errorf("%d answers came, and %+v were counted", sent.Load(), got)
	}
	if n := old.stats().ConnectionsAccepted; n != clients {
		t.Errorf("%d connections were counted, want %d", n, clients)
	}
	eventually(t, "no proxy before is left", func() bool { return len(old.before()) == 0 })
	if got := old.release("r1"); int64(got.Accepted) != sent.Load() || int64(got.Latency.Count()) != sent.Load() {
		t.Errorf("at the end %+v were counted of %d", got, sent.Load())
	}
}

// An upgraded connection stays where it is. The successor's drain waits for it, and cuts
// it at its deadline.
func TestTakeOverLeavesUpgraded(t *testing.T) {
	old := start(t, Config{}, web(rel("r1", 100, webSocketEcho(t))))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, old.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	next := old.successor(Config{})
	next = next.successor(Config{})
	echoes(ctx, t, ws)
	if s := statsOf(next.stats(), "web", "r1"); s.Upgraded != 1 || s.InFlight != 1 {
		t.Errorf("counted %+v", s)
	}
	next.apply(2, web(rel("r1", 0, at("127.0.0.1:1")), rel("r2", 100, echo(t))))
	result, err := next.Drain(ctx, "web", "r1", DrainTimes{All: 10 * time.Millisecond})
	if err != nil || result.InFlight != 1 || result.By.WebSockets != (Ending{Cut: 1}) {
		t.Errorf("drained %+v, %v", result, err)
	}
	if _, _, err := ws.Read(ctx); err == nil {
		t.Error("the connection goes on after the drain")
	}
	eventually(t, "no proxy before is left", func() bool { return len(next.before()) == 0 })
	if s := statsOf(next.stats(), "web", "r1"); s.Failed.Cut != 1 || s.InFlight != 0 || s.Accepted != 1 {
		t.Errorf("counted %+v", s)
	}
}

// What can't be passed on has a grace, and is cut then.
func TestTakeOverCutsAfterGrace(t *testing.T) {
	old := start(t, Config{}, web(rel("r1", 100, webSocketEcho(t))))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, old.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	echoes(ctx, t, ws)
	next := old.waiting(Config{})
	if _, err := next.control.TakeOver(ctx, old.control.path, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); err == nil {
		t.Error("the connection goes on after the grace")
	}
	eventually(t, "no proxy before is left", func() bool { return len(next.before()) == 0 })
	if s := statsOf(next.stats(), "web", "r1"); s.Failed.Cut != 1 || s.Accepted != 1 {
		t.Errorf("counted %+v", s)
	}
}

// Requests that wait in a hold stay where they are, and follow the tables of the successor.
func TestTakeOverOfHeldRequests(t *testing.T) {
	old := start(t, Config{}, holding(web(rel("r1", 100, saying(t, "r1")))))
	k := keep(t, "tcp", old.addr)
	k.send(plainGet)
	old.awaitHeld(1)
	next := old.successor(Config{})
	next.awaitHeld(1)
	next.apply(2, web(rel("r2", 100, saying(t, "r2"))))
	if got := k.answer(); got != "r2" {
		t.Errorf("answered by %s", got)
	}
	k.send(plainGet)
	if got := k.answer(); got != "r2" {
		t.Errorf("answered by %s", got)
	}
	if h := next.held(); h.LetGo != 1 || h.Total != 1 || h.Now != 0 {
		t.Errorf("held: %+v", h)
	}
}

// A request that waits for room gets it from the proxy in which it waits, and is counted by
// the next.
func TestTakeOverOfQueuedRequests(t *testing.T) {
	inside, goOn := make(chan struct{}, 2), make(chan struct{})
	busy := handled(t, func(w http.ResponseWriter, _ *http.Request) {
		inside <- struct{}{}
		<-goOn
		io.WriteString(w, "r1")
	})
	old := start(t, Config{}, limited(1, 9, patience, rel("r1", 100, busy)))
	first, second := keep(t, "tcp", old.addr), keep(t, "tcp", old.addr)
	first.send(plainGet)
	await(t, "a request at the instance", inside)
	second.send(plainGet)
	queued := func(r *running) HeldStats { return serviceStats(r.stats(), "web").Queued }
	eventually(t, "a request waits", func() bool { return queued(old).Now == 1 })
	next := old.successor(Config{})
	if q := queued(next); q.Now != 1 || q.Total != 1 {
		t.Errorf("queued: %+v", q)
	}
	close(goOn)
	for _, k := range []*kept{first, second} {
		if got := k.answer(); got != "r1" {
			t.Errorf("answered by %s", got)
		}
	}
	eventually(t, "it is counted as gone on", func() bool { return queued(next).LetGo == 1 })
	if q := queued(next); q.Now != 0 || q.Total != 1 {
		t.Errorf("queued: %+v", q)
	}
}

// A successor that goes away before it serves has changed nothing.
func TestTakeOverThatIsGivenUp(t *testing.T) {
	old := start(t, Config{}, web(rel("r1", 100, saying(t, "r1"))))
	k := keep(t, "tcp", old.addr)
	for _, say := range []func(net.Conn){
		func(c net.Conn) {
			io.WriteString(c, "POST "+handoverPath+" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
		},
		func(c net.Conn) {
			io.WriteString(c, "POST "+handoverPath+" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
			io.WriteString(c, "1")
			readFrame(c.(*net.UnixConn))
		},
	} {
		conn, err := net.Dial("unix", old.control.path)
		if err != nil {
			t.Fatal(err)
		}
		say(conn)
		conn.Close()
		k.send(plainGet)
		k.answer()
		fresh := keep(t, "tcp", old.addr)
		fresh.send(plainGet)
		fresh.answer()
	}
	if _, err := old.control.Stats(t.Context()); err != nil {
		t.Error(err)
	}
	empty := old.waiting(Config{})
	if _, err := old.waiting(Config{}).TakeOver(t.Context(), empty.control.path, 0); err == nil || !strings.Contains(err.Error(), "no table yet") {
		t.Errorf("a proxy without a table was taken over from: %v", err)
	}
	next := old.successor(Config{})
	k.send(plainGet)
	k.answer()
	if _, err := old.control.Stats(t.Context()); err == nil || !strings.Contains(err.Error(), errReplaced.Error()) {
		t.Errorf("a proxy that was replaced answers for all: %v", err)
	}
	if got := next.release("r1").Answered[2]; got != 5 {
		t.Errorf("%d answers, want 5", got)
	}
}

// When the successor dies, what the proxy still has stays there; clients learn with an
// answer that their connection ends, and the next one gets what is left.
func TestSuccessorDies(t *testing.T) {
	hold, arrived := make(chan struct{}), make(chan struct{}, 2)
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-hold
	})
	old := start(t, Config{}, web(rel("r1", 100, up)))
	first, second := keep(t, "tcp", old.addr), keep(t, "tcp", old.addr)
	first.send(plainGet)
	second.send(plainGet)
	await(t, "one is there", arrived)
	await(t, "both are there", arrived)
	doomed := old.successor(Config{})
	epoch := doomed.stats().Epoch
	doomed.incoming.stop() // as if it had been killed, for its predecessor
	doomed.endLife()
	eventually(t, "its end is known", func() bool { return old.closing.Load() })
	hold <- struct{}{}
	closes, goesOn := 0, 0
	check := func(k *kept) {
		if resp, _ := response(t, k.r); resp.Close {
			closes++
		} else {
			goesOn++
		}
	}
	answered := make(chan *kept, 2)
	for _, k := range []*kept{first, second} {
		go func() {
			k.r.Peek(1)
			answered <- k
		}()
	}
	check(await(t, "an answer", answered))
	third := doomed.waiting(Config{})
	if _, err := third.TakeOver(t.Context(), old.control.path, patience); err != nil {
		t.Fatal(err)
	}
	s := third.stats()
	if got := statsOf(s, "web", "r1"); s.Epoch == epoch || got.InFlight != 1 || got.Accepted != 1 || got.Answered[2] != 0 {
		t.Errorf("the epoch is %s after %s, counted %+v", s.Epoch, epoch, got)
	}
	close(hold)
	check(await(t, "the other answer", answered))
	if closes != 1 || goesOn != 1 {
		t.Errorf("%d connections end, %d go on", closes, goesOn)
	}
	if got := third.release("r1"); got.Answered[2] != 1 {
		t.Errorf("counted %+v", got)
	}
}

// When a predecessor dies, its counts are lost, and counting begins anew.
func TestPredecessorDies(t *testing.T) {
	hold, arrived := make(chan struct{}), make(chan struct{}, 2)
	defer close(hold)
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-hold
		}
	})
	old := start(t, Config{ShutdownGrace: time.Millisecond}, web(rel("r1", 100, up)))
	old.shaky = true
	lost := keep(t, "tcp", old.addr)
	lost.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	await(t, "it is there", arrived)
	thread := newThread(t, old.control.path)
	next := old.waiting(Config{})
	next.shaky = true
	if _, err := next.TakeOver(t.Context(), thread.path, patience); err != nil {
		t.Fatal(err)
	}
	await(t, "the old one accepts no more", old.stopped) // the thread passes no connections on
	k := keep(t, "tcp", next.addr)
	k.send(plainGet + "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	k.answer()
	await(t, "the other is there", arrived)
	before := next.stats()
	if got := statsOf(before, "web", "r1"); got.Accepted != 3 || got.InFlight != 2 {
		t.Errorf("counted %+v", got)
	}
	thread.cut()
	eventually(t, "another epoch", func() bool {
		s, err := next.Stats(t.Context())
		return err == nil && s.Epoch != before.Epoch
	})
	after := next.stats()
	addsUp(t, after)
	if got := statsOf(after, "web", "r1"); got.Accepted != 1 || got.InFlight != 1 || got.Answered[2] != 0 {
		t.Errorf("counted %+v after the loss", got)
	}
	if err := next.Apply(t.Context(), Table{Version: 2, Services: []Service{web(rel("r1", 100, up))}}); err != nil {
		t.Error(err)
	}
}

// thread passes on what goes to a control socket until it is cut.
type thread struct {
	path string
	cut  func()
}

func newThread(t *testing.T, to string) *thread {
	t.Helper()
	path := controlPath(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		conns []net.Conn
		all   sync.WaitGroup
	)
	th := &thread{path: path, cut: sync.OnceFunc(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})}
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", to)
			if err != nil {
				in.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, in, out)
			mu.Unlock()
			all.Go(func() { io.Copy(out, in); out.(*net.UnixConn).CloseWrite() })
			all.Go(func() { io.Copy(in, out); in.(*net.UnixConn).CloseWrite() })
		}
	})
	t.Cleanup(th.cut)
	return th
}

// A frame comes as it was sent, in pieces and with others around it.
func TestFrames(t *testing.T) {
	fds, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	a, b := fds[0], fds[1]
	defer a.Close()
	defer b.Close()
	file, err := a.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sent := []frame{
		{left: time.Second, fd: -1, data: []byte{}},
		{left: 3 * time.Millisecond, flags: inHeadFlag, fd: int(file.Fd()), data: []byte("GET / HT")},
		{fd: int(file.Fd()), data: []byte(strings.Repeat("x", 1<<20))},
		{fd: -1, data: []byte("last")},
	}
	failed := make(chan error, 1)
	go func() {
		var all []error
		for _, f := range sent {
			all = append(all, writeFrame(a, f))
		}
		failed <- errors.Join(append(all, a.CloseWrite())...)
	}()
	for i, want := range sent {
		got, err := readFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.left != want.left || got.flags != want.flags || string(got.data) != string(want.data) || (got.fd >= 0) != (want.fd >= 0) {
			t.Errorf("frame %d: %v %v %d bytes, descriptor %d", i, got.left, got.flags, len(got.data), got.fd)
		}
		if got.fd >= 0 {
			closeFD(got.fd)
		}
	}
	if _, err := readFrame(b); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := await(t, "all is sent", failed); err != nil {
		t.Error(err)
	}
}

func socketPair() ([2]*net.UnixConn, error) {
	var conns [2]*net.UnixConn
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return conns, err
	}
	for i, fd := range fds {
		conn, err := connOf(fd)
		if err != nil {
			return conns, err
		}
		conns[i] = conn.(*net.UnixConn)
	}
	return conns, nil
}

// webSocketEcho is an upstream that echoes the messages of WebSockets.
func webSocketEcho(t *testing.T) Upstream {
	return handled(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		for {
			kind, text, err := c.Read(context.Background())
			if err != nil || c.Write(context.Background(), kind, text) != nil {
				return
			}
		}
	})
}

func echoes(ctx context.Context, t *testing.T, ws *websocket.Conn) {
	t.Helper()
	if err := ws.Write(ctx, websocket.MessageText, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, text, err := ws.Read(ctx); err != nil || string(text) != "ping" {
		t.Fatalf("%q, %v", text, err)
	}
}

// A proxy that has nothing left ends, though another takes over in its last moment.
func TestTakeOverOfAnEmptyProxy(t *testing.T) {
	old := start(t, Config{}, web(rel("r1", 100, saying(t, "r1"))))
	doomed := old.successor(Config{})
	await(t, "it has nothing left", old.ended)
	third := doomed.waiting(Config{})
	if _, err := third.TakeOver(t.Context(), old.control.path, patience); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ends", func() bool { return len(third.before()) == 0 })
	await(t, "it has ended", old.life.Done())
	if err := old.stop(); err != nil {
		t.Error(err)
	}
}

// A proxy that was replaced doesn't end while another that was replaced before may pass
// connections on to it: they go on to the one that serves.
func TestTakeOverFromTheMiddle(t *testing.T) {
	hold, arrived := make(chan struct{}), make(chan struct{}, 1)
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-hold
		}
	})
	first := start(t, Config{}, web(rel("r1", 100, up)))
	k := keep(t, "tcp", first.addr)
	k.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	await(t, "it is there", arrived)
	middle := first.successor(Config{})
	// The last one hasn't told the first one yet that it is its successor.
	last := middle.waiting(Config{})
	conn, _, counts, err := last.link(t.Context(), middle.control.path, patience)
	if err != nil {
		t.Fatal(err)
	}
	last.succeed(counts, Predecessor{Socket: middle.control.path})
	last.links.Go(func() { last.receive(conn) })
	await(t, "the middle one accepts no more", middle.stopped)
	close(hold)
	k.answer()
	eventually(t, "the first one has nothing left", func() bool { return first.clients.open.Load() == 0 })
	k.send(plainGet)
	k.answer()
	if got := statsOf(must(last.ownStats(t.Context())), "web", "r1"); got.Accepted != 1 {
		t.Errorf("the last one has answered %d", got.Accepted)
	}
}

func must(s Stats, _ error) Stats { return s }

// The time for a head goes on over a takeover.
func TestResumedHeadKeepsItsTime(t *testing.T) {
	p := New(Config{Loops: 1})
	l := p.loops[0]
	c := newClientConn(l, netip.Addr{})
	c.resume(&handed{begun: true, inHead: true, left: time.Second, unread: []byte("GET / HT")})
	if c.begin() {
		t.Fatal("half a head is a request")
	}
	if left := l.timers.left(&c.timer, l.now); left > time.Second {
		t.Errorf("%s left, want 1s at most", left)
	}
}
