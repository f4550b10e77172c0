package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// pattern is n bytes of which none can be missing or at another place without showing.
func pattern(seed, n int) []byte {
	b := make([]byte, 0, n+8)
	for i := 0; i < n; i += 8 {
		b = binary.BigEndian.AppendUint64(b, uint64(seed)<<40|uint64(i)<<8|0x5a)
	}
	return b[:n]
}

// inChunks writes a body in chunks of a size, with a trailer.
func inChunks(body []byte, size int, trailer string) []byte {
	var b []byte
	for len(body) > 0 {
		n := min(size, len(body))
		b = fmt.Appendf(b, "%x\r\n", n)
		b = append(b, body[:n]...)
		b = append(b, '\r', '\n')
		body = body[n:]
	}
	return append(b, "0\r\n"+trailer+"\r\n"...)
}

// order is what a client asks for, as the target of its request: how the upstream
// is to answer.
type order struct {
	// framing is sized, chunked, close, or the status of an answer without a body.
	framing string
	// seed and size are those of the answer's body, chunk the size of its chunks.
	seed, size, chunk int
	// version of HTTP/1 and connection are what the upstream says.
	version, connection string
	// pieces is in how many the answer is written.
	pieces int
}

func (o order) target() string {
	return fmt.Sprintf("/?f=%s&s=%d&n=%d&c=%d&v=%s&h=%s&p=%d", o.framing, o.seed, o.size, o.chunk, o.version, o.connection, o.pieces)
}

// serveOrder answers as the target says, and tells in a field what the request was. It
// returns false when the connection ends.
func serveOrder(c *fakeConn, req *http.Request, got string) bool {
	q := req.URL.Query()
	number := func(name string) int { n, _ := strconv.Atoi(q.Get(name)); return n }
	version, framing := "HTTP/1.1", q.Get("f")
	if q.Get("v") != "" {
		version = "HTTP/" + q.Get("v")
	}
	body := pattern(number("s"), number("n"))
	b := fmt.Appendf(nil, "%s 200 OK\r\nX-Got: %s\r\n", version, got)
	if h := q.Get("h"); h != "" {
		b = fmt.Appendf(b, "Connection: %s\r\n", h)
	}
	switch framing {
	case "204", "304":
		b = bytes.Replace(b, []byte("200 OK"), []byte(framing+" Nothing"), 1)
		b = append(b, "\r\n"...)
		body = nil
	case "chunked":
		b = append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
		body = inChunks(body, max(number("c"), 1), "X-Sum: "+sum(body)+"\r\n")
	case "close":
		b = append(b, "\r\n"...)
	default:
		b = fmt.Appendf(b, "Content-Length: %d\r\n\r\n", len(body))
	}
	if req.Method != http.MethodHead {
		b = append(b, body...)
	}
	var err error
	for piece := range slices.Chunk(b, len(b)/max(number("p"), 1)+1) {
		if _, err = c.Write(piece); err != nil {
			break
		}
		runtime.Gosched()
	}
	kept := version == "HTTP/1.1" || q.Get("h") == "keep-alive"
	return err == nil && (framing != "close" || req.Method == http.MethodHead) && q.Get("h") != "close" && kept
}

// serveOrders serves a connection.
func serveOrders(_ int64, c *fakeConn) {
	for {
		req, body, err := c.asks()
		if err != nil || !serveOrder(c, req, message(req.Method, body)) {
			return
		}
	}
}

// asks reads a request, and asks for its body if the client waits for that.
func (c *fakeConn) asks() (*http.Request, string, error) {
	req, err := http.ReadRequest(c.r)
	if err != nil {
		return nil, "", err
	}
	if req.Header.Get("Expect") != "" {
		c.say("HTTP/1.1 100 Continue\r\n\r\n")
	}
	body, err := io.ReadAll(req.Body)
	return req, string(body), err
}

// message says what a request was.
func message(method, body string) string {
	return fmt.Sprintf("%s %d %s", method, len(body), sum([]byte(body)))
}

func sum(b []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(b)) }

// filled checks that an answer is the one that was ordered.
func filled(r *bufio.Reader, method string, o order, got string) (*http.Response, error) {
	resp, err := readAnswer(r, method)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	want := pattern(o.seed, o.size)
	if method == http.MethodHead || o.framing == "204" || o.framing == "304" {
		want = nil
	}
	switch {
	case err != nil:
		return resp, fmt.Errorf("after %d of %d bytes: %w", len(body), len(want), err)
	case resp.Header.Get("X-Got") != got:
		return resp, fmt.Errorf("the answer is %d %v %.200q, and the upstream got %q, want %q", resp.StatusCode, resp.Header, body, resp.Header.Get("X-Got"), got)
	case !bytes.Equal(body, want):
		return resp, fmt.Errorf("the body has %d bytes with the sum %s, want %d with %s", len(body), sum(body), len(want), sum(want))
	}
	return resp, nil
}

// fakedOn is faked on TCP or on a unix socket.
func fakedOn(t *testing.T, network string, serve func(n int64, c *fakeConn)) Upstream {
	t.Helper()
	if network == "tcp" {
		return faked(t, serve).Upstream
	}
	u, l := unixUpstream(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for n := int64(1); ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			all.Go(func() {
				defer conn.Close()
				serve(n, &fakeConn{Conn: conn, r: bufio.NewReader(conn)})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return u
}

// onBoth runs a test with an upstream on TCP and one on a unix socket.
func onBoth(t *testing.T, serve func(n int64, c *fakeConn), test func(t *testing.T, p *running)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			test(t, start(t, Config{}, web(rel("r1", 100, fakedOn(t, network, serve)))))
		})
	}
}

// asked is a request as a client writes it, and what is to come of it.
type asked struct {
	method string
	order  order
	body   []byte
	bytes  []byte
}

// ask makes a request whose body is framed by fields.
func ask(method string, o order, body []byte, fields string, framed []byte) asked {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: web\r\n%s\r\n", method, o.target(), fields)
	return asked{method, o, body, append([]byte(head), framed...)}
}

func askSized(method string, o order, body []byte) asked {
	return ask(method, o, body, fmt.Sprintf("Content-Length: %d\r\n", len(body)), body)
}

func askChunked(method string, o order, body []byte, chunk int, trailer string) asked {
	return ask(method, o, body, "Transfer-Encoding: chunked\r\n", inChunks(body, chunk, trailer))
}

// pipeline is ten requests of all kinds.
func pipeline() []asked {
	empty := ask("GET", order{framing: "sized", seed: 5, size: 10}, nil, "", nil)
	empty.bytes = append([]byte("\r\n"), empty.bytes...)
	return []asked{
		ask("GET", order{framing: "sized", seed: 1, size: 20}, nil, "", nil),
		askSized("POST", order{framing: "chunked", seed: 2, size: 30, chunk: 7}, pattern(20, 25)),
		askChunked("PUT", order{framing: "close", seed: 3, size: 40}, pattern(30, 20), 6, ""),
		ask("HEAD", order{framing: "sized", seed: 4, size: 50}, nil, "", nil),
		empty,
		askChunked("POST", order{framing: "204", seed: 6}, pattern(60, 9), 4, "X-Sum: 1\r\nX-More: 2\r\n"),
		ask("DELETE", order{framing: "304", seed: 7}, nil, "", nil),
		askSized("POST", order{framing: "sized", seed: 8, version: "1.0"}, nil),
		ask("OPTIONS", order{framing: "chunked", seed: 9, size: 11, chunk: 100, connection: "close"}, nil, "", nil),
		askChunked("PATCH", order{framing: "sized", seed: 10, size: 1, version: "1.0", connection: "keep-alive"}, nil, 1, ""),
	}
}

func bytesOf(all []asked) (b []byte) {
	for _, a := range all {
		b = append(b, a.bytes...)
	}
	return b
}

// expect reads the answers to requests in their order.
func expect(t *testing.T, r *bufio.Reader, all []asked) {
	t.Helper()
	for i, a := range all {
		if _, err := filled(r, a.method, a.order, message(a.method, string(a.body))); err != nil {
			t.Fatalf("answer %d, to %s %s: %v", i+1, a.method, a.order.target(), err)
		}
	}
}

func TestPipelining(t *testing.T) {
	all := pipeline()
	b := bytesOf(all)
	onBoth(t, serveOrders, func(t *testing.T, p *running) {
		t.Run("in one write", func(t *testing.T) {
			_, r := p.raw(string(b))
			expect(t, r, all)
		})
		t.Run("byte by byte", func(t *testing.T) {
			conn, r := p.raw("")
			for i := range b {
				conn.Write(b[i : i+1])
				p.taken()
			}
			expect(t, r, all)
		})
		t.Run("cut anywhere", func(t *testing.T) {
			conn, r := p.raw("")
			for cut := range b {
				conn.Write(b[:cut])
				p.taken()
				conn.Write(b[cut:])
				expect(t, r, all)
			}
		})
		t.Run("without reading", func(t *testing.T) {
			conn, r := p.raw("")
			const times = 300
			written := make(chan error, 1)
			go func() {
				_, err := conn.Write(bytes.Repeat(b, times))
				written <- err
			}()
			for range times {
				expect(t, r, all)
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	})
}

// TestPipeliningWaitsForTheFirst: the second request goes out when the first one has its
// answer.
func TestPipeliningWaitsForTheFirst(t *testing.T) {
	first, second := make(chan struct{}), make(chan struct{})
	go1 := make(chan struct{})
	up := faked(t, func(_ int64, c *fakeConn) {
		for req, _ := c.request(); req != nil; req, _ = c.request() {
			if req.URL.Path == "/1" {
				close(first)
				<-go1
			} else {
				close(second)
			}
			c.say(ok("to " + req.URL.Path))
		}
	})
	p := start(t, Config{}, web(rel("r1", 100, up.Upstream)))
	_, r := p.raw("GET /1 HTTP/1.1\r\nHost: web\r\n\r\nPOST /2 HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello")
	await(t, "the first request arrives", first)
	select {
	case <-second:
		t.Error("the second request is there before the first is answered")
	default:
	}
	close(go1)
	for _, want := range []string{"200 to /1", "200 to /2"} {
		if got := gotten(r, "GET"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestCutAnswers cuts what the upstream sends at each byte.
func TestCutAnswers(t *testing.T) {
	for _, c := range []struct {
		name, method, answer string
		closes               bool
		// want is the status, body and trailer.
		want string
	}{
		{"a length", "GET", "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello", false, "200 hello map[]"},
		{"a length of none", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "200  map[]"},
		{"chunks with extensions and a trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"3;a=\"b\"\r\nhel\r\n2 ; c\r\nlo\r\n00;d\r\nX-Sum: 1\r\nContent-Length: 7\r\nX-More: 2\r\n\r\n", false, "200 hello map[X-More:[2] X-Sum:[1]]"},
		{"no chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "200  map[]"},
		{"until the end", "GET", "HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello", true, "200 hello map[]"},
		{"until the end at once", "GET", "HTTP/1.1 200 OK\r\n\r\n", true, "200  map[]"},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, "200 hello map[]"},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, "200  map[]"},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, "204  map[]"},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, "304  map[]"},
		{"information", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "200 hello map[]"},
		{"a fold", "GET", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\td\r\nContent-Length: 5\r\n\r\nhello", false, "200 hello map[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p *running
			up := faked(t, func(_ int64, conn *fakeConn) {
				for req, _ := conn.request(); req != nil; req, _ = conn.request() {
					cut, _ := strconv.Atoi(req.URL.Path[1:])
					conn.say(c.answer[:cut])
					p.taken()
					conn.say(c.answer[cut:])
					if c.closes {
						return
					}
				}
			})
			p = start(t, Config{}, web(rel("r1", 100, up.Upstream)))
			conn, r := p.raw("")
			for cut := range len(c.answer) + 1 {
				fmt.Fprintf(conn, "%s /%d HTTP/1.1\r\nHost: web\r\n\r\n", c.method, cut)
				resp, err := readAnswer(r, c.method)
				if err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				body, err := io.ReadAll(resp.Body)
				trailer := resp.Trailer
				if trailer == nil {
					trailer = http.Header{}
				}
				if got := fmt.Sprintf("%d %s %v", resp.StatusCode, body, trailer); got != c.want || err != nil {
					t.Errorf("cut at %d: %s, want %s (%v)", cut, got, c.want, err)
				}
			}
		})
	}
}

// TestVersionsAndConnections: whatever client and upstream speak, the answer is whole,
// and the client's connection goes on when both it and the framing allow.
func TestVersionsAndConnections(t *testing.T) {
	const size = 1000
	onBoth(t, serveOrders, func(t *testing.T, p *running) {
		for _, client := range []struct {
			version, fields string
			persists        bool
		}{
			{"1.0", "", false},
			{"1.0", "Connection: close\r\n", false},
			{"1.0", "Connection: keep-alive\r\n", true},
			{"1.0", "Connection: Keep-Alive, x\r\n", true},
			{"1.0", "Connection: keep-alive, close\r\n", false},
			{"1.1", "", true},
			{"1.1", "Connection: keep-alive\r\n", true},
			{"1.1", "Connection: close\r\n", false},
			{"1.1", "Connection: x\r\nConnection: Close\r\n", false},
		} {
			for _, o := range []order{
				{framing: "sized"}, {framing: "chunked", chunk: 100}, {framing: "close"}, {framing: "204"}, {framing: "304"},
				{framing: "sized", connection: "close"}, {framing: "chunked", chunk: 1000, connection: "close"}, {framing: "204", connection: "close"},
				{framing: "sized", version: "1.0"}, {framing: "sized", version: "1.0", connection: "keep-alive"}, {framing: "close", version: "1.0"},
			} {
				for _, method := range []string{"GET", "HEAD"} {
					o.seed, o.size = 1, size
					name := fmt.Sprintf("%s HTTP/%s %q: %s", method, client.version, client.fields, o.target())
					request := fmt.Sprintf("%s %s HTTP/%s\r\nHost: web\r\n%s\r\n", method, o.target(), client.version, client.fields)
					conn, r := p.raw(request)
					hasBody := method == "GET" && o.framing != "204" && o.framing != "304"
					persists := client.persists && (client.version == "1.1" || !hasBody || o.framing == "sized")
					resp, err := filled(r, method, o, message(method, ""))
					if err != nil {
						t.Errorf("%s: %v", name, err)
						continue
					}
					if resp.Close == persists {
						t.Errorf("%s: the connection goes on is %v, want %v", name, !resp.Close, persists)
					}
					if said := resp.Header.Get("Connection"); client.version == "1.0" && persists && said != "keep-alive" {
						t.Errorf("%s: the answer says %q of its connection", name, said)
					}
					if client.version == "1.0" && len(resp.TransferEncoding) > 0 {
						t.Errorf("%s: a client of HTTP/1.0 gets a transfer coding", name)
					}
					if o.framing == "sized" && resp.ContentLength != size {
						t.Errorf("%s: the length is %d", name, resp.ContentLength)
					}
					if !persists {
						if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
							t.Errorf("%s: %q comes after the answer, and %v", name, rest, err)
						}
						conn.Close()
						continue
					}
					io.WriteString(conn, request)
					if _, err := filled(r, method, o, message(method, "")); err != nil {
						t.Errorf("%s: the second one: %v", name, err)
					}
					conn.Close()
				}
			}
		}
	})
}

// sizesAround are around those of the buffers, as far as a head in front of them moves that.
func sizesAround() []int {
	all := []int{0, 1, 100000, 1 << 20}
	for _, n := range []int{smallSize, bufferSize - pieceSize, bufferSize - headRoom, pieceSize, bufferSize, 2 * pieceSize, 2 * bufferSize} {
		for d := -2; d <= 2; d++ {
			all = append(all, n+d)
		}
	}
	return all
}

func TestSizesOfAnswers(t *testing.T) {
	onBoth(t, serveOrders, func(t *testing.T, p *running) {
		conn, r := p.raw("")
		for _, framing := range []string{"sized", "chunked", "close"} {
			for _, size := range sizesAround() {
				for _, chunk := range []int{1 << 30, 1000, 1} {
					if chunk < 1<<30 && (framing != "chunked" || size > 20*chunk*1000) {
						continue
					}
					a := ask("GET", order{framing: framing, seed: size, size: size, chunk: chunk}, nil, "", nil)
					// The answer's head has to fit in, too.
					for _, less := range []int{0, len("HTTP/1.1 200 OK\r\nX-Got: "+message("GET", "")+"\r\nTransfer-Encoding: chunked\r\n\r\n") + 8} {
						a.order.size = max(size-less, 0)
						a = ask("GET", a.order, nil, "", nil)
						conn.Write(a.bytes)
						if _, err := filled(r, "GET", a.order, message("GET", "")); err != nil {
							t.Fatalf("%s, %d bytes, chunks of %d: %v", framing, a.order.size, chunk, err)
						}
					}
				}
			}
		}
	})
}

func TestSizesOfUploads(t *testing.T) {
	onBoth(t, serveOrders, func(t *testing.T, p *running) {
		conn, r := p.raw("")
		for _, size := range sizesAround() {
			for _, less := range []int{0, 250, 300} { // about as long as the head is for the upstream
				body := pattern(size, max(size-less, 0))
				all := []asked{
					askSized("POST", order{framing: "sized", seed: 1, size: 10}, body),
					askChunked("POST", order{framing: "sized", seed: 2, size: 10}, body, 1<<30, ""),
					askChunked("PUT", order{framing: "sized", seed: 3, size: 10}, body, 1000, "X-Sum: "+sum(body)+"\r\n"),
				}
				b := bytesOf(all)
				go conn.Write(b)
				expect(t, r, all)
			}
		}
	})
}

// TestBigHeads has heads that just fit, with what follows right behind.
func TestBigHeads(t *testing.T) {
	t.Run("requests", func(t *testing.T) {
		p := start(t, Config{}, web(rel("r1", 100, faked(t, serveOrders).Upstream)))
		conn, r := p.raw("")
		for _, size := range []int{smallSize - 1, smallSize, smallSize + 1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 48 << 10, 64<<10 - 1, 64 << 10} {
			body := pattern(size, 100)
			small := askSized("POST", order{framing: "sized", seed: 1, size: 10}, body)
			big := ask("POST", small.order, body, fmt.Sprintf("Content-Length: 100\r\nX: %s\r\n", strings.Repeat("x", size-(len(small.bytes)-100)-len("X: \r\n"))), body)
			if got := len(big.bytes) - 100; got != size {
				t.Fatalf("the head has %d bytes, want %d", got, size)
			}
			all := []asked{small, big, big, small}
			conn.Write(bytesOf(all))
			expect(t, r, all)
		}
	})
	t.Run("answers", func(t *testing.T) {
		up := faked(t, func(_ int64, c *fakeConn) {
			for req, _ := c.request(); req != nil; req, _ = c.request() {
				size, _ := strconv.Atoi(req.URL.Path[1:])
				head := "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX: "
				if req.URL.RawQuery != "" {
					c.say("HTTP/1.1 103 Early Hints\r\nX: " + strings.Repeat("x", size-len("HTTP/1.1 103 Early Hints\r\nX: \r\n\r\n")) + "\r\n\r\n")
				}
				c.say(head + strings.Repeat("x", size-len(head)-4) + "\r\n\r\n" + string(pattern(size, 100)))
			}
		})
		p := start(t, Config{}, web(rel("r1", 100, up.Upstream)))
		conn, _ := p.raw("")
		r := bufio.NewReaderSize(conn, 2<<20)
		for i := range 2 * 4 * 6 {
			n := []int{pieceSize, bufferSize, 2 * bufferSize, 1 << 20}[i/6%4]
			size := n + []int{-101, -100, -99, -1, 0, 1}[i%6]
			// Half of them come behind an informational one of the same size.
			fmt.Fprintf(conn, "GET /%d%s HTTP/1.1\r\nHost: web\r\n\r\n", size, []string{"", "?103"}[i/24])
			resp, err := readAnswer(r, "GET")
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			body, err := io.ReadAll(resp.Body)
			if size > 1<<20 {
				if resp.StatusCode != 502 {
					t.Errorf("%d bytes: status %d", size, resp.StatusCode)
				}
				continue
			}
			if err != nil || resp.StatusCode != 200 || !bytes.Equal(body, pattern(size, 100)) {
				t.Errorf("%d bytes: %d, a body of %d bytes, %v", size, resp.StatusCode, len(body), err)
			}
		}
	})
}

// TestAnswerDuringUpload: an answer may begin before the request has ended, and the rest
// of the request goes on.
func TestAnswerDuringUpload(t *testing.T) {
	for _, framing := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			onBoth(t, func(_ int64, c *fakeConn) {
				req := c.head()
				half := make([]byte, 5)
				io.ReadFull(req.Body, half)
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
				c.Write(half)
				rest, _ := io.ReadAll(req.Body)
				c.Write(rest)
			}, func(t *testing.T, p *running) {
				pieces := []string{"hello", "world"}
				if strings.Contains(framing, "chunked") {
					pieces = []string{"5\r\nhello\r\n5\r\nwo", "rld\r\n0\r\n\r\n"}
				}
				conn, r := p.raw("POST / HTTP/1.1\r\nHost: web\r\n" + framing + "\r\n\r\n" + pieces[0])
				resp, err := readAnswer(r, "POST")
				if err != nil {
					t.Fatal(err)
				}
				if !resp.Close {
					t.Error("the connection goes on after an answer that came too early")
				}
				io.WriteString(conn, pieces[1])
				if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "helloworld" {
					t.Errorf("%q, %v", body, err)
				}
				if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("the connection ends with %v", err)
				}
			})
		})
	}
}

// TestExpectations: a client that waits to be asked for its body is asked once, or not.
func TestExpectations(t *testing.T) {
	for _, c := range []struct {
		name string
		// before is what the upstream says before it reads the body.
		before string
		// final is set when that has the final answer.
		final bool
		// statuses are what the client gets.
		statuses []int
	}{
		{"the upstream asks", "HTTP/1.1 100 Continue\r\n\r\n", false, []int{100, 200}},
		{"it asks twice", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", false, []int{100, 200}},
		{"it informs and asks", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", false, []int{103, 100, 200}},
		{"it asks with fields", "HTTP/1.1 100 Go on\r\nX: y\r\nContent-Length: 5\r\n\r\n", false, []int{100, 200}},
		{"it answers", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", true, []int{403}},
		{"it answers with what would be success", ok("ok"), true, []int{200}},
		{"it informs and answers", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", true, []int{103, 403}},
		{"it says nothing", "", false, []int{100, 200}},
		{"it only informs", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", false, []int{103, 100, 200}},
	} {
		for _, framing := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
			t.Run(c.name+", "+framing, func(t *testing.T) {
				up := faked(t, func(_ int64, conn *fakeConn) {
					for {
						req := conn.head()
						if req == nil {
							return
						}
						if req.Header.Get("Expect") == "" {
							conn.say(ok("marker"))
							continue
						}
						conn.say(c.before)
						body, err := io.ReadAll(req.Body)
						if c.final {
							if err == nil {
								t.Errorf("the upstream gets the body %q", body)
							}
							return
						}
						conn.say(ok(string(body)))
					}
				})
				p := start(t, Config{}, web(rel("r1", 100, up.Upstream)))
				conn, r := p.raw("POST / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\n" + framing + "\r\n\r\n")
				var got []int
				for len(got) == 0 || got[len(got)-1] < 200 {
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						t.Fatalf("%v after %v", err, got)
					}
					got = append(got, resp.StatusCode)
					body, _ := io.ReadAll(resp.Body)
					switch {
					case resp.StatusCode == 100 && strings.Contains(framing, "chunked"):
						io.WriteString(conn, helloChunk)
					case resp.StatusCode == 100:
						io.WriteString(conn, "hello")
					case resp.StatusCode >= 200 && !c.final && string(body) != "hello":
						t.Errorf("the upstream gets the body %q", body)
					case resp.StatusCode >= 200 && resp.Close != c.final:
						t.Errorf("the connection closes: %v", resp.Close)
					}
				}
				if !slices.Equal(got, c.statuses) {
					t.Errorf("the client gets %v, want %v", got, c.statuses)
				}
				// What a client sends that wasn't asked is neither a request nor a reason
				// to lose the answer.
				io.WriteString(conn, marker)
				if got, want := gotten(r, "GET"), map[bool]string{false: "200 marker", true: "cut"}[c.final]; got != want {
					t.Errorf("after that the client gets %q, want %q", got, want)
				}
			})
		}
	}
}

// TestHalfClosedClients: a client that has ended its direction still gets its answers.
func TestHalfClosedClients(t *testing.T) {
	half := func(conn net.Conn) { conn.(*net.TCPConn).CloseWrite() }
	t.Run("of a pipeline", func(t *testing.T) {
		p := start(t, Config{}, web(rel("r1", 100, faked(t, serveOrders).Upstream)))
		all := slices.Repeat(pipeline(), 20)
		conn, r := p.raw("")
		conn.Write(bytesOf(all))
		half(conn)
		expect(t, r, all)
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the connection ends with %v", err)
		}
	})
	t.Run("of an answer that takes its time", func(t *testing.T) {
		looked := make(chan struct{})
		goOn := sync.OnceFunc(func() { close(looked) })
		defer goOn()
		up := faked(t, func(_ int64, c *fakeConn) {
			c.request()
			// For a second the proxy mustn't give up.
			c.SetReadDeadline(time.Now().Add(time.Second))
			var timeout net.Error
			if _, err := c.r.ReadByte(); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("the proxy gave up: %v", err)
			}
			<-looked
			c.say(ok("at last"))
		})
		p := start(t, Config{}, web(rel("r1", 100, up.Upstream)))
		conn, r := p.raw("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello")
		half(conn)
		// It may as well have gone, and isn't waited for as long as one that hasn't.
		eventually(t, "it is waited for no longer than a while", func() (is bool) {
			for _, l := range p.loops {
				l.do(func() {
					for _, c := range l.clients() {
						left := l.timers.left(&c.timer, l.now)
						is = is || c.ended && 0 < left && left <= halfClosedGrace
					}
				})
			}
			return is
		})
		goOn()
		if got := gotten(r, "POST"); got != "200 at last" {
			t.Errorf("%q", got)
		}
	})
	t.Run("of a long answer", func(t *testing.T) {
		p := start(t, Config{}, web(rel("r1", 100, faked(t, serveOrders).Upstream)))
		a := ask("GET", order{framing: "chunked", seed: 1, size: 5 << 20, chunk: 10000}, nil, "", nil)
		conn, r := p.raw(string(a.bytes))
		half(conn)
		expect(t, r, []asked{a})
	})
	t.Run("of a request that isn't whole", func(t *testing.T) {
		arrived, broken := make(chan struct{}), make(chan error, 1)
		up := faked(t, func(_ int64, c *fakeConn) {
			req := c.head()
			close(arrived)
			_, err := io.ReadAll(req.Body)
			broken <- err
		})
		p := start(t, Config{}, web(rel("r1", 100, up.Upstream)))
		conn, r := p.raw("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhell")
		await(t, "the request arrives", arrived)
		half(conn)
		if err := await(t, "the upstream sees it", broken); err == nil {
			t.Error("the upstream takes the request for whole")
		}
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("the client gets %q", rest)
		}
		if got := p.release("r1"); got.ClientGone != 1 {
			t.Errorf("counted %+v", got)
		}
	})
}

// TestClientsThatGoOnSending: what a client sends behind its last request is no reason to
// lose the answer to it.
func TestClientsThatGoOnSending(t *testing.T) {
	p := start(t, Config{}, web(rel("r1", 100, faked(t, serveOrders).Upstream)))
	for _, c := range []struct {
		name   string
		asked  asked
		status int
	}{
		{"Connection: close", ask("GET", order{framing: "sized", seed: 1, size: 3 << 20}, nil, "Connection: close\r\n", nil), 200},
		{"malformed", asked{method: "GET", bytes: []byte("GET / HTTP/1.1\r\n\r\n")}, 400},
		{"a malformed body", asked{method: "POST", bytes: []byte(chunked("x"))}, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, r := p.raw(string(c.asked.bytes))
			written := make(chan struct{})
			go func() {
				defer close(written)
				io.CopyN(conn, zeros{}, 20<<20)
				conn.(*net.TCPConn).CloseWrite()
			}()
			resp, err := readAnswer(r, c.asked.method)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || (c.status == 200 && len(body) != 3<<20) {
				t.Errorf("%d with %d bytes, %v", resp.StatusCode, len(body), err)
			}
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				t.Errorf("the connection ends with %q and %v", rest, err)
			}
			<-written
		})
	}
}

// TestClientsThatLeave has clients go at each byte of a request, and in the middle of
// its answer. The upstream sees the request whole, or that it isn't.
func TestClientsThatLeave(t *testing.T) {
	const target = "/leave"
	body := "5\r\nhello\r\n6;x\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
	request := "POST " + target + " HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n" + body
	up := faked(t, func(_ int64, c *fakeConn) {
		for {
			req := c.head()
			if req == nil {
				return
			}
			got, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			if string(got) != "hello world" && req.URL.Path == target {
				t.Errorf("the upstream takes %q for a whole body", got)
			}
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
			c.Write(pattern(1, 200000))
		}
	})
	p := start(t, Config{}, web(rel("r1", 100, up.Upstream)))
	leave := map[string]func(*net.TCPConn){
		"closing":   func(c *net.TCPConn) { c.Close() },
		"resetting": func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"half":      func(c *net.TCPConn) { c.CloseWrite() },
	}
	for _, leave := range leave {
		for cut := range len(request) + 1 {
			conn, _ := p.raw(request[:cut])
			if cut%2 == 0 {
				p.taken()
			}
			leave(conn.(*net.TCPConn))
		}
		for _, n := range []int{1, 100, 1000, 70000, 199000} {
			conn, r := p.raw(request)
			io.CopyN(io.Discard, r, int64(n))
			leave(conn.(*net.TCPConn))
		}
	}
	_, r := p.raw("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
	if resp, err := readAnswer(r, "GET"); err != nil || resp.StatusCode != 200 {
		t.Errorf("the next client gets %v, %v", resp, err)
	}
}

// TestSlowReaders: who takes little at a time gets all.
func TestSlowReaders(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		for _, framing := range []string{"sized", "chunked", "close"} {
			onBoth(t, serveOrders, func(t *testing.T, p *running) {
				a := ask("GET", order{framing: framing, seed: 1, size: 10 << 20, chunk: 100000}, nil, "", nil)
				conn, _ := p.raw("")
				conn.Write(a.bytes)
				r := bufio.NewReaderSize(&slowly{conn, p}, 4<<10)
				expect(t, r, []asked{a})
			})
		}
	})
	t.Run("upstream", func(t *testing.T) {
		for _, name := range []string{"sized", "chunked"} {
			var current atomic.Pointer[running]
			onBoth(t, func(_ int64, c *fakeConn) {
				c.r = bufio.NewReaderSize(&slowly{c.Conn, current.Load()}, 4<<10)
				serveOrders(0, c)
			}, func(t *testing.T, p *running) {
				current.Store(p)
				body := pattern(2, 3<<20)
				o := order{framing: "sized", seed: 3, size: 100}
				a := askSized("POST", o, body)
				if name == "chunked" {
					a = askChunked("POST", o, body, 50000, "X-Sum: 1\r\n")
				}
				conn, r := p.raw("")
				go conn.Write(append(a.bytes, a.bytes...))
				expect(t, r, []asked{a, a})
			})
		}
	})
}

// slowly reads as much at a time as was asked for, after the proxy has had a turn.
type slowly struct {
	net.Conn
	p *running
}

func (s *slowly) Read(b []byte) (int, error) {
	s.p.unread()
	return s.Conn.Read(b)
}

// TestUpgradedTraffic sends much both ways over an upgraded connection, and the first of
// it right behind the heads.
func TestUpgradedTraffic(t *testing.T) {
	const size = 5 << 20
	fromClient, fromUpstream := pattern(1, size), pattern(2, size)
	for _, early := range []int{0, 1, 1000, 16 << 10, 60000} {
		t.Run(fmt.Sprintf("%d bytes behind the heads", early), func(t *testing.T) {
			done := make(chan struct{}, 1)
			onBoth(t, func(_ int64, c *fakeConn) {
				req := c.head()
				if req == nil {
					return
				}
				if req.Header.Get("Upgrade") != "echo" {
					c.say(ok("no upgrade"))
					return
				}
				c.Write(append([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"), fromUpstream[:early]...))
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					c.Write(fromUpstream[early:])
					c.Conn.(interface{ CloseWrite() error }).CloseWrite()
				}()
				if got, err := io.ReadAll(c.r); err != nil || !bytes.Equal(got, fromClient) {
					t.Errorf("the upstream gets %d bytes with the sum %s, %v", len(got), sum(got), err)
				}
				<-sent
				done <- struct{}{}
			}, func(t *testing.T, p *running) {
				conn, r := p.raw("GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + string(fromClient[:early]))
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" {
					t.Fatalf("%v, %v", resp, err)
				}
				go func() {
					conn.Write(fromClient[early:])
					conn.(*net.TCPConn).CloseWrite()
				}()
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, fromUpstream) {
					t.Errorf("the client gets %d bytes with the sum %s, %v", len(got), sum(got), err)
				}
				await(t, "the upstream has got all", done)
			})
		})
	}
}

// TestHalfReadPost: an upstream that has read a part of a POST and resets its connection
// may have acted on it, however the proxy comes to know: here a write meets the reset
// before a read does.
func TestHalfReadPost(t *testing.T) {
	var seen atomic.Int64
	read, goOn, reset := make(chan struct{}), make(chan struct{}), make(chan struct{})
	up := faked(t, func(_ int64, c *fakeConn) {
		for req := c.head(); req != nil; req = c.head() {
			if req.Method == http.MethodPost {
				if seen.Add(1) == 1 {
					io.ReadFull(req.Body, make([]byte, 5))
					close(read)
					<-goOn
					c.reset()
					close(reset)
					return
				}
				io.Copy(io.Discard, req.Body)
			}
			c.say(ok("fine"))
		}
	})
	p := start(t, Config{Loops: 1}, web(rel("r1", 100, up.Upstream)))
	conn, r := p.raw("")
	for range 30 { // until the kernel takes its time to acknowledge what comes
		io.WriteString(conn, marker)
		if got := gotten(r, "GET"); got != "200 fine" {
			t.Fatal(got)
		}
	}
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\nhello")
	await(t, "the upstream has read a half", read)
	p.loops[0].mu.Lock() // so that the other half is sent before the reset is seen
	io.WriteString(conn, "world")
	close(goOn)
	<-reset
	p.loops[0].mu.Unlock()
	if got := gotten(r, "POST"); !strings.HasPrefix(got, "502 ") || seen.Load() != 1 {
		t.Errorf("the client gets %q, and the upstream has seen the request %d times", got, seen.Load())
	}
}

// drawSize draws a size near those at which something changes.
func drawSize(t *rapid.T, what string) int {
	near := rapid.SampledFrom([]int{0, 0, 10, 1000, smallSize, pieceSize, bufferSize, 2 * bufferSize, 300000}).Draw(t, what)
	return max(near+rapid.IntRange(-1100, 1100).Draw(t, "difference"), 0)
}

// drawAsked draws a request, and reports whether another may follow it.
func drawAsked(t *rapid.T, seed int) (a asked, persists bool) {
	oneOf := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(t, what) }
	chunk := func(size int, what string) int {
		return max(rapid.SampledFrom([]int{1, 7, 1000, pieceSize, 1 << 30}).Draw(t, what), size/2000)
	}
	a.method = oneOf("method", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
	o := order{
		framing: oneOf("answer", "sized", "sized", "chunked", "close", "204", "304"), seed: seed, size: drawSize(t, "size of the answer"),
		version: oneOf("version of the upstream", "", "", "1.0"), connection: oneOf("connection of the upstream", "", "", "close", "keep-alive"),
		pieces: rapid.IntRange(1, 5).Draw(t, "pieces"),
	}
	if o.framing == "chunked" {
		o.version = ""
	}
	o.chunk = chunk(o.size, "chunks of the answer")
	a.order = o
	version := oneOf("version", "1.1", "1.1", "1.1", "1.0")
	connection := oneOf("connection", "", "", "", "keep-alive", "keep-alive", "close")
	framing := oneOf("body", "", "", "sized", "chunked")
	if version == "1.0" && framing == "chunked" {
		framing = "sized"
	}
	fields, framed := "", []byte(nil)
	switch framing {
	case "sized":
		a.body = pattern(seed, drawSize(t, "size of the body"))
		fields, framed = fmt.Sprintf("Content-Length: %d\r\n", len(a.body)), a.body
	case "chunked":
		a.body = pattern(seed, drawSize(t, "size of the body"))
		fields, framed = "Transfer-Encoding: chunked\r\n", inChunks(a.body, chunk(len(a.body), "chunks of the body"), oneOf("trailer", "", "X-Sum: 1\r\n"))
	}
	if connection != "" {
		fields += "Connection: " + connection + "\r\n"
	}
	if framing != "" && rapid.IntRange(0, 3).Draw(t, "expects") == 0 {
		fields += "Expect: 100-continue\r\n"
	}
	fields += strings.Repeat("X: y\r\n", rapid.SampledFrom([]int{0, 0, 0, 10, 1000, 10000}).Draw(t, "fields"))
	a.bytes = fmt.Appendf(nil, "%s%s %s HTTP/%s\r\nHost: web\r\n%s\r\n", oneOf("before", "", "", "\r\n", "\r\n\r\n"), a.method, o.target(), version, fields)
	a.bytes = append(a.bytes, framed...)
	hasBody := a.method != http.MethodHead && o.framing != "204" && o.framing != "304"
	persists = version == "1.1" && connection != "close" || version == "1.0" && connection == "keep-alive" && (!hasBody || o.framing == "sized")
	return a, persists
}

// TestAnyPipeline: whatever requests come behind each other, however cut, each goes to
// the upstream once and gets its own answer, up to the one that ends the connection.
func TestAnyPipeline(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	onBoth(t, func(_ int64, c *fakeConn) {
		for {
			req, body, err := c.asks()
			if err != nil {
				return
			}
			mu.Lock()
			seen[req.URL.Query().Get("s")]++
			mu.Unlock()
			if !serveOrder(c, req, message(req.Method, body)) {
				return
			}
		}
	}, func(t *testing.T, p *running) {
		seed := 0
		rapid.Check(t, func(rt *rapid.T) {
			var all, answered []asked
			persists := true
			for range rapid.IntRange(1, 6).Draw(rt, "requests") {
				seed++
				a, more := drawAsked(rt, seed)
				all = append(all, a)
				if persists {
					answered = append(answered, a)
				}
				persists = persists && more
			}
			b := bytesOf(all)
			cuts := rapid.SliceOfN(rapid.IntRange(0, len(b)), 0, 5).Draw(rt, "cuts")
			slices.Sort(cuts)
			mu.Lock()
			clear(seen)
			mu.Unlock()
			conn, r := p.raw("")
			defer conn.Close()
			written := make(chan struct{})
			go func() {
				defer close(written)
				from := 0
				for _, cut := range append(cuts, len(b)) {
					conn.Write(b[from:cut])
					p.taken()
					from = cut
				}
				conn.(*net.TCPConn).CloseWrite()
			}()
			for i, a := range answered {
				if _, err := filled(r, a.method, a.order, message(a.method, string(a.body))); err != nil {
					rt.Fatalf("answer %d, to %s %s: %v", i+1, a.method, a.order.target(), err)
				}
			}
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				rt.Fatalf("%q comes after the last answer, and %v", rest, err)
			}
			<-written
			mu.Lock()
			defer mu.Unlock()
			for _, a := range answered {
				if n := seen[strconv.Itoa(a.order.seed)]; n != 1 {
					rt.Fatalf("the upstream has seen %s %s %d times", a.method, a.order.target(), n)
				}
			}
			if len(seen) != len(answered) {
				rt.Fatalf("the upstream has seen %v", seen)
			}
		})
	})
}

// postings is an upstream that closes its connections at bad moments, and keeps account
// of the POSTs that it has seen.
type postings struct {
	mu sync.Mutex
	// begun counts the requests of which the head was read, done those that were read
	// whole.
	begun, done map[string]int
}

func (u *postings) count(of map[string]int, id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of[id]++
}

func (u *postings) serve(_ int64, c *fakeConn) {
	breakOff := func() {
		if _, is := c.Conn.(*net.TCPConn); is {
			c.reset()
		}
	}
	pause := func() {
		for range rand.IntN(200) {
			runtime.Gosched()
		}
	}
	for {
		req := c.head()
		if req == nil {
			return
		}
		id := req.URL.Path
		u.count(u.begun, id)
		what := rand.IntN(20)
		if what == 0 {
			breakOff()
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		u.count(u.done, id)
		switch what {
		case 1:
			return
		case 2:
			breakOff()
			return
		}
		c.say(ok(id))
		switch what {
		case 3:
			return
		case 4, 5, 6:
			pause()
			return
		case 7, 8:
			pause()
			breakOff()
			return
		case 9, 10:
			pause()
			if half, is := c.Conn.(interface{ CloseWrite() error }); is {
				half.CloseWrite()
			}
			pause()
			return
		}
	}
}

// TestNoPostTwice: an upstream closes its connections in any way while the next POST may
// be on its way. None is seen twice, and who is told that one was answered is right.
func TestNoPostTwice(t *testing.T) {
	const clients, posts = 4, 500
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			u := &postings{begun: map[string]int{}, done: map[string]int{}}
			p := start(t, Config{}, web(rel("r1", 100, fakedOn(t, network, u.serve))))
			var all sync.WaitGroup
			var fine, failed, unseen atomic.Int64
			for client := range clients {
				all.Go(func() {
					var conn net.Conn
					var r *bufio.Reader
					for i := range posts {
						if conn == nil {
							conn, r = p.raw("")
						}
						id := fmt.Sprintf("/%d/%d", client, i)
						body := pattern(i, []int{0, 20, 5000, 100000}[rand.IntN(4)])
						head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: web\r\nContent-Length: %d\r\n\r\n", id, len(body))
						half := rand.IntN(len(body) + 1)
						if rand.IntN(2) == 0 {
							half = 0
						}
						conn.Write(append([]byte(head), body[:half]...))
						conn.Write(body[half:])
						resp, err := readAnswer(r, "POST")
						if err != nil {
							t.Errorf("%s: %v", id, err)
							return
						}
						got, err := io.ReadAll(resp.Body)
						u.mu.Lock()
						begun, done := u.begun[id], u.done[id]
						u.mu.Unlock()
						switch {
						case err != nil || begun > 1 || done > 1:
							t.Errorf("%s: the upstream has begun to read it %d times, and read it %d times (%v)", id, begun, done, err)
						case resp.StatusCode == 200 && string(got) == id && done == 1:
							fine.Add(1)
						case resp.StatusCode == 502:
							failed.Add(1)
							if begun == 0 {
								unseen.Add(1)
							}
						default:
							t.Errorf("%s: %d %q, read %d times", id, resp.StatusCode, got, done)
						}
						if resp.Close {
							conn.Close()
							conn = nil
						}
					}
				})
			}
			all.Wait()
			t.Logf("%d answered, %d failed, of which %d were never seen", fine.Load(), failed.Load(), unseen.Load())
			for id, n := range u.begun {
				if n > 1 || u.done[id] > 1 {
					t.Errorf("the upstream has begun to read %s %d times in the end, and read it %d times", id, n, u.done[id])
				}
			}
			got := p.release("r1")
			if got.Answered[2] != uint64(fine.Load()) || got.Failed.Broken != uint64(failed.Load()) {
				t.Errorf("counted %+v, want %d answered and %d broken off", got, fine.Load(), failed.Load())
			}
			if fine.Load() < clients*posts/2 || got.Retried == 0 {
				t.Errorf("only %d are answered, and %d were sent again", fine.Load(), got.Retried)
			}
		})
	}
}

// TestReplays: a request that goes out again is the same to the byte, and one of which a
// part is gone doesn't go out again.
func TestReplays(t *testing.T) {
	for _, framing := range []string{"sized", "chunked"} {
		for _, size := range []int{0, 1, 1000, smallSize, 60000, 64<<10 - 1, 64 << 10, 64<<10 + 1, bufferSize, 100000, 300000} {
			for _, breaks := range []string{"after the head", "after a part", "after all"} {
				t.Run(fmt.Sprintf("%s, %d bytes, %s", framing, size, breaks), func(t *testing.T) {
					var second atomic.Int64
					up := faked(t, func(n int64, c *fakeConn) {
						if n == 1 {
							req := c.head()
							switch breaks {
							case "after a part":
								io.CopyN(io.Discard, req.Body, int64(size*2/3))
							case "after all":
								io.Copy(io.Discard, req.Body)
							}
							c.reset()
							return
						}
						req, body, err := c.asks()
						if err != nil {
							return
						}
						if req.Method == http.MethodPut {
							second.Add(1)
						}
						if framing == "chunked" && req.Method == http.MethodPut && req.Trailer.Get("X-Sum") != sum([]byte(body)) {
							t.Errorf("the trailer is %v", req.Trailer)
						}
						serveOrder(c, req, message(req.Method, body))
					})
					p := start(t, Config{}, web(rel("r1", 100, up.Upstream)))
					body := pattern(size, size)
					o := order{framing: "sized", seed: 1, size: 10, connection: "close"}
					a := askSized("PUT", o, body)
					if framing == "chunked" {
						a = askChunked("PUT", o, body, 5000, "X-Sum: "+sum(body)+"\r\n")
					}
					conn, r := p.raw("")
					half := len(a.bytes) / 2
					conn.Write(a.bytes[:half])
					p.taken()
					conn.Write(a.bytes[half:])
					resp, err := readAnswer(r, "PUT")
					if err != nil {
						t.Fatal(err)
					}
					_, err = io.ReadAll(resp.Body)
					switch {
					case err != nil:
						t.Error(err)
					case resp.StatusCode == 200 && (resp.Header.Get("X-Got") != message("PUT", string(body)) || second.Load() != 1):
						t.Errorf("the upstream gets %q the second time, want %q", resp.Header.Get("X-Got"), message("PUT", string(body)))
					case resp.StatusCode == 502 && (second.Load() != 0 || len(a.bytes) < 60000):
						t.Errorf("the upstream gets it %d times again, and the client doesn't get that", second.Load())
					case resp.StatusCode != 200 && resp.StatusCode != 502:
						t.Errorf("status %d", resp.StatusCode)
					}
				})
			}
		}
	}
}

// TestAnswersToUpgrades: what the upstream says decides whether what the client sends
// behind its request is another protocol or another request.
func TestAnswersToUpgrades(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		want         []string
	}{
		{"taken", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: ECHO\r\n\r\n", []string{"101 " + marker}},
		{"taken after information", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: x, Upgrade\r\nUpgrade: echo\r\n\r\n", []string{"101 " + marker}},
		{"not taken", ok("no"), []string{"200 no", "200 marker"}},
		{"not taken, and closed", "HTTP/1.1 426 Upgrade Required\r\nConnection: close, upgrade\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno", []string{"426 no", "200 marker"}},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n", []string{"502 ", "200 marker"}},
		{"two protocols", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo, h2c\r\n\r\n", []string{"502 ", "200 marker"}},
		{"no protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n", []string{"502 ", "200 marker"}},
		{"not for this connection", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n", []string{"502 ", "200 marker"}},
		{"a body that may hide a request", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\nContent-Length: 5\r\n\r\nhello", []string{"502 ", "200 marker"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(_ int64, conn *fakeConn) {
				for {
					req, _, err := conn.asks()
					if err != nil {
						return
					}
					if req.Header.Get("Upgrade") == "" {
						conn.say(ok("marker"))
						continue
					}
					conn.say(c.answer)
					if strings.HasPrefix(c.want[0], "101") {
						io.Copy(conn, conn.r)
						return
					}
				}
			}, func(t *testing.T, p *running) {
				conn, r := p.raw("GET / HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n" + marker)
				conn.(*net.TCPConn).CloseWrite()
				for _, want := range c.want {
					resp, err := http.ReadResponse(r, nil)
					for err == nil && resp.StatusCode == 103 {
						resp, err = http.ReadResponse(r, nil)
					}
					if err != nil {
						t.Fatal(err)
					}
					from := io.Reader(resp.Body)
					if resp.StatusCode == 101 {
						from = r
					}
					body, err := io.ReadAll(from)
					if resp.StatusCode == http.StatusBadGateway {
						body = nil // it is the proxy's own
					}
					if got := fmt.Sprintf("%d %s", resp.StatusCode, body); err != nil || got != want {
						t.Errorf("the client gets %q, want %q (%v)", got, want, err)
					}
				}
				if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
					t.Errorf("%q comes then, and %v", rest, err)
				}
			})
		})
	}
}
