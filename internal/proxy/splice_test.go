package proxy

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// long is the byte at each place of a body that is too long to be kept: its period isn't
// that of any buffer.
func long(n int) []byte {
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(i % 251 * 7)
	}
	return body
}

// serveLong answers GET /n with a body of n bytes, in pieces of any size, and what else
// path says.
func serveLong(_ int64, c *fakeConn) {
	random := rand.New(rand.NewPCG(1, 2))
	for req, _ := c.request(); req != nil; req, _ = c.request() {
		n, _ := strconv.Atoi(req.URL.Path[1:])
		body := long(n)
		switch req.URL.RawQuery {
		case "short": // it breaks off
			body = body[:n-1]
		case "longer": // more than it has announced
			body = append(body, "HTTP/1.1 200 OK\r\n"...)
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
		for len(body) > 0 {
			k := min(len(body), 1+random.IntN(200<<10))
			c.Write(body[:k])
			body = body[k:]
			if random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(300)) * time.Microsecond)
			}
		}
		if req.URL.RawQuery == "short" {
			return
		}
	}
}

// Long bodies, which the kernel passes on, arrive to the byte, one behind the other on
// one connection, also at a client that takes them slowly.
func TestLongAnswers(t *testing.T) {
	onBoth(t, serveLong, func(t *testing.T, p *running) {
		conn, r := p.raw("")
		for i, n := range []int{spliceMin - 1, spliceMin, spliceMin + 1, pipeSize + bufferSize, 3<<20 + 1, 10, 1 << 20} {
			for _, query := range []string{"", "?longer", ""} {
				fmt.Fprintf(conn, "GET /%d%s HTTP/1.1\r\nHost: a\r\n\r\n", n, query)
				if i%2 == 1 {
					time.Sleep(20 * time.Millisecond) // until all between us is full
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if want := long(n); err != nil || !bytes.Equal(body, want) {
					t.Fatalf("%d bytes%s: got %d with the sum %x, want %x; %v", n, query, len(body), crc32.ChecksumIEEE(body), crc32.ChecksumIEEE(want), err)
				}
			}
		}
		if got := p.release("r1"); got.Answered[2] != 21 || got.Accepted != 21 {
			t.Errorf("counted %+v", got)
		}
	})
}

// What breaks off is broken for the client, too, and nothing of it stays in a pipe that
// somebody else gets.
func TestLongAnswersBreakOff(t *testing.T) {
	p := start(t, Config{Loops: 1, StallTimeout: 3 * time.Second}, web(rel("r1", 100, faked(t, serveLong).Upstream)))
	const n = 32 << 20 // more than the buffers of both sockets take
	whole := func() {
		t.Helper()
		if resp, body := p.do("GET", fmt.Sprint("/", 1<<20), ""); resp.StatusCode != 200 || body != string(long(1<<20)) {
			t.Errorf("%d, with the sum %x", resp.StatusCode, crc32.ChecksumIEEE([]byte(body)))
		}
	}
	for range 2 {
		// The upstream.
		if _, body, err := p.try("GET", fmt.Sprintf("/%d?short", n), ""); err == nil || len(body) != n-1 {
			t.Errorf("%d bytes, %v", len(body), err)
		}
		whole()
		// The client, with the pipe full, and one that takes nothing more.
		conn, r := p.raw(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", n))
		io.ReadFull(r, make([]byte, 1<<20))
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		whole()
		_, r = p.raw(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", n))
		io.ReadFull(r, make([]byte, 1<<20))
	}
	whole()
	eventually(t, "all are counted", func() bool { return p.release("r1").ClientGone == 4 })
	if got := p.release("r1"); got.Failed.Truncated != 2 || got.Answered[2] != 5 {
		t.Errorf("counted %+v", got)
	}
	if n := len(p.loops[0].pipes.free); n == 0 || n > maxPipes {
		t.Errorf("%d pipes are kept", n)
	}
}
