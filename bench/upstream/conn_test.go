package main

import (
	"bytes"
	"strings"
	"testing"
)

// However the requests are cut into reads, each is answered once, when it is whole.
func TestTakeCutAnywhere(t *testing.T) {
	requests := "GET /1k HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /1k HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello" +
		"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n" +
		"GET /64k HTTP/1.1\r\n\r\n"
	whole := answer(bytes.Repeat([]byte("x"), 1<<10))
	want := string(whole) + string(answer([]byte("ok"))) + string(answer([]byte("ok"))) +
		string(answer(bytes.Repeat([]byte("x"), 64<<10)))
	for size := 1; size <= len(requests); size++ {
		c := &conn{answers: newAnswers()}
		for rest := []byte(requests); len(rest) > 0; {
			n := min(size, len(rest))
			if err := c.take(bytes.Clone(rest[:n])); err != nil {
				t.Fatalf("in pieces of %d: %v", size, err)
			}
			rest = rest[n:]
		}
		if string(c.out) != want {
			t.Fatalf("in pieces of %d: %d bytes of answers, want %d", size, len(c.out), len(want))
		}
		if c.answers.sent != 4 {
			t.Fatalf("in pieces of %d: counted %d, want 4", size, c.answers.sent)
		}
	}
	// What is written is cut off; the answer itself has to stay whole.
	c := &conn{answers: newAnswers()}
	if err := c.take([]byte("GET /1k HTTP/1.1\r\n\r\nGET /1k HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := string(c.out); got != strings.Repeat(string(whole), 2) {
		t.Errorf("two in one read: %d bytes", len(got))
	}
	if !bytes.Equal(c.answers.byPath["/1k"], whole) {
		t.Error("the answer was written over")
	}
}

func TestCount(t *testing.T) {
	c := &conn{answers: newAnswers()}
	for range 2 {
		if err := c.take([]byte("GET /1k HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	c.out = nil
	if err := c.take([]byte("GET /count HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if want := string(answer([]byte("2"))); string(c.out) != want {
		t.Errorf("%q, want %q", c.out, want)
	}
}

func TestTakeRefuses(t *testing.T) {
	for _, request := range []string{
		"GET /other HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
		strings.Repeat("x", maxHead+1),
	} {
		c := &conn{answers: newAnswers()}
		if err := c.take([]byte(request)); err == nil {
			t.Errorf("%.40q: no error", request)
		}
	}
}
