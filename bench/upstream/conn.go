package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// maxHead bounds the head of a request, in bytes.
const maxHead = 16 << 10

// answers are made beforehand, whole.
type answers struct {
	byPath map[string][]byte
	taken  []byte
	// sent is how many requests have come that got one.
	sent uint64
}

func newAnswers() *answers {
	body := func(n int) []byte { return answer(bytes.Repeat([]byte("x"), n)) }
	return &answers{
		byPath: map[string][]byte{"/1k": body(1 << 10), "/64k": body(64 << 10), "/1m": body(1 << 20)},
		taken:  answer([]byte("ok")),
	}
}

func answer(body []byte) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(body))
	return append([]byte(head), body...)
}

// to returns the answer to a request that has come whole.
func (a *answers) to(method, path []byte) ([]byte, error) {
	if string(path) == "/count" {
		return answer(strconv.AppendUint(nil, a.sent, 10)), nil
	}
	found := a.taken
	if string(method) != "POST" {
		found = a.byPath[string(path)]
	}
	if found == nil {
		return nil, fmt.Errorf("there is no %s", path)
	}
	a.sent++
	return found, nil
}

// conn is a connection's state between two reads.
type conn struct {
	answers *answers
	// head is the part of a request's head that has come.
	head []byte
	// body is how many bytes of a request's body are still to come, and then what
	// its answer.
	body int
	then []byte
	// out is what is still to be written.
	out []byte
	// awaitsWritable is set when the loop is told that it can be.
	awaitsWritable bool
}

// take reads what has come, and puts answers in out. An error is a request that no
// proxy sends in the benchmark.
func (c *conn) take(data []byte) error {
	for len(data) > 0 {
		if c.then != nil {
			n := min(c.body, len(data))
			c.body, data = c.body-n, data[n:]
			c.answerWhole()
			continue
		}
		rest, err := c.takeHead(data)
		if err != nil {
			return err
		}
		data = rest
	}
	return nil
}

// takeHead returns what follows the head; nothing, if the head isn't whole yet.
func (c *conn) takeHead(data []byte) (rest []byte, err error) {
	whole := data
	if len(c.head) > 0 {
		c.head = append(c.head, data...)
		whole = c.head
	}
	head, rest, ok := bytes.Cut(whole, []byte("\r\n\r\n"))
	if !ok {
		if len(whole) > maxHead {
			return nil, errors.New("the head is too long")
		}
		if len(c.head) == 0 {
			c.head = append(c.head, data...)
		}
		return nil, nil
	}
	method, target, _ := bytes.Cut(head, []byte(" "))
	path, _, _ := bytes.Cut(target, []byte(" "))
	if c.body, err = contentLength(head); err != nil {
		return nil, err
	}
	if c.then, err = c.answers.to(method, path); err != nil {
		return nil, err
	}
	// What follows may lie in c.head itself, which is not written to while it is read:
	// the next head that isn't whole gets memory of its own.
	c.head = nil
	c.answerWhole()
	return rest, nil
}

// answerWhole answers if the whole request has come.
func (c *conn) answerWhole() {
	if c.body > 0 {
		return
	}
	if len(c.out) == 0 {
		c.out = c.then // without a copy: it is only read
	} else {
		c.out = append(bytes.Clone(c.out), c.then...)
	}
	c.then = nil
}

// contentLength returns how long the body is.
func contentLength(head []byte) (int, error) {
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		switch {
		case !ok:
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return 0, errors.New("the body is chunked, though its length was known")
		case bytes.EqualFold(name, []byte("Content-Length")):
			return strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return 0, nil
}
