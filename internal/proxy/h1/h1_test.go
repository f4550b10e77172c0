package h1

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// lines makes a head of lines.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }

// get is a request with these field lines after Host.
func get(fields ...string) string {
	return lines(append([]string{"GET / HTTP/1.1", "Host: a"}, fields...)...)
}

// refused is how tests write an error.
func refused(t testing.TB, err error) string {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T %v is no *Error", err, err)
	}
	if e.Reason == "" || e.Error() != e.Reason {
		t.Fatalf("the reason %q is not the error %q", e.Reason, e)
	}
	return fmt.Sprintf("%d %s", e.Status, e.Reason)
}

// endOfHead looks for the end of a head that comes in pieces, which end at cuts.
func endOfHead(b []byte, cuts ...int) (int, error) {
	seen := 0
	for _, cut := range append(cuts, len(b)) {
		// The capacity too, so that nothing beyond the piece can be looked at.
		n, err := EndOfHead(b[:cut:cut], seen)
		if n != 0 || err != nil {
			return n, err
		}
		seen = cut
	}
	return 0, nil
}

// everyEndOfHead holds EndOfHead to give the same however the head is cut in pieces.
func everyEndOfHead(t testing.TB, b []byte) (int, error) {
	t.Helper()
	n, err := EndOfHead(b, 0)
	check := func(how string, got int, gotErr error) {
		t.Helper()
		if got != n || (err == nil) != (gotErr == nil) || (err != nil && refused(t, gotErr) != refused(t, err)) {
			t.Fatalf("%q, %s: %d %v, at once %d %v", b, how, got, gotErr, n, err)
		}
	}
	all := make([]int, len(b))
	for i := range b {
		all[i] = i
		if len(b) <= 4096 {
			got, gotErr := endOfHead(b, i)
			check(fmt.Sprintf("cut at %d", i), got, gotErr)
		}
	}
	got, gotErr := endOfHead(b, all...)
	check("byte by byte", got, gotErr)
	return n, err
}

func TestEndOfHead(t *testing.T) {
	const noCR = "400 a line ends without CR"
	for _, c := range []struct {
		name, in string
		// want is the length; refused is set for an error.
		want    int
		refused string
	}{
		{"9112 2.1: nothing yet", "", 0, ""},
		{"9112 2.1: part of the first line", "GET / HT", 0, ""},
		{"9112 2.1: the first line without LF", "GET / HTTP/1.1\r", 0, ""},
		{"9112 2.1: the first line", "GET / HTTP/1.1\r\n", 0, ""},
		{"9112 2.1: the empty line without LF", "GET / HTTP/1.1\r\n\r", 0, ""},
		{"9112 2.1: no fields", "GET / HTTP/1.1\r\n\r\n", 18, ""},
		{"9112 2.1: fields", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, ""},
		{"9112 2.1: the body is no part of the head", "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n", 27, ""},
		{"9112 2.1: LF in the body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n\n\n", 27, ""},
		{"9112 7.1.2: an empty trailer section", "\r\n", 2, ""},
		{"9112 7.1.2: an empty trailer section, and a request", "\r\nGET / HTTP/1.1\r\n\r\n", 2, ""},
		{"9112 7.1.2: a trailer section", "a: b\r\n\r\n", 8, ""},
		{"9112 2.2: a bare LF", "GET / HTTP/1.1\n", 0, noCR},
		{"9112 2.2: a bare LF at the beginning", "\n", 0, noCR},
		{"9112 2.2: a bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 0, noCR},
		{"9112 2.2: a bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", 0, noCR},
		{"9112 2.2: two bare LF", "GET / HTTP/1.1\n\n", 0, noCR},
		{"9112 2.2: LF before CR", "GET / HTTP/1.1\n\r\n\r", 0, noCR},
		{"9112 2.2: a bare CR ends no line", "GET / HTTP/1.1\r\r\r\r", 0, ""},
		{"9112 2.2: a line of CR alone is not empty", "GET / HTTP/1.1\r\n\r\r\n", 0, ""},
		{"9112 2.2: a line of a space is not empty", "GET / HTTP/1.1\r\n \r\n", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := everyEndOfHead(t, []byte(c.in))
			got := ""
			if err != nil {
				got = refused(t, err)
			}
			if n != c.want || got != c.refused {
				t.Errorf("%d %q, want %d %q", n, got, c.want, c.refused)
			}
		})
	}
}

// No byte is looked at twice: what a caller has seen isn't there to be read again.
func TestEndOfHeadLooksAtNewBytesOnly(t *testing.T) {
	seen := "GET / HTTP/1.1\nHost: a\r\n"
	if n, err := EndOfHead([]byte(seen+"\r\n"), len(seen)); n != len(seen)+2 || err != nil {
		t.Errorf("%d %v, want %d", n, err, len(seen)+2)
	}
}

// The sets of bytes are those of the grammars, byte by byte.
func TestBytes(t *testing.T) {
	const (
		letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		digits  = "0123456789"
		// RFC 9110 section 5.6.2.
		token = "!#$%&'*+-.^_`|~" + digits + letters
	)
	for i := range 256 {
		c := byte(i)
		for _, s := range []struct {
			name      string
			got, want bool
		}{
			{"token, 9110 5.6.2", isToken(c), strings.IndexByte(token, c) >= 0},
			{"value, 9110 5.5", isText(c), c == '\t' || (c >= 0x20 && c <= 0x7e) || c >= 0x80},
			{"blank, 9110 5.6.3", isBlank(c), c == ' ' || c == '\t'},
			{"hexadecimal", unhex(c) >= 0, strings.IndexByte("0123456789abcdefABCDEF", c) >= 0},
		} {
			if s.got != s.want {
				t.Errorf("%#02x, %s: %v, want %v", c, s.name, s.got, s.want)
			}
		}
	}
}
