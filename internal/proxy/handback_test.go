package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// handing is a release whose instances may hand uploads back.
func handing(id string, weight int, upstreams ...Upstream) Release {
	r := rel(id, weight, upstreams...)
	r.ReplayUploads = true
	return r
}

// handBackHead is the head with which an instance hands a request back.
func handBackHead(req *http.Request, framing string) string {
	return fmt.Sprintf("HTTP/1.1 379 Partial POST Replay\r\nEcho-Partial-Post-Replay: %s\r\n%s\r\n\r\n", req.Header.Get("Partial-Post-Replay"), framing)
}

// handsBack is an instance that reads some of a body, and then hands it back, with all
// that still comes.
func handsBack(req *http.Request, c *fakeConn, first int) {
	read := make([]byte, first)
	if _, err := io.ReadFull(req.Body, read); err != nil {
		return
	}
	givesBack(req, c, read)
}

// givesBack gives back what was read, and what still comes.
func givesBack(req *http.Request, c *fakeConn, read []byte) {
	c.say(handBackHead(req, "Transfer-Encoding: chunked\r\nConnection: close"))
	c.chunk(read)
	b := make([]byte, 32<<10)
	for {
		n, err := req.Body.Read(b)
		c.chunk(b[:n])
		if err != nil {
			c.say("0\r\n\r\n")
			return
		}
	}
}

func (c *fakeConn) chunk(b []byte) {
	if len(b) > 0 {
		fmt.Fprintf(c, "%x\r\n%s\r\n", len(b), b)
	}
}

// arrived is a request as the instance has got it that answers it.
type arrived struct {
	*http.Request
	body []byte
	err  error
}

// receives reads a request whole and answers it.
func receives(req *http.Request, c *fakeConn, got chan<- arrived) {
	body, err := io.ReadAll(req.Body)
	got <- arrived{req, body, err}
	c.say(ok("whole"))
}

// uploadClient sends a body in one of the two framings.
type uploadClient struct {
	net.Conn
	r       *bufio.Reader
	chunked bool
}

func (r *running) upload(chunked bool, length int, fields string) *uploadClient {
	framing := fmt.Sprintf("Content-Length: %d\r\n", length)
	if chunked {
		framing = "Transfer-Encoding: chunked\r\n"
	}
	conn, reader := r.raw("POST /upload HTTP/1.1\r\nHost: web\r\n" + fields + framing + "\r\n")
	return &uploadClient{conn, reader, chunked}
}

func (c *uploadClient) send(b []byte) {
	if c.chunked {
		// Pieces of which the framing doesn't fall together with anything.
		for len(b) > 0 {
			n := min(len(b), 9001)
			fmt.Fprintf(c, "%x;extension=1\r\n%s\r\n", n, b[:n])
			b = b[n:]
		}
		return
	}
	_, _ = c.Write(b) // what is lost of it shows at the other end
}

func (c *uploadClient) end(trailer string) {
	if c.chunked {
		io.WriteString(c, "0\r\n"+trailer+"\r\n")
	}
}

func (c *uploadClient) answer(t *testing.T) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// TestUploadIsHandedBack has one, two or ten instances hand an upload back that is larger
// than all buffers, wherever they stop reading, and looks at what the last one gets.
func TestUploadIsHandedBack(t *testing.T) {
	const size = 3 << 20
	body := pattern(7, size)
	for _, chunked := range []bool{false, true} {
		for _, test := range []struct{ times, first, sent int }{
			{1, 1, 1},
			{1, 1000, size / 2},
			{1, 0, 100},
			{1, size / 3, size / 2},
			{1, 70_000, size},
			{1, size, size},
			{2, 100_000, size / 2},
			{maxReplays, 50_000, size - 1},
		} {
			t.Run(fmt.Sprintf("chunked=%t,times=%d,first=%d,sent=%d", chunked, test.times, test.first, test.sent), func(t *testing.T) {
				got, gone := make(chan arrived, 1), make(chan bool, test.times)
				serve := func(_ int64, c *fakeConn) {
					req := c.head()
					if req == nil {
						return
					}
					if said := req.Header.Get("Partial-Post-Replay"); test.times < maxReplays && said == fmt.Sprint(test.times) || said == "" {
						receives(req, c, got)
						return
					}
					if test.first == size {
						// All of it, with the trailer.
						if read, err := io.ReadAll(req.Body); err == nil {
							givesBack(req, c, read)
						}
					} else {
						handsBack(req, c, test.first)
					}
					gone <- true
				}
				one, two := faked(t, serve), faked(t, serve)
				r := start(t, Config{}, web(handing("r1", 100, one.Upstream, two.Upstream)))
				if test.times > 1 {
					// There is always another one, on which it has not been.
					var more []Upstream
					for range test.times + 1 {
						more = append(more, faked(t, serve).Upstream)
					}
					r.apply(2, web(handing("r1", 100, more...)))
				}
				c := r.upload(chunked, size, "Trailer: X-Sum\r\n")
				c.send(body[:test.sent])
				if test.first == size {
					c.end("X-Sum: 7\r\n")
				}
				if test.sent >= test.first {
					for range test.times {
						await(t, "the upload was handed back", gone)
					}
				}
				if test.first < size {
					c.send(body[test.sent:])
					c.end("X-Sum: 7\r\n")
				}
				resp, text := c.answer(t)
				if resp.StatusCode != 200 || text != "whole" {
					t.Fatalf("%s: %s", resp.Status, text)
				}
				last := await(t, "the last instance", got)
				if last.err != nil || !bytes.Equal(last.body, body) {
					t.Errorf("it has got %d bytes, want %d, the first difference at %d: %v", len(last.body), size, difference(last.body, body), last.err)
				}
				if chunked && last.Trailer.Get("X-Sum") != "7" {
					t.Errorf("the trailer is %v", last.Trailer)
				}
				if !chunked && last.ContentLength != size {
					t.Errorf("the length is %d", last.ContentLength)
				}
				if s := r.release("r1"); s.Replayed != uint64(test.times) || s.Answered[2] != 1 || s.Accepted != 1+s.Rerouted {
					t.Errorf("counted %+v", s)
				}
			})
		}
	}
}

func difference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestOtherStatus379 passes 379 on as any other status when nobody has asked for more.
func TestOtherStatus379(t *testing.T) {
	for _, test := range []struct {
		name, method string
		on           bool
		echo         string
	}{
		{"off", "POST", false, "Echo-Partial-Post-Replay: 0\r\n"},
		{"without an echo", "POST", true, ""},
		{"with another echo", "POST", true, "Echo-Partial-Post-Replay: 1\r\n"},
		{"with two", "POST", true, "Echo-Partial-Post-Replay: 0\r\nEcho-Partial-Post-Replay: 0\r\n"},
		{"no body", "GET", true, "Echo-Partial-Post-Replay: 0\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := make(chan string, 1)
			up := faked(t, func(_ int64, c *fakeConn) {
				if req, _ := c.request(); req != nil {
					asked <- fmt.Sprint(req.Header["Partial-Post-Replay"])
					c.say("HTTP/1.1 379 By Chance\r\n" + test.echo + "Content-Length: 2\r\n\r\nhi")
				}
			})
			release := rel("r1", 100, up.Upstream)
			release.ReplayUploads = test.on
			r := start(t, Config{}, web(release))
			body := ""
			if test.method == "POST" {
				body = "hi"
			}
			// A client that says so itself has no say.
			resp, text := r.do(test.method, "/", body, "Partial-Post-Replay", "0", "Partial_Post_Replay", "0")
			if resp.StatusCode != 379 || text != "hi" {
				t.Errorf("%s: %s", resp.Status, text)
			}
			want := "[]"
			if test.on && body != "" {
				want = "[0]"
			}
			if got := await(t, "the instance", asked); got != want {
				t.Errorf("the instance was told %s, want %s", got, want)
			}
			if s := r.release("r1"); s.Replayed != 0 || s.Answered[3] != 1 {
				t.Errorf("counted %+v", s)
			}
		})
	}
}

// TestFalseHandbacks has instances give back something other than what they have got. The
// request fails, and no instance gets it to its end.
func TestFalseHandbacks(t *testing.T) {
	body := pattern(7, 300_000)
	const chunked = "Transfer-Encoding: chunked\r\nConnection: close"
	for _, test := range []struct {
		name string
		// answer is given to who has read half of the body.
		answer func(req *http.Request, c *fakeConn, half []byte)
		broken uint64
	}{
		{"less", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, chunked))
			c.chunk(half[1:])
			c.say("0\r\n\r\n")
		}, 1},
		{"more", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, chunked))
			c.chunk(append(bytes.Clone(half), 'x'))
			c.say("0\r\n\r\n")
		}, 1},
		{"more, later", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, chunked))
			c.chunk(half)
			io.Copy(io.Discard, c.r)
			c.chunk([]byte("x"))
			c.say("0\r\n\r\n")
		}, 1},
		{"nothing", func(req *http.Request, c *fakeConn, half []byte) { c.say(handBackHead(req, "Content-Length: 0")) }, 1},
		{"of another length", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, fmt.Sprintf("Content-Length: %d", len(half)+1)))
			c.Write(half)
		}, 1},
		{"until it dies", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, chunked))
			c.chunk(half[:len(half)/2])
			c.reset()
		}, 1},
		{"until it ends", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, "Connection: close"))
			c.Write(half[:len(half)-1])
		}, 1},
		{"in chunks that are none", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, chunked))
			c.chunk(half[:len(half)/2])
			c.say("nonsense\r\n")
		}, 1},
		{"of the right length", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, fmt.Sprintf("Content-Length: %d", len(half))))
			c.Write(half)
			io.Copy(io.Discard, c.r)
		}, 0},
		{"until the connection ends", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, "Connection: close"))
			c.Write(half)
			io.Copy(io.Discard, c.r)
		}, 0},
		{"all, and then dies", func(req *http.Request, c *fakeConn, half []byte) {
			c.say(handBackHead(req, chunked))
			c.chunk(half)
			io.Copy(io.Discard, c.r)
			c.reset()
		}, 0},
	} {
		for _, inChunks := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,chunked=%t", test.name, inChunks), func(t *testing.T) {
				whole := make(chan arrived, 1)
				serve := func(_ int64, c *fakeConn) {
					req := c.head()
					switch {
					case req == nil:
					case req.Header.Get("Partial-Post-Replay") != "0":
						receives(req, c, whole)
					default:
						half := make([]byte, len(body)/2)
						if _, err := io.ReadFull(req.Body, half); err == nil {
							test.answer(req, c, half)
						}
					}
				}
				r := start(t, Config{}, web(handing("r1", 100, faked(t, serve).Upstream, faked(t, serve).Upstream)))
				c := r.upload(inChunks, len(body), "")
				c.send(body[:len(body)/2])
				eventually(t, "the upload is handed back, or refused", func() bool {
					s := statsOf(r.stats(), "web", "r1")
					return s.Replayed+s.Failed.Broken > 0
				})
				c.send(body[len(body)/2:])
				c.end("")
				resp, text := c.answer(t)
				if want := 200 + 302*int(test.broken); resp.StatusCode != want {
					t.Errorf("%s: %s", resp.Status, text)
				}
				if s := r.release("r1"); s.Failed.Broken != test.broken || s.Answered[2] != 1-test.broken {
					t.Errorf("counted %+v", s)
				}
				select {
				case a := <-whole:
					if (a.err == nil) == (test.broken > 0) || a.err == nil && !bytes.Equal(a.body, body) {
						t.Errorf("an instance has got %d bytes: %v", len(a.body), a.err)
					}
				default:
					if test.broken == 0 {
						t.Error("nobody has got it")
					}
				}
			})
		}
	}
}

// TestHandbackOfAnotherKind lets other things happen to a request while it is handed
// back.
func TestHandbackOfAnotherKind(t *testing.T) {
	body := pattern(7, 200_000)
	half := len(body) / 2
	// An instance of the stage reads half of the first request, says so, and hands it back
	// when told to.
	type stage struct {
		*running
		read chan bool
		back chan bool
		got  chan arrived
	}
	serve := func(s *stage, next func(req *http.Request, c *fakeConn)) func(int64, *fakeConn) {
		return func(_ int64, c *fakeConn) {
			req := c.head()
			switch {
			case req == nil:
			case req.Header.Get("Partial-Post-Replay") != "0":
				next(req, c)
			default:
				b := make([]byte, half)
				if _, err := io.ReadFull(req.Body, b); err != nil {
					return
				}
				s.read <- true
				<-s.back
				givesBack(req, c, b)
			}
		}
	}
	begin := func(t *testing.T, cfg Config, next func(s *stage, req *http.Request, c *fakeConn)) *stage {
		s := &stage{read: make(chan bool, 1), back: make(chan bool, 1), got: make(chan arrived, 1)}
		f := func(req *http.Request, c *fakeConn) { receives(req, c, s.got) }
		if next != nil {
			f = func(req *http.Request, c *fakeConn) { next(s, req, c) }
		}
		s.running = start(t, cfg)
		s.apply(1, web(handing("r1", 100, faked(t, serve(s, f)).Upstream), handing("r2", 0, faked(t, serve(s, f)).Upstream)))
		t.Cleanup(func() { close(s.back) })
		return s
	}
	wantWhole := func(t *testing.T, s *stage, c *uploadClient) {
		t.Helper()
		if resp, text := c.answer(t); resp.StatusCode != 200 || text != "whole" {
			t.Fatalf("%s: %s", resp.Status, text)
		}
		if a := await(t, "the last instance", s.got); a.err != nil || !bytes.Equal(a.body, body) {
			t.Errorf("it has got %d bytes, %v", len(a.body), a.err)
		}
	}
	both := func(t *testing.T, name string, f func(t *testing.T, chunked bool)) {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,chunked=%t", name, chunked), func(t *testing.T) { f(t, chunked) })
		}
	}

	both(t, "to another release, when a drain is over", func(t *testing.T, chunked bool) {
		s := begin(t, Config{}, nil)
		c := s.upload(chunked, len(body), "")
		c.send(body[:half])
		await(t, "half of it", s.read)
		table := web(handing("r1", 0, s.target("r1")), handing("r2", 100, s.target("r2")))
		s.apply(2, table)
		// The drain doesn't cut it, nor wait for it any longer.
		result, err := s.Drain(t.Context(), "web", "r1", DrainTimes{All: time.Millisecond})
		if result.Waited = 0; err != nil || result != (DrainResult{InFlight: 1, Left: 1}) {
			t.Fatalf("drained %+v, %v", result, err)
		}
		if again, err := s.Drain(t.Context(), "web", "r1", DrainTimes{All: time.Hour}); err != nil || again.InFlight != 0 {
			t.Fatalf("drained again %+v, %v", again, err)
		}
		// The release leaves the table before it is stopped.
		table.Releases = table.Releases[1:]
		s.apply(3, table)
		s.back <- true
		c.send(body[half:])
		c.end("")
		wantWhole(t, s, c)
		if one, two := s.release("r1"), s.release("r2"); one.Replayed != 1 || one.Rerouted != 1 || two.Answered[2] != 1 || two.Failed.Sum() != 0 {
			t.Errorf("counted %+v and %+v", one, two)
		}
	})
	both(t, "to an instance that is the last one", func(t *testing.T, chunked bool) {
		s := begin(t, Config{}, nil)
		s.apply(2, web(handing("r1", 100, s.target("r1"))))
		c := s.upload(chunked, len(body), "")
		c.send(body[:half])
		await(t, "half of it", s.read)
		s.back <- true
		resp, _ := c.answer(t)
		if got := s.release("r1"); resp.StatusCode != 503 || got.Failed.Unavailable != 1 || got.Replayed != 1 {
			t.Errorf("%s, counted %+v", resp.Status, got)
		}
	})
	both(t, "through a hold", func(t *testing.T, chunked bool) {
		s := begin(t, Config{}, nil)
		c := s.upload(chunked, len(body), "")
		c.send(body[:half])
		await(t, "half of it", s.read)
		table := web(handing("r1", 0, s.target("r1")), handing("r2", 100, s.target("r2")))
		table.Hold = &Hold{Until: time.Now().Add(time.Hour), Time: time.Hour, Requests: 10, Bytes: 1 << 20}
		s.apply(2, table)
		s.back <- true
		eventually(t, "it is held", func() bool { return s.held().Now == 1 })
		c.send(body[half:])
		c.end("")
		table.Hold = nil
		s.apply(3, table)
		wantWhole(t, s, c)
	})
	both(t, "to one that isn't there, and then another", func(t *testing.T, chunked bool) {
		s := begin(t, Config{}, nil)
		c := s.upload(chunked, len(body), "")
		c.send(body[:half])
		await(t, "half of it", s.read)
		s.apply(2, web(handing("r1", 0, s.target("r1")), handing("r3", 100, refusing(t), s.target("r2"), refusing(t))))
		s.back <- true
		c.send(body[half:])
		c.end("")
		wantWhole(t, s, c)
	})
	both(t, "to one that doesn't want all of it", func(t *testing.T, chunked bool) {
		s := begin(t, Config{}, func(_ *stage, _ *http.Request, c *fakeConn) { c.say(ok("enough")) })
		c := s.upload(chunked, len(body), "")
		c.send(body[:half])
		await(t, "half of it", s.read)
		s.apply(2, web(handing("r2", 100, s.target("r2"))))
		s.back <- true
		if resp, text := c.answer(t); resp.StatusCode != 200 || text != "enough" || !resp.Close {
			t.Errorf("%s: %s, closes %t", resp.Status, text, resp.Close)
		}
	})
	both(t, "while the client goes", func(t *testing.T, chunked bool) {
		s := begin(t, Config{}, func(s *stage, req *http.Request, c *fakeConn) { receives(req, c, s.got) })
		c := s.upload(chunked, len(body), "")
		c.send(body[:half])
		await(t, "half of it", s.read)
		s.apply(2, web(handing("r1", 0, s.target("r1")), handing("r2", 100, s.target("r2"))))
		s.back <- true
		eventually(t, "it is handed back", func() bool { return statsOf(s.stats(), "web", "r2").Accepted == 1 })
		c.Close()
		if a := await(t, "the last instance", s.got); a.err == nil {
			t.Errorf("it has got a whole request of %d bytes", len(a.body))
		}
		if got := s.release("r2"); got.ClientGone != 1 {
			t.Errorf("counted %+v", got)
		}
	})
	both(t, "from one that falls silent", func(t *testing.T, chunked bool) {
		read, on := make(chan bool, 1), make(chan bool)
		silent := faked(t, func(_ int64, c *fakeConn) {
			if req := c.head(); req != nil {
				b := make([]byte, half)
				io.ReadFull(req.Body, b)
				read <- true
				<-on
				c.say(handBackHead(req, "Transfer-Encoding: chunked"))
				c.chunk(b[:half-1])
				io.Copy(io.Discard, c.r)
			}
		})
		s := begin(t, Config{StallTimeout: time.Second}, nil)
		s.apply(2, web(handing("r1", 100, silent.Upstream), handing("r2", 0, s.target("r2"))))
		c := s.upload(chunked, len(body), "")
		c.send(body[:half])
		await(t, "half of it", read)
		s.apply(3, web(handing("r1", 0, silent.Upstream), handing("r2", 100, s.target("r2"))))
		close(on)
		resp, _ := c.answer(t)
		if got := s.release("r2"); resp.StatusCode != 502 || got.Failed.Broken != 1 {
			t.Errorf("%s, counted %+v", resp.Status, got)
		}
	})
}

// target is the upstream of a release in the table in force.
func (r *running) target(release string) Upstream {
	r.mu.Lock()
	defer r.mu.Unlock()
	up := r.loops[0].table.service("web").release(release).pools[0].upstream
	return Upstream{Target: up.target}
}

// TestHandbackOfExpectations hands a request back whose client waits to be asked for its
// body, and one whose client was asked.
func TestHandbackOfExpectations(t *testing.T) {
	for _, asks := range []bool{false, true} {
		t.Run(fmt.Sprintf("asked=%t", asks), func(t *testing.T) {
			got := make(chan arrived, 1)
			serve := func(_ int64, c *fakeConn) {
				req := c.head()
				switch {
				case req == nil:
				case req.Header.Get("Partial-Post-Replay") != "0":
					if (req.Header.Get("Expect") == "") != asks {
						t.Errorf("asked is %t, and the next instance was told %q", asks, req.Header.Get("Expect"))
					}
					if !asks {
						c.say("HTTP/1.1 100 Continue\r\n\r\n")
					}
					receives(req, c, got)
				case asks:
					c.say("HTTP/1.1 100 Continue\r\n\r\n")
					handsBack(req, c, 2)
				default:
					c.say(handBackHead(req, "Content-Length: 0"))
				}
			}
			r := start(t, Config{}, web(handing("r1", 100, faked(t, serve).Upstream, faked(t, serve).Upstream)))
			c := r.upload(false, 4, "Expect: 100-continue\r\n")
			if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 100 {
				t.Fatal(resp, err)
			}
			c.send([]byte("body"))
			if resp, text := c.answer(t); resp.StatusCode != 200 || text != "whole" {
				t.Errorf("%s: %s", resp.Status, text)
			}
			if a := await(t, "the last instance", got); a.err != nil || string(a.body) != "body" {
				t.Errorf("it has got %q, %v", a.body, a.err)
			}
		})
	}
}
