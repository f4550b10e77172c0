package h1

import (
	"fmt"
	"strings"
	"testing"
)

// describeResponse tells all that the head of an answer says, in one line.
func describeResponse(r *Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %q", r.Status, r.line)
	if r.Minor != 1 {
		fmt.Fprintf(&b, " 1.%d", r.Minor)
	}
	switch {
	case r.Body == Sized && r.Length > 0:
		fmt.Fprintf(&b, " sized %d", r.Length)
	case r.Body == InChunks && r.Length == -1 && r.Chunked():
		b.WriteString(" chunked")
	case r.Body == UntilClose && r.Length == -1:
		b.WriteString(" until close")
	case r.Body != NoBody:
		fmt.Fprintf(&b, " framing %d length %d", r.Body, r.Length)
	case r.Length >= 0:
		fmt.Fprintf(&b, " none of %d", r.Length)
	default:
		b.WriteString(" none")
	}
	if r.Chunked() && r.Body != InChunks {
		b.WriteString(" in chunks")
	}
	if r.Protocol != nil {
		fmt.Fprintf(&b, " upgrade %q", r.Protocol)
	}
	if !r.Persistent {
		b.WriteString(" last")
	}
	return b.String()
}

func readResponse(t testing.TB, in string, head bool) string {
	t.Helper()
	raw := []byte(in)
	n, err := everyEndOfHead(t, raw)
	var r Response
	if err != nil || n == 0 {
		if parseErr := r.Parse(raw, head); parseErr == nil {
			t.Errorf("%q has no end, and is read as %s", in, describeResponse(&r))
		}
		if err != nil {
			return refused(t, err)
		}
		return "no end"
	}
	if err := r.Parse(raw[:n:n], head); err != nil {
		return refused(t, err)
	}
	checkPositions(t, &r.Head)
	if n < len(in) {
		return describeResponse(&r) + " then " + in[n:]
	}
	return describeResponse(&r)
}

func TestResponses(t *testing.T) {
	run(t, responseCases(), func(t testing.TB, in string) string { return readResponse(t, in, false) })
}

func TestResponsesToHead(t *testing.T) {
	run(t, toHeadCases(), func(t testing.TB, in string) string { return readResponse(t, in, true) })
}

func responseCases() []headCase {
	const (
		noCR    = "400 a line ends without CR"
		none    = "400 the status line is none of HTTP"
		number  = "400 the status is no number"
		status  = "400 the status is none of HTTP"
		version = "400 the version is none of HTTP"
		other   = "505 this is no HTTP/1.1 request"
		control = "400 the status line has a control character"
		name    = "400 a field's name is no token"
		value   = "400 a field's value has a control character"
		blank   = "400 a line of the head begins with a blank"
		framed  = "400 the answer is framed in more than one way, or in one that is not known"
		length  = "400 Content-Length is no number"
		chunked = "Transfer-Encoding: chunked"
	)
	ok := func(fields ...string) string { return lines(append([]string{"HTTP/1.1 200 OK"}, fields...)...) }
	old := func(fields ...string) string { return lines(append([]string{"HTTP/1.0 200 OK"}, fields...)...) }
	line := func(line string) string { return lines(line, "Content-Length: 0") }
	return []headCase{
		{"9112 4: a status line", line("HTTP/1.1 200 OK"), `200 "200 OK" none of 0`},
		{"9112 4: an empty reason", line("HTTP/1.1 200 "), `200 "200 " none of 0`},
		{"9112 4: no reason and no space, as some servers send it", line("HTTP/1.1 200"), `200 "200" none of 0`},
		{"9112 4: a reason of many words", line("HTTP/1.1 404 Not \t Found "), "404 \"404 Not \\t Found \" none of 0"},
		{"9112 4: bytes beyond ASCII in the reason", line("HTTP/1.1 200 \xff\x80"), "200 \"200 \\xff\\x80\" none of 0"},
		{"9112 4: a control character in the reason", line("HTTP/1.1 200 O\x01K"), control},
		{"9112 4: NUL in the reason", line("HTTP/1.1 200 O\x00K"), control},
		{"9112 4: DEL in the reason", line("HTTP/1.1 200 O\x7fK"), control},
		{"9112 4: bare CR in the reason", line("HTTP/1.1 200 O\rK"), control},
		{"9112 4: bare CR at the end", line("HTTP/1.1 200 OK\r"), control},
		{"9112 4: bare CR that hides a field", line("HTTP/1.1 200 OK\rContent-Length: 5"), control},
		{"9112 4: bare LF at the end", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", noCR},
		{"9112 4: two spaces before the status", line("HTTP/1.1  200 OK"), number},
		{"9112 4: a tab before the status", line("HTTP/1.1\t200 OK"), none},
		{"9112 4: a tab after the status", line("HTTP/1.1 200\tOK"), status},
		{"9112 4: a blank before the version", line(" HTTP/1.1 200 OK"), none},
		{"9112 4: no status", line("HTTP/1.1"), none},
		{"9112 4: no status, but a space", line("HTTP/1.1 "), none},
		{"9112 4: two digits", line("HTTP/1.1 20"), none},
		{"9112 4: two digits and a reason", line("HTTP/1.1 20 OK"), number},
		{"9112 4: four digits", line("HTTP/1.1 2000"), status},
		{"9112 4: four digits and a reason", line("HTTP/1.1 2000 OK"), status},
		{"9112 4: letters after the status", line("HTTP/1.1 200OK"), status},
		{"9112 4: a status with a sign", line("HTTP/1.1 +20 OK"), number},
		{"9112 4: a negative status", line("HTTP/1.1 -20 OK"), number},
		{"9112 4: a hexadecimal status", line("HTTP/1.1 0x1 OK"), number},
		{"9112 4: a word as status", line("HTTP/1.1 abc OK"), number},
		{"9110 15: 000", line("HTTP/1.1 000 OK"), status},
		{"9110 15: 099", line("HTTP/1.1 099 OK"), status},
		{"9110 15: an unknown status", line("HTTP/1.1 299 OK"), `299 "299 OK" none of 0`},
		{"9110 15: a status of no class", line("HTTP/1.1 999 OK"), `999 "999 OK" none of 0`},
		{"9112 2.3: HTTP/1.0", line("HTTP/1.0 200 OK"), `200 "200 OK" 1.0 none of 0 last`},
		{"9110 2.5: a later minor version", line("HTTP/1.2 200 OK"), `200 "200 OK" 1.2 none of 0`},
		{"9112 2.3: HTTP/2.0", line("HTTP/2.0 200 OK"), other},
		{"9112 2.3: HTTP/0.9", line("HTTP/0.9 200 OK"), other},
		{"9112 2.3: HTTP/2", line("HTTP/2 200 OK"), none},
		{"9112 2.3: in lower case", line("http/1.1 200 OK"), version},
		{"9112 2.3: ICY", line("ICY 200 OK"), none},
		{"9112 2.3: a body without a head", "<html>\r\n\r\n", none},
		{"9112 2.2: an empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", none},
		{"9112 2.1: the head isn't whole", "HTTP/1.1 200 OK\r\nA: b\r\n", "no end"},
		{"9112 9.2: the body comes after", ok("Content-Length: 5") + "12345", `200 "200 OK" sized 5 then 12345`},

		{"9112 5.1: a blank before the colon", ok("A : b"), name},
		{"9112 5.1: a length with a blank before the colon", ok("Content-Length : 5"), name},
		{"9112 5.1: no colon", ok("A"), name},
		{"9112 5.1: an empty name", ok(": b"), name},
		{"9110 5.5: NUL in a value", ok("A: b\x00"), value},
		{"9112 2.2: bare CR in a value", ok("A: b\rc"), value},
		{"9112 2.2: bare LF between fields", ok("A: b\nC: d"), noCR},
		{"9112 2.2: a blank before the first field", ok(" A: b"), blank},
		{"9112 2.2: a line of blanks before the first field", ok(" \t", "A: b"), blank},
		{"9112 5.2: a folded line", ok("A: b", " c"), `200 "200 OK" until close last`},
		{"9112 5.2: a folded line that looks like a field", ok("A: b", " Content-Length: 5", "Content-Length: 6"), `200 "200 OK" sized 6`},
		{"9112 5.2: a folded line with a control character", ok("A: b", " c\x00"), value},
		{"9112 5.2: a folded line with bare CR", ok("A: b", " c\r"), value},
		{"9112 5.2: a folded coding", ok("Transfer-Encoding:", " chunked"), "400 a field that a proxy has to know is folded"},
		{"9112 5.2: a folded coding, chunked first", ok(chunked, " , gzip"), "400 a field that a proxy has to know is folded"},
		{"9112 5.2: a folded length", ok("Content-Length:", " 5"), length},
		{"9112 5.2: a length that goes on", ok("Content-Length: 5", " 6"), "400 a field that a proxy has to know is folded"},
		{"9112 5.2: a folded Connection", ok("Connection:", " close"), "400 a field that a proxy has to know is folded"},
		{"9112 5.2: a folded field for one connection", ok("Keep-Alive:", " timeout=5"), "400 a field that a proxy has to know is folded"},

		{"9112 6.3: a length", ok("Content-Length: 5"), `200 "200 OK" sized 5`},
		{"9112 6.3: a length of nothing", ok("Content-Length: 0"), `200 "200 OK" none of 0`},
		{"9112 6.3: chunks", ok(chunked), `200 "200 OK" chunked`},
		{"9112 6.3: neither", ok(), `200 "200 OK" until close last`},
		{"9112 6.3: neither, but keep-alive", ok("Connection: keep-alive"), `200 "200 OK" until close last`},
		{"9112 6.3: the same length twice", ok("Content-Length: 5", "Content-Length: 5"), `200 "200 OK" sized 5`},
		{"9112 6.3: the same length twice, written differently", ok("Content-Length: 5", "Content-Length: 05"), `200 "200 OK" sized 5`},
		{"9112 6.3: two lengths", ok("Content-Length: 5", "Content-Length: 6"), "400 there are two lengths"},
		{"9112 6.3: a list of the same length", ok("Content-Length: 5, 5"), length},
		{"9112 6.3: an empty length", ok("Content-Length:"), length},
		{"9112 6.3: a length with a sign", ok("Content-Length: +5"), length},
		{"9112 6.3: a negative length", ok("Content-Length: -1"), length},
		{"9112 6.3: 2^63", ok("Content-Length: 9223372036854775808"), length},
		{"9112 6.3: a length with an underscore isn't one", ok("Content_Length: 5"), `200 "200 OK" until close last`},
		{"9112 6.3: chunks and a length", ok(chunked, "Content-Length: 5"), framed},
		{"9112 6.3: a length and chunks", ok("Content-Length: 5", chunked), framed},
		{"9112 6.3: a length and identity", ok("Content-Length: 5", "Transfer-Encoding: identity"), framed},
		{"9112 6.3: identity", ok("Transfer-Encoding: identity"), framed},
		{"9112 6.3: gzip", ok("Transfer-Encoding: gzip"), framed},
		{"9112 6.3: gzip, chunked", ok("Transfer-Encoding: gzip, chunked"), framed},
		{"9112 6.3: chunked, gzip", ok("Transfer-Encoding: chunked, gzip"), framed},
		{"9112 6.3: xchunked", ok("Transfer-Encoding: xchunked"), framed},
		{"9112 6.3: an empty coding", ok("Transfer-Encoding:"), framed},
		{"9112 6.3: chunked twice", ok("Transfer-Encoding: chunked, chunked"), framed},
		{"9112 6.3: two lines of chunked", ok(chunked, chunked), framed},
		{"9112 6.1: chunked in HTTP/1.0", old(chunked), framed},
		{"9112 6.3: 204", lines("HTTP/1.1 204 No Content"), `204 "204 No Content" none`},
		{"9112 6.3: 204 with a length", lines("HTTP/1.1 204 No Content", "Content-Length: 5"), `204 "204 No Content" none of 5`},
		{"9112 6.3: 204 with chunks", lines("HTTP/1.1 204 No Content", chunked), `204 "204 No Content" none in chunks`},
		{"9112 6.3: 204 with both", lines("HTTP/1.1 204 No Content", chunked, "Content-Length: 5"), framed},
		{"9112 6.3: 304", lines("HTTP/1.1 304 Not Modified"), `304 "304 Not Modified" none`},
		{"9112 6.3: 304 with the length of what wasn't modified", lines("HTTP/1.1 304 Not Modified", "Content-Length: 5"), `304 "304 Not Modified" none of 5`},
		{"9112 6.3: 304 with chunks", lines("HTTP/1.1 304 Not Modified", chunked), `304 "304 Not Modified" none in chunks`},
		{"9110 15.3.6: 205 is framed as others are", lines("HTTP/1.1 205 Reset Content"), `205 "205 Reset Content" until close last`},
		{"9112 6.3: 100", lines("HTTP/1.1 100 Continue"), `100 "100 Continue" none`},
		{"9112 6.3: 103", lines("HTTP/1.1 103 Early Hints", "Link: a"), `103 "103 Early Hints" none`},
		{"9112 6.3: 199 with a length", lines("HTTP/1.1 199 A", "Content-Length: 5"), `199 "199 A" none of 5`},
		{"9112 6.3: 200 right after 100", lines("HTTP/1.1 100 Continue") + "HTTP/1.1 200 OK", `100 "100 Continue" none then HTTP/1.1 200 OK`},

		{"9112 9.3: close", ok("Content-Length: 5", "Connection: close"), `200 "200 OK" sized 5 last`},
		{"9112 9.3: close weighs more than keep-alive", ok("Content-Length: 5", "Connection: keep-alive, close"), `200 "200 OK" sized 5 last`},
		{"9112 9.3: HTTP/1.0 with keep-alive", old("Content-Length: 5", "Connection: keep-alive"), `200 "200 OK" 1.0 sized 5`},
		{"9112 9.3: HTTP/1.0 with keep-alive and no length", old("Connection: keep-alive"), `200 "200 OK" 1.0 until close last`},
		{"9112 9.3: HTTP/1.0", old("Content-Length: 5"), `200 "200 OK" 1.0 sized 5 last`},

		{"9110 15.2.2: 101", lines("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"), `101 "101 Switching Protocols" none upgrade "websocket"`},
		{"9110 15.2.2: 101 that doesn't say to what", lines("HTTP/1.1 101 Switching Protocols", "Connection: upgrade"), `101 "101 Switching Protocols" none`},
		{"9110 15.2.2: 101 without Connection", lines("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket"), `101 "101 Switching Protocols" none`},
		{"9110 7.8: a server that offers another protocol doesn't change to it", ok("Content-Length: 0", "Connection: upgrade", "Upgrade: h2c"), `200 "200 OK" none of 0`},
		{"9110 15.5.22: one that demands it doesn't either", lines("HTTP/1.1 426 Upgrade Required", "Content-Length: 0", "Connection: upgrade", "Upgrade: TLS/1.0"), `426 "426 Upgrade Required" none of 0`},
		{"9112 2.2: a request", lines("GET / HTTP/1.1", "Host: a"), none},
	}
}

func toHeadCases() []headCase {
	head := func(fields ...string) string { return lines(append([]string{"HTTP/1.1 200 OK"}, fields...)...) }
	const framed = "400 the answer is framed in more than one way, or in one that is not known"
	return []headCase{
		{"9112 6.3: nothing said", head(), `200 "200 OK" none`},
		{"9110 9.3.2: the length that GET would get", head("Content-Length: 5"), `200 "200 OK" none of 5`},
		{"9110 9.3.2: the coding that GET would get", head("Transfer-Encoding: chunked"), `200 "200 OK" none in chunks`},
		{"9112 6.3: both", head("Transfer-Encoding: chunked", "Content-Length: 5"), framed},
		{"9112 6.3: a coding that isn't known", head("Transfer-Encoding: gzip"), framed},
		{"9112 9.3: close", head("Connection: close"), `200 "200 OK" none last`},
		{"9112 6.3: the next answer comes right after", head("Content-Length: 5") + "HTTP/1.1 200 OK", `200 "200 OK" none of 5 then HTTP/1.1 200 OK`},
	}
}

// RFC 9112 section 5.2: each fold becomes spaces before the field is passed on.
func TestUnfold(t *testing.T) {
	const status = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct{ name, fields, raw, values string }{
		{"one fold", "A: b\r\n c\r\n", "A: b   c\r\n", "b   c|"},
		{"a tab", "A: b\r\n\tc\r\n", "A: b  \tc\r\n", "b  \tc|"},
		{"two folds", "A: b\r\n c\r\n d\r\nE: f\r\n", "A: b   c   d\r\nE: f\r\n", "b   c   d|f|"},
		{"a fold before the value", "A:\r\n b\r\n", "A:   b\r\n", "b|"},
		{"two folds before the value", "A:\r\n \r\n b\r\n", "A:      b\r\n", "b|"},
		{"a fold after the value", "A: b\r\n \r\n", "A: b   \r\n", "b|"},
		{"a fold of blanks inside the value", "A: b\r\n \r\n c\r\n", "A: b      c\r\n", "b      c|"},
		{"nothing but folds", "A:\r\n \r\n\t\r\n", "A:     \t\r\n", "|"},
		{"blanks around", "A: b \t\r\n \t c \t\r\n", "A: b \t   \t c \t\r\n", "b \t   \t c|"},
		{"a second field of the name", "A: b\r\n c\r\na: d\r\n e\r\n", "A: b   c\r\na: d   e\r\n", "b   c|d   e|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := []byte(status + c.fields + "\r\n")
			var r Response
			for range 2 { // the second time there are no folds left
				if err := r.Parse(raw, false); err != nil {
					t.Fatal(err)
				}
				checkPositions(t, &r.Head)
				values := ""
				for i := range r.Fields {
					values += string(r.Value(&r.Fields[i])) + "|"
				}
				if got := strings.TrimPrefix(string(raw), status); got != c.raw+"\r\n" || values != c.values {
					t.Errorf("%q with values %q, want %q with %q", got, values, c.raw+"\r\n", c.values)
				}
			}
		})
	}
}

// The space before a reason is there for those who need it.
func TestAppendStatusLine(t *testing.T) {
	for in, want := range map[string]string{
		"HTTP/1.1 200 OK":   "HTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 ":     "HTTP/1.1 200 \r\n",
		"HTTP/1.1 200":      "HTTP/1.1 200 \r\n",
		"HTTP/1.0 404 No A": "HTTP/1.1 404 No A\r\n",
	} {
		var r Response
		if err := r.Parse([]byte(in+"\r\n\r\n"), false); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if got := string(r.AppendStatusLine(nil)); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
