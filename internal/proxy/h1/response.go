package h1

import (
	"bytes"
	"time"
)

// Response is the head of an answer.
type Response struct {
	Head
	Status int
	// line is the status with its reason.
	line []byte

	Body Framing
	// Length is that of a body that is Sized, or would be, as in the answer to HEAD;
	// -1 when the head doesn't say.
	Length int64
	// Protocol is the one that the connection changes to, with the status 101, or nil.
	Protocol []byte
	// Persistent is set when another request may follow on the connection.
	Persistent bool
}

// maxIdleTime bounds what IdleTime takes for a time.
const maxIdleTime = 24 * time.Hour

// IdleTime returns how long the server says that it keeps the connection for another
// request: the parameter timeout of Keep-Alive, in whole seconds (RFC 2068 section 19.7.1;
// draft-thomson-hybi-http-timeout-03 section 2). said is false if it doesn't say, or in
// a way that nobody can read.
func (r *Response) IdleTime() (limit time.Duration, said bool) {
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Kind != HopByHop || !equalFold(r.Name(f), "keep-alive") {
			continue
		}
		eachToken(r.Value(f), func(token []byte) {
			name, value, _ := bytes.Cut(token, []byte("="))
			if seconds, ok := parseLength(trimBlanks(value)); ok && equalFold(trimBlanks(name), "timeout") {
				limit, said = time.Duration(min(seconds, int64(maxIdleTime/time.Second)))*time.Second, true
			}
		})
	}
	return limit, said
}

// Parse reads a whole head, of which it keeps positions. It may change bytes of it:
// folded lines are unfolded. head is set when the request was HEAD. An error is an
// *[Error].
func (r *Response) Parse(raw []byte, head bool) error {
	*r = Response{Head: Head{Fields: r.Fields}}
	r.reset(raw)
	end := indexByte(raw, '\n')
	if end < 1 || raw[end-1] != '\r' {
		return bad("the status line ends without CR")
	}
	if err := r.parseLine(raw[:end-1]); err != nil {
		return err
	}
	if err := r.parseFields(end+1, true); err != nil {
		return err
	}
	return r.findFraming(head)
}

// parseLine reads the status line (RFC 9112 section 4). Some servers leave out the
// space before a reason that is empty.
func (r *Response) parseLine(line []byte) error {
	const version = len("HTTP/1.1")
	if len(line) < version+4 || line[version] != ' ' {
		return bad("the status line is none of HTTP")
	}
	minor, err := parseVersion(line[:version])
	if err != nil {
		return err
	}
	r.Minor = minor
	r.line = line[version+1:]
	for _, c := range r.line[:3] {
		if c < '0' || c > '9' {
			return bad("the status is no number")
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || (len(r.line) > 3 && r.line[3] != ' ') {
		return bad("the status is none of HTTP")
	}
	for _, c := range r.line {
		if !isText(c) {
			return bad("the status line has a control character")
		}
	}
	return nil
}

// AppendStatusLine appends the status line, in the version of those who pass it on. The
// space before a reason that was left out is there again (RFC 9112 section 4).
func (r *Response) AppendStatusLine(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, r.line...)
	if len(r.line) == 3 {
		dst = append(dst, ' ')
	}
	return append(dst, '\r', '\n')
}

// findFraming says how the body is framed (RFC 9112 section 6.3). A length that is
// there more than once is the same each time. Both a length and a transfer coding are
// an error, which the RFC recommends.
func (r *Response) findFraming(head bool) error {
	r.Length = -1
	if r.lengths > 0 {
		r.Length = r.length
	}
	if r.codings > 1 || (r.codings == 1 && (r.lengths > 0 || !r.chunked || r.Minor == 0)) {
		return bad("the answer is framed in more than one way, or in one that is not known")
	}
	switch {
	case head || r.Status < 200 || r.Status == 204 || r.Status == 304:
	case r.codings > 0:
		r.Body = InChunks
	case r.Length < 0:
		r.Body = UntilClose
	case r.Length > 0:
		r.Body = Sized
	}
	r.Persistent = !r.Close && (r.Minor > 0 || r.KeepAlive) && r.Body != UntilClose
	if r.Status == 101 && r.upgrades {
		r.Protocol, _ = r.Get(Upgrade)
	}
	return nil
}

// Chunked reports whether the head says that the body is in chunks, which it may say
// without a body, as in the answer to HEAD.
func (r *Response) Chunked() bool { return r.codings > 0 }
