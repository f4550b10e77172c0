package load

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// The kinds of requests.
const (
	// Get is GET /: the answer names release and id, in its body, too, if that
	// is JSON.
	Get prove.Kind = "get"
	// Echo is POST /echo with a body of 1 byte to 256 KiB, one in four in
	// chunks: the answer has its length and SHA-256.
	Echo prove.Kind = "echo"
	// Bytes is GET /bytes?n=: byte i of the answer is i modulo 251.
	Bytes prove.Kind = "bytes"
	// Slow is GET /slow?d=: lines "N RELEASE ID", N counting from 1, and "end".
	Slow prove.Kind = "slow"
)

const (
	maxBody = 256 << 10
	// pattern is what the bytes of Bytes are counted modulo.
	pattern = 251
)

// visitor is a client of the demo.
type visitor struct {
	Demo
	prove.Client
	bodies []byte // random bytes; a body is a slice of them
}

// next makes the next request.
func (v *visitor) next(id string) *prove.Request {
	switch {
	case v.Slow:
		return v.slow(id)
	default:
		n := v.Random.IntN(v.Get + v.Echo + v.Bytes)
		if n < v.Get {
			return get(id)
		}
		if n < v.Get+v.Echo {
			return v.echo(id)
		}
		return bytesOf(v.size())
	}
}

func request(kind prove.Kind, method, path, query string) *prove.Request {
	return &prove.Request{Kind: kind, Status: http.StatusOK, HTTP: &http.Request{
		Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{},
	}}
}

func get(id string) *prove.Request {
	r := request(Get, http.MethodGet, "/", "")
	r.Check = func(resp *http.Response) error { return checkGet(resp, id) }
	return r
}

func bytesOf(n int) *prove.Request {
	r := request(Bytes, http.MethodGet, "/bytes", "n="+strconv.Itoa(n))
	r.Check = func(resp *http.Response) error { return checkBytes(resp, n) }
	return r
}

func (v *visitor) slow(id string) *prove.Request {
	takes := (v.SlowFor/2 + time.Duration(v.Random.Int64N(int64(v.SlowFor/2)+1))).Truncate(time.Millisecond)
	// In seconds always, which any language parses.
	r := request(Slow, http.MethodGet, "/slow", fmt.Sprintf("d=%.3fs", takes.Seconds()))
	r.Takes = takes
	r.Check = func(resp *http.Response) error { return checkSlow(resp, id, takes) }
	return r
}

func (v *visitor) echo(id string) *prove.Request {
	n := v.size()
	from := v.Random.IntN(len(v.bodies) - n + 1)
	body := v.bodies[from : from+n]
	r := request(Echo, http.MethodPost, "/echo", "")
	r.HTTP.Header.Set("Content-Type", "application/octet-stream")
	r.HTTP.Body = io.NopCloser(bytes.NewReader(body))
	r.HTTP.ContentLength = int64(n)
	if v.Random.IntN(4) == 0 {
		r.HTTP.ContentLength = -1
	}
	r.Check = func(resp *http.Response) error { return checkEcho(resp, id, body) }
	return r
}

// size is a random size from 1 to maxBody, each power of two as likely as any
// other: most bodies are small, some fill every buffer on their way.
func (v *visitor) size() int {
	return min(maxBody, int(math.Exp(v.Random.Float64()*math.Log(maxBody+1))))
}

func checkGet(resp *http.Response, id string) error {
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != "application/json" {
		return nil
	}
	_, err := readJSON(resp, id)
	return err
}

func checkEcho(resp *http.Response, id string, body []byte) error {
	s, err := readJSON(resp, id)
	if err != nil {
		return err
	}
	if s.Length == nil || *s.Length != int64(len(body)) {
		got := "no length"
		if s.Length != nil {
			got = fmt.Sprintf("%d bytes", *s.Length)
		}
		return prove.Mismatchf("the service got %s of %d", got, len(body))
	}
	if sum := sha256.Sum256(body); s.SHA256 != hex.EncodeToString(sum[:]) {
		return prove.Mismatchf("the service got %d bytes, but not those that were sent", len(body))
	}
	return nil
}

func checkBytes(resp *http.Response, n int) error {
	in := bufio.NewReader(resp.Body)
	for i := 0; ; i++ {
		b, err := in.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && i == n:
			return nil
		case errors.Is(err, io.EOF):
			return prove.Mismatchf("ended after %d of %d bytes", i, n)
		case err != nil:
			return err
		case i == n:
			return prove.Mismatchf("goes on after %d bytes", n)
		case b != byte(i%pattern):
			return prove.Mismatchf("byte %d is %d, want %d", i, b, i%pattern)
		}
	}
}

func checkSlow(resp *http.Response, id string, takes time.Duration) error {
	release := resp.Header.Get(prove.HeaderRelease)
	in := bufio.NewReader(resp.Body)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return prove.Mismatchf("ended with %q, before the line \"end\"", line)
		}
		if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "end" {
			return checkEnd(in, n-1, takes)
		}
		if want := fmt.Sprintf("%d %s %s", n, release, id); line != want {
			return prove.Mismatchf("line %q, want %q", line, want)
		}
	}
}

// checkEnd checks what there is after the line "end", and how many came before.
func checkEnd(in *bufio.Reader, lines int, takes time.Duration) error {
	if want := int(takes / (100 * time.Millisecond)); lines != want {
		return prove.Mismatchf("%d lines, want %d", lines, want)
	}
	if _, err := in.ReadByte(); err == nil {
		return prove.Mismatchf("goes on after the line \"end\"")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
