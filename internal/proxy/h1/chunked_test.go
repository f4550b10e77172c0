package h1

import (
	"fmt"
	"strings"
	"testing"
)

// A chunkCase is a chunked body, and what is made of it.
type chunkCase struct {
	name, in string
	// data is what comes out, framed what comes out with the framing.
	data, framed string
	// end is how it ends: the rest that is not a part of the body, "unfinished", or
	// why it is refused.
	end string
}

// filter passes a body on in pieces that end at cuts.
func filter(c *Chunked, in string, framed bool, cuts ...int) (out, end string, err error) {
	from := 0
	for _, cut := range append(cuts, len(in)) {
		piece := []byte(in[from:cut])
		kept, used, err := c.Filter(piece, framed)
		out += string(piece[:kept])
		if err != nil {
			return out, err.Error(), err
		}
		if c.Done() {
			return out, "rest " + in[from+used:], nil
		}
		if used != len(piece) {
			return out, "", fmt.Errorf("%d bytes of %d were used", used, len(piece))
		}
		from = cut
	}
	return out, "unfinished", nil
}

// everyFilter holds Filter to give the same however the body is cut in pieces.
func everyFilter(t testing.TB, in string, framed bool) (out, end string) {
	t.Helper()
	var c Chunked
	out, end, err := filter(&c, in, framed)
	if c.Done() != strings.HasPrefix(end, "rest ") {
		t.Fatalf("%q: done is %v, and its end %s", in, c.Done(), end)
	}
	if err != nil {
		refused(t, err)
	}
	check := func(how string, cuts ...int) {
		t.Helper()
		var c Chunked
		gotOut, gotEnd, _ := filter(&c, in, framed, cuts...)
		if gotOut != out || gotEnd != end {
			t.Fatalf("%q, %s: %q, %s; at once %q, %s", in, how, gotOut, gotEnd, out, end)
		}
	}
	all := make([]int, len(in))
	for i := range in {
		all[i] = i
		if len(in) <= 4096 {
			check(fmt.Sprintf("cut at %d", i), i)
		}
	}
	check("byte by byte", all...)
	return out, end
}

func TestChunked(t *testing.T) {
	for _, c := range chunkCases() {
		t.Run(c.name, func(t *testing.T) {
			for _, framed := range []bool{false, true} {
				want := c.data
				if framed {
					want = c.framed
				}
				if out, end := everyFilter(t, c.in, framed); out != want || end != c.end {
					t.Errorf("%q, framed %v: %q, %s; want %q, %s", c.in, framed, out, end, want, c.end)
				}
			}
		})
	}
}

func chunkCases() []chunkCase {
	const (
		noSize    = "a chunk has no size"
		noNumber  = "a chunk's size is no hexadecimal number"
		tooBig    = "a chunk's size is too big"
		blank     = "a chunk's size is followed by a blank"
		notThere  = "a chunk doesn't end where its size says"
		control   = "a chunk's extension has a control character"
		tooLong   = "the extensions of the chunks are too long"
		hello     = "5\r\nhello\r\n"
		done      = "0\r\n"
		unfinish  = "unfinished"
		rest      = "rest "
		wholeRest = "rest \r\n"
	)
	return []chunkCase{
		{"9112 7.1: nothing yet", "", "", "", unfinish},
		{"9112 7.1: one chunk", hello + done + "\r\n", "hello", hello + done, wholeRest},
		{"9112 7.1: two chunks", hello + "1\r\n!\r\n" + done + "\r\n", "hello!", hello + "1\r\n!\r\n" + done, wholeRest},
		{"9112 7.1: no data", done + "\r\n", "", done, wholeRest},
		{"9112 7.1: more than one zero", "000\r\n\r\n", "", "000\r\n", wholeRest},
		{"9112 7.1: zeros before a size", "0005\r\nhello\r\n" + done, "hello", "0005\r\nhello\r\n" + done, rest},
		{"9112 7.1: upper and lower case", "A\r\n0123456789\r\na\r\n0123456789\r\n" + done, "01234567890123456789", "A\r\n0123456789\r\na\r\n0123456789\r\n" + done, rest},
		{"9112 7.1: a size of two digits", "1f\r\n" + strings.Repeat("x", 31) + "\r\n" + done, strings.Repeat("x", 31), "1f\r\n" + strings.Repeat("x", 31) + "\r\n" + done, rest},
		{"9112 7.1: data that looks like framing", "7\r\n0\r\n\r\n0\r\r\n" + done, "0\r\n\r\n0\r", "7\r\n0\r\n\r\n0\r\r\n" + done, rest},
		{"9112 7.1: every byte may be data", "4\r\n\x00\xff\r\n\r\n" + done, "\x00\xff\r\n", "4\r\n\x00\xff\r\n\r\n" + done, rest},
		{"9112 7.1: the trailer section isn't a part", hello + done + "a: b\r\n\r\n", "hello", hello + done, "rest a: b\r\n\r\n"},
		{"9112 9.3.2: nor is the next request", done + "\r\nGET / HTTP/1.1", "", done, "rest \r\nGET / HTTP/1.1"},
		{"9112 8: it ends in a size", "5", "", "5", unfinish},
		{"9112 8: it ends after a size", "5\r\n", "", "5\r\n", unfinish},
		{"9112 8: it ends in data", "5\r\nhel", "hel", "5\r\nhel", unfinish},
		{"9112 8: it ends after data", "5\r\nhello", "hello", "5\r\nhello", unfinish},
		{"9112 8: it ends after a chunk", hello, "hello", hello, unfinish},
		{"9112 8: it ends in the last chunk", hello + "0\r", "hello", hello + "0\r", unfinish},

		{"9112 7.1: no size", "\r\nhello", "", "", noSize},
		{"9112 7.1: no size after a chunk", hello + "\r\n", "hello", hello, noSize},
		{"9112 7.1: no size but an extension", ";a\r\n", "", "", noSize},
		{"9112 7.1: a plus sign", "+5\r\nhello\r\n", "", "", noSize},
		{"9112 7.1: a minus sign", "-5\r\nhello\r\n", "", "", noSize},
		{"9112 7.1: minus zero", "-0\r\n\r\n", "", "", noSize},
		{"9112 7.1: 0x", "0x5\r\nhello\r\n", "", "0", noNumber},
		{"9112 7.1: 0X", "0X5\r\nhello\r\n", "", "0", noNumber},
		{"9112 7.1: a suffix h", "5h\r\nhello\r\n", "", "5", noNumber},
		{"9112 7.1: a letter beyond f", "g\r\n", "", "", noSize},
		{"9112 7.1: an underscore", "1_0\r\n", "", "1", noNumber},
		{"9112 7.1: a fraction", "5.0\r\nhello", "", "5", noNumber},
		{"9112 7.1: a list", "5,5\r\nhello", "", "5", noNumber},
		{"9112 7.1: quotes", "\"5\"\r\nhello", "", "", noSize},
		{"9112 7.1: NUL before", "\x005\r\nhello", "", "", noSize},
		{"9112 7.1: NUL after", "5\x00\r\nhello", "", "5", noNumber},
		{"9112 7.1: digits that aren't ASCII", "\u0665\r\n", "", "", noSize},
		{"9112 7.1: a blank before", " 5\r\nhello", "", "", noSize},
		{"9112 7.1: a tab before", "\t5\r\nhello", "", "", noSize},
		{"9112 7.1: a blank after", "5 \r\nhello", "", "5", blank},
		{"9112 7.1: a tab after", "5\t\r\nhello", "", "5", blank},
		{"9112 7.1: a blank after zero", "0 \r\n\r\n", "", "0", blank},
		{"9112 7.1: a blank inside", "5 5\r\nhello", "", "5", blank},
		{"9112 7.1: a vertical tab after", "5\v\r\nhello", "", "5", noNumber},
		{"9112 7.1: 2^60-1, the biggest size", "fffffffffffffff\r\nx", "x", "fffffffffffffff\r\nx", unfinish},
		{"9112 7.1: 2^60", "1000000000000000\r\nx", "", "100000000000000", tooBig},
		{"9112 7.1: 2^63", "8000000000000000\r\nx", "", "800000000000000", tooBig},
		{"9112 7.1: 2^64-1", "ffffffffffffffff\r\nx", "", "fffffffffffffff", tooBig},
		{"9112 7.1: 2^64 and 5", "10000000000000005\r\nhello", "", "100000000000000", tooBig},
		{"9112 7.1: more zeros than there may be digits", "0000000000000005\r\nhello", "", "000000000000000", tooBig},
		{"9112 7.1: many digits", strings.Repeat("f", 1000), "", "fffffffffffffff", tooBig},

		{"9112 7.1: bare LF after a size", "5\nhello\r\n", "", "5", noNumber},
		{"9112 7.1: bare LF after the last size", "0\n\r\n", "", "0", noNumber},
		{"9112 7.1: bare CR after a size", "5\rhello\r\n", "", "5\r", notThere},
		{"9112 7.1: bare CR after the last size", "0\r\r\n", "", "0\r", notThere},
		{"9112 7.1: two CR after a size", "5\r\r\nhello", "", "5\r", notThere},
		{"9112 7.1: bare LF after data", "5\r\nhello\n0\r\n", "hello", "5\r\nhello", notThere},
		{"9112 7.1: bare CR after data", "5\r\nhello\r0\r\n", "hello", "5\r\nhello\r", notThere},
		{"9112 7.1: LF and CR after data", "5\r\nhello\n\r0\r\n", "hello", "5\r\nhello", notThere},
		{"9112 7.1: nothing after data", "5\r\nhello0\r\n", "hello", "5\r\nhello", notThere},
		{"9112 7.1: more data than the size says", "5\r\nhello!\r\n", "hello", "5\r\nhello", notThere},
		{"9112 7.1: less data than the size says", "6\r\nhello\r\n0\r\n\r\n", "hello\r", "6\r\nhello\r", notThere},
		{"9112 7.1: an empty line between chunks", hello + "\r\n" + done, "hello", hello, noSize},

		{"9112 7.1.1: an extension", "5;a=b\r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: one at the last chunk", hello + "0;a=b\r\n\r\n", "hello", hello + done, wholeRest},
		{"9112 7.1.1: one without a value", "5;a\r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: one without a name", "5;\r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: two", "5;a=b;c=d\r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: blanks around it", "5 \t; \ta = b \r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: quotes", "5;a=\"b;c\\\"\"\r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: bytes beyond ASCII", "5;\xff\r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: one that looks like a size", "5;5\r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: bare LF in it", "5;a\nb\r\nhello", "", "5", control},
		{"9112 7.1.1: bare LF at its end", "5;a\nhello\r\n", "", "5", control},
		{"9112 7.1.1: bare LF in quotes", "5;a=\"\n\"\r\nhello", "", "5", control},
		{"9112 7.1.1: bare CR in it", "5;a\rb\r\nhello", "", "5\r", notThere},
		{"9112 7.1.1: CR and LF in quotes end it", "5;a=\"\r\nhello\r\n" + done, "hello", hello + done, rest},
		{"9112 7.1.1: two CR at its end", "5;a\r\r\nhello", "", "5\r", notThere},
		{"9112 7.1.1: NUL in it", "5;\x00\r\nhello", "", "5", control},
		{"9112 7.1.1: bare LF after a blank", "5 \n", "", "5", blank},
		{"9112 7.1.1: something before it", "5 a;b\r\nhello", "", "5", blank},
		{"9112 7.1.1: as long as they may be", "0;" + strings.Repeat("a", maxExtensions-1) + "\r\n", "", done, rest},
		{"9112 7.1.1: longer", "0;" + strings.Repeat("a", maxExtensions), "", "0", tooLong},
		{"9112 7.1.1: longer, of blanks", "0" + strings.Repeat(" ", maxExtensions+1), "", "0", tooLong},
		{"9112 7.1.1: longer together", strings.Repeat("1;"+strings.Repeat("a", 1023)+"\r\nx\r\n", 17), strings.Repeat("x", 16), strings.Repeat("1\r\nx\r\n", 16) + "1", tooLong},
		{"9112 7.1.1: longer before the data that makes up for it", strings.Repeat("1;"+strings.Repeat("a", 1023)+"\r\nx\r\n", 16) + "800;" + strings.Repeat("a", 1023) + "\r\n" + strings.Repeat("x", 0x800) + "\r\n0\r\n", strings.Repeat("x", 16), strings.Repeat("1\r\nx\r\n", 16) + "800", tooLong},
		{"9112 7.1.1: longer together, with as much data", strings.Repeat("200;"+strings.Repeat("a", 1000)+"\r\n"+strings.Repeat("x", 0x200)+"\r\n", 40) + "0\r\n", strings.Repeat("x", 40*0x200), strings.Repeat("200\r\n"+strings.Repeat("x", 0x200)+"\r\n", 40) + done, rest},
	}
}

// Data tells how much of the data has come, at each byte of a body.
func TestChunkedData(t *testing.T) {
	var c Chunked
	const in = "10;a\r\n0123456789abcdef\r\n2\r\nxy\r\n0\r\n"
	var want int64
	for i := range in {
		if _, _, err := c.Filter([]byte(in[i:i+1]), true); err != nil {
			t.Fatal(err)
		}
		if begun := strings.Index(in, "0123"); (i >= begun && i < begun+16) || in[i] == 'x' || in[i] == 'y' {
			want++
		}
		if c.Data() != want {
			t.Errorf("after %q: %d, want %d", in[:i+1], c.Data(), want)
		}
		if done := i == len(in)-1; c.Done() != done {
			t.Errorf("after %q: done is %v", in[:i+1], c.Done())
		}
	}
	if kept, used, err := c.Filter([]byte("0\r\n"), true); kept != 0 || used != 0 || err != nil {
		t.Errorf("after the last chunk: %d %d %v", kept, used, err)
	}
}

func TestTrailers(t *testing.T) {
	run(t, trailerCases(), func(t testing.TB, in string) string {
		n, err := everyEndOfHead(t, []byte(in))
		if err != nil {
			return refused(t, err)
		}
		if n == 0 {
			return "no end"
		}
		var h Head
		if err := h.ParseTrailer([]byte(in)[:n:n]); err != nil {
			return refused(t, err)
		}
		checkPositions(t, &h)
		got := ""
		for i := range h.Fields {
			f := &h.Fields[i]
			got += fmt.Sprintf("%s=%s/%d ", h.Name(f), h.Value(f), f.Kind)
		}
		return got + "then " + in[n:]
	})
}

func trailerCases() []headCase {
	const (
		name    = "400 a field's name is no token"
		noCR    = "400 a line ends without CR"
		blank   = "400 a line of the head begins with a blank"
		control = "400 a field's value has a control character"
	)
	return []headCase{
		{"9112 7.1: none", "\r\n", "then "},
		{"9112 7.1: none, and the next request", "\r\nGET / HTTP/1.1", "then GET / HTTP/1.1"},
		{"9112 7.1.2: one", lines("A: b"), "A=b/0 then "},
		{"9112 7.1.2: two", lines("A: b", "C:d"), "A=b/0 C=d/0 then "},
		{"9112 7.1.2: the next request comes after", lines("A: b") + "GET", "A=b/0 then GET"},
		{"9112 8: it ends early", "A: b\r\n", "no end"},
		{"9112 8: it ends in the empty line", "A: b\r\n\r", "no end"},
		{"9110 6.5.1: a length; it says nothing here", lines("Content-Length: 5"), fmt.Sprintf("Content-Length=5/%d then ", ContentLength)},
		{"9110 6.5.1: a coding; it says nothing here", lines("Transfer-Encoding: chunked"), fmt.Sprintf("Transfer-Encoding=chunked/%d then ", TransferEncoding)},
		{"9110 6.5.1: a host; it says nothing here", lines("Host: a", "Host: b"), fmt.Sprintf("Host=a/%d Host=b/%d then ", Host, Host)},
		{"9110 7.6.1: Connection names one", lines("A: b", "Connection: a"), fmt.Sprintf("A=b/%d Connection=a/%d then ", HopByHop, Connection)},
		{"9112 5.1: a blank before the colon", lines("A : b"), name},
		{"9112 5.1: no colon", lines("A"), name},
		{"9112 5.1: an empty name", lines(": b"), name},
		{"9112 7.1.2: a request in its place", lines("GET / HTTP/1.1", "Host: a"), name},
		{"9112 7.1: a chunk in its place", "5\r\nhello\r\n0\r\n\r\n", name},
		{"9112 2.2: bare LF", "\n", noCR},
		{"9112 2.2: bare LF after a field", "A: b\n\r\n", noCR},
		{"9112 2.2: bare CR", lines("A: b\rc"), control},
		{"9112 2.2: a line of CR", lines("\r", "A: b"), name},
		{"9112 5.2: a blank before the first field", lines(" A: b"), blank},
		{"9112 5.2: a folded line", lines("A: b", " c"), blank},
		{"9110 5.5: NUL", lines("A: \x00"), control},
	}
}
