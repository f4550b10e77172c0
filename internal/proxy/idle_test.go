package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// idleConnections is how many idle connections of clients the test opens, and
// idleMemory what one of them may take of the proxy's memory, in bytes. docs/loss.md says
// half a KiB, which is what is measured; the bound leaves room for the buffers that the
// loops keep for use, which are few however many connections there are.
const (
	idleConnections = 10000
	idleMemory      = 1 << 10
)

// idleClientsVariable has this program be the clients of [TestIdleConnectionsCostLittle],
// at an address. They are a process of their own, so that the proxy's has a descriptor for
// each connection, and not two, and no memory but its own.
const idleClientsVariable = "SEGUE_TEST_IDLE_CLIENTS"

// TestIdleConnectionsCostLittle opens ten thousand connections, has one request answered on
// each, and leaves them idle. They take next to no memory, others are served as before, and
// each of them is still good.
func TestIdleConnectionsCostLittle(t *testing.T) {
	const room = 500 // for the proxy's own, the instance's and the other clients' descriptors
	if limit := raisedFileLimit(t); limit < idleConnections+room {
		t.Skipf("NOT TESTED: %d idle connections of clients. They take %d descriptors in each of two processes, and the hard limit is %d (ulimit -Hn)", idleConnections, idleConnections+room, limit)
	}
	up := faked(t, func(_ int64, c *fakeConn) {
		for req, _ := c.request(); req != nil; req, _ = c.request() {
			c.say(ok("to " + req.URL.Path))
		}
	})
	// No time is up before the test is over, on however slow a machine.
	p := start(t, Config{IdleTimeout: time.Hour, ReadHeaderTimeout: time.Hour}, web(rel("r1", 100, up.Upstream)))
	others := make([]*kept, 8)
	for i := range others {
		others[i] = keep(t, "tcp", p.addr)
	}
	othersAsk := func() {
		t.Helper()
		for range 20 {
			for _, k := range append(others, keep(t, "tcp", p.addr)) {
				k.send(plainGet)
				if got := k.answer(); got != "to /" {
					t.Fatalf("another client gets %q", got)
				}
			}
		}
	}
	othersAsk()
	p.settle()
	before := memoryInUse()

	clients := startIdleClients(t, p.addr)
	clients.do("open", idleConnections)
	p.settle()
	if n := p.stats().ConnectionsOpen; n < idleConnections {
		t.Fatalf("%d connections are open, want %d and others", n, idleConnections)
	}
	each := float64(memoryInUse()-before) / idleConnections
	t.Logf("%.0f bytes for each idle connection", each)
	if each > idleMemory {
		t.Errorf("an idle connection takes %.0f bytes, want %d at most", each, idleMemory)
	}

	othersAsk()
	clients.do("ask", idleConnections/100)
	if n := p.stats().ConnectionsOpen; n < idleConnections {
		t.Errorf("%d connections are open after that, want %d and others", n, idleConnections)
	}
	if got := p.release("r1"); got.Failed.Sum() != 0 || got.ClientGone != 0 || got.Answered[2] < idleConnections {
		t.Errorf("counted %+v", got)
	}
}

// raisedFileLimit raises the limit of open files as far as it can be, and returns it.
func raisedFileLimit(t *testing.T) uint64 {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	before := limit
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
	return limit.Cur
}

// memoryInUse is what this program's heap and stacks take, in bytes, without garbage.
func memoryInUse() int64 {
	var s runtime.MemStats
	// What has a finalizer goes with the second.
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapInuse + s.StackInuse)
}

// idleProcess is the process of the idle clients.
type idleProcess struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startIdleClients(t *testing.T, address string) *idleProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), idleClientsVariable+"="+address)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Errorf("the clients' process: %v", err)
		}
	})
	return &idleProcess{t, in, bufio.NewReader(out)}
}

// do gives a command with a number, and waits until it is done.
func (c *idleProcess) do(command string, n int) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, command, n); err != nil {
		c.t.Fatal(err)
	}
	if line, err := c.out.ReadString('\n'); err != nil || line != "done\n" {
		c.t.Fatalf("%s %d: %q, %v", command, n, line, err)
	}
}

// runIdleClients is the main function of the clients' process: it follows commands until
// there are no more.
func runIdleClients(address string) error {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			if c != nil {
				// With a reset, so that no port stays behind in TIME_WAIT.
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		}
	}()
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); fmt.Println("done") {
		command, number, _ := strings.Cut(commands.Text(), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		if command == "open" {
			conns, err = openIdle(address, n)
		} else {
			err = askSome(conns, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openIdle opens so many connections, a few at a time, and has one request answered on each.
func openIdle(address string, n int) ([]net.Conn, error) {
	const atOnce = 8
	var all sync.WaitGroup
	conns, errs := make([]net.Conn, n), make([]error, atOnce)
	for part := range atOnce {
		all.Go(func() {
			for i := part; i < n && errs[part] == nil; i += atOnce {
				if conns[i], errs[part] = net.DialTimeout("tcp", address, patience); errs[part] == nil {
					errs[part] = askOnce(conns[i], fmt.Sprint("/", i))
				}
			}
		})
	}
	all.Wait()
	return conns, errors.Join(errs...)
}

// askSome asks on so many of the connections, which lie evenly among them.
func askSome(conns []net.Conn, n int) error {
	for i := 0; i < len(conns); i += len(conns) / n {
		if err := askOnce(conns[i], fmt.Sprint("/again/", i)); err != nil {
			return fmt.Errorf("connection %d of %d: %w", i, len(conns), err)
		}
	}
	return nil
}

// askOnce sends a request on a connection and reads its answer, after which the connection
// has to go on.
func askOnce(conn net.Conn, path string) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer's body: %w", err)
	}
	if resp.StatusCode != 200 || resp.Close || string(body) != "to "+path {
		return fmt.Errorf("the answer to %s is %s, close: %v, %q", path, resp.Status, resp.Close, body)
	}
	return nil
}
