package h1

import "bytes"

// Framing is how a body's end is known (RFC 9112 section 6.3).
type Framing uint8

// The framings of a body.
const (
	// NoBody is a message that ends with its head.
	NoBody Framing = iota
	// Sized is a body of as many bytes as Content-Length says.
	Sized
	// InChunks is a body in the chunked coding.
	InChunks
	// UntilClose is the body of an answer that ends with its connection.
	UntilClose
)

// Request is the head of a request.
type Request struct {
	Head
	Method []byte
	// Host is that to which the request goes: the authority of its target, or else
	// the field Host. It may be empty.
	Host []byte
	// Path is the target's path as it came, "*" for the server as a whole, and may be
	// empty; Query is what follows the first question mark.
	Path, Query []byte
	hasQuery    bool

	Body Framing
	// Length is that of a body that is Sized, and 0 without a body. DeclaresLength is
	// set when the head says so itself.
	Length         int64
	DeclaresLength bool
	// ExpectContinue is set when the client waits to be asked for the body.
	ExpectContinue bool
	// WantsTrailers is set when the client takes trailers.
	WantsTrailers bool
	// Protocol is the one that the client wants to change to, or nil.
	Protocol []byte
	// Persistent is set when another request may follow on the connection.
	Persistent bool
}

// Parse reads a whole head, of which it keeps positions. An error is an *[Error].
func (r *Request) Parse(raw []byte) error {
	*r = Request{Head: Head{Fields: r.Fields}}
	r.reset(raw)
	end := indexByte(raw, '\n')
	if end < 1 || raw[end-1] != '\r' {
		return bad("the request line ends without CR")
	}
	if err := r.parseLine(raw[:end-1]); err != nil {
		return err
	}
	if err := r.parseFields(end+1, false); err != nil {
		return err
	}
	if err := r.findHost(); err != nil {
		return err
	}
	if err := r.findFraming(); err != nil {
		return err
	}
	return r.findWishes()
}

// parseLine reads the request line (RFC 9112 section 3): exactly one space between its
// parts.
func (r *Request) parseLine(line []byte) error {
	at := 0
	for at < len(line) && isToken(line[at]) {
		at++
	}
	if at == 0 || at == len(line) || line[at] != ' ' {
		return bad("the request line has no method")
	}
	r.Method = line[:at]
	line = line[at+1:]
	at = indexByte(line, ' ')
	if at < 1 {
		return bad("the request line has no target")
	}
	minor, err := parseVersion(line[at+1:])
	if err != nil {
		return err
	}
	r.Minor = minor
	return r.parseTarget(line[:at])
}

// parseVersion reads "HTTP/1.x". What is a version but not one of HTTP/1 is answered
// 505.
func parseVersion(b []byte) (minor int, err error) {
	const prefix = "HTTP/"
	isDigit := func(c byte) bool { return '0' <= c && c <= '9' }
	if len(b) != len(prefix)+3 || string(b[:len(prefix)]) != prefix || !isDigit(b[5]) || b[6] != '.' || !isDigit(b[7]) {
		return 0, bad("the version is none of HTTP")
	}
	if b[5] != '1' {
		return 0, &Error{505, "this is no HTTP/1.1 request"}
	}
	return int(b[7] - '0'), nil
}

// parseTarget reads a target in origin, absolute or asterisk form (RFC 9112 section
// 3.2). The authority form belongs to CONNECT, which isn't for a server like this one.
func (r *Request) parseTarget(target []byte) error {
	for _, c := range target {
		if c <= ' ' || c == 0x7f || c == '#' {
			return bad("the target has a character that it may not have")
		}
	}
	if string(r.Method) == "CONNECT" {
		return &Error{501, "CONNECT is not for this server"} // RFC 9110 section 15.6.2: by no resource of it
	}
	if target[0] == '*' {
		if len(target) > 1 || string(r.Method) != "OPTIONS" {
			return bad("the target * is only for OPTIONS")
		}
		r.Path = target
		return nil
	}
	if target[0] != '/' {
		var err error
		if target, err = r.takeAuthority(target); err != nil {
			return err
		}
	}
	r.Path = target
	if i := indexByte(target, '?'); i >= 0 {
		r.Path, r.Query, r.hasQuery = target[:i], target[i+1:], true
	}
	if !escaped(r.Path) {
		return bad("the path has a % that isn't followed by two hexadecimal digits")
	}
	return nil
}

// takeAuthority takes the scheme and the authority from a target in absolute form, and
// returns the rest.
func (r *Request) takeAuthority(target []byte) (rest []byte, err error) {
	i := bytes.Index(target, []byte("://"))
	if i < 0 || (!equalFold(target[:i], "http") && !equalFold(target[:i], "https")) {
		return nil, bad("the target is neither a path nor an http URL")
	}
	rest = target[i+3:]
	end := 0
	for end < len(rest) && rest[end] != '/' && rest[end] != '?' {
		end++
	}
	if end == 0 {
		return nil, bad("the target has no host")
	}
	if !isHost(rest[:end]) { // also with "@": RFC 9110 section 4.2.4 has user information be an error
		return nil, bad("the host in the target is none")
	}
	r.Host = rest[:end]
	return rest[end:], nil
}

// findHost takes the host from its field, of which there has to be exactly one in
// HTTP/1.1 (RFC 9112 section 3.2), whatever the target says.
func (r *Request) findHost() error {
	if r.hosts > 1 || (r.hosts == 0 && r.Minor > 0) {
		return bad("there is not exactly one field Host")
	}
	value, _ := r.Get(Host)
	if len(value) > 0 && !isHost(value) {
		return bad("Host is none")
	}
	if r.Host == nil {
		r.Host = value
	}
	return nil
}

// findFraming says how the body is framed (RFC 9112 section 6.3). What has two
// framings, or one twice, is refused.
func (r *Request) findFraming() error {
	switch {
	case r.codings == 0 && r.lengths == 0:
		return nil
	case r.codings > 0 && r.lengths > 0:
		return bad("there are both Transfer-Encoding and Content-Length")
	case r.lengths > 1:
		return bad("Content-Length is there more than once")
	case r.lengths == 1:
		r.DeclaresLength = true
		r.Length = r.length
		if r.length > 0 {
			r.Body = Sized
		}
		return nil
	case r.codings > 1:
		return bad("Transfer-Encoding is there more than once")
	case r.Minor == 0:
		return bad("HTTP/1.0 has no Transfer-Encoding") // section 6.1
	case !r.chunkedLast:
		// Nobody can tell where such a body ends.
		return bad("chunked is not the last transfer coding")
	case !r.chunked:
		return &Error{501, "the transfer coding is not known"}
	}
	r.Body = InChunks
	return nil
}

// findWishes reads what the client says about the answer and the connection.
func (r *Request) findWishes() error {
	r.Persistent = !r.Close && (r.Minor > 0 || r.KeepAlive)
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.Kind {
		case Expect:
			if r.Minor == 0 {
				continue // RFC 9110 section 10.1.1
			}
			if !equalFold(r.Value(f), "100-continue") {
				return &Error{417, "the expectation is not known"}
			}
			r.ExpectContinue = r.Body != NoBody
		case TE:
			eachToken(r.Value(f), func(token []byte) {
				r.WantsTrailers = r.WantsTrailers || equalFold(token, "trailers")
			})
		case Upgrade:
			// HTTP/1.0 knows no upgrade (RFC 9110 section 7.8).
			if r.upgrades && r.Minor > 0 && len(r.Protocol) == 0 && f.value < f.valueEnd {
				r.Protocol = r.Value(f)
			}
		}
	}
	return nil
}

// AppendTarget appends the target in origin or asterisk form.
func (r *Request) AppendTarget(dst []byte) []byte {
	if len(r.Path) == 0 {
		// An absolute form without a path (RFC 9112 section 3.2.4).
		if string(r.Method) == "OPTIONS" && !r.hasQuery {
			return append(dst, '*')
		}
		dst = append(dst, '/')
	}
	dst = append(dst, r.Path...)
	if r.hasQuery {
		dst = append(dst, '?')
		dst = append(dst, r.Query...)
	}
	return dst
}

// AppendPath appends the path with its escapes decoded.
func (r *Request) AppendPath(dst []byte) []byte {
	for i := 0; i < len(r.Path); i++ {
		c := r.Path[i]
		if c == '%' {
			c = byte(unhex(r.Path[i+1])<<4 | unhex(r.Path[i+2]))
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= fold(c) && fold(c) <= 'f':
		return int(fold(c)-'a') + 10
	}
	return -1
}
