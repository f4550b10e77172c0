package h1

import (
	"fmt"
	"strings"
	"testing"
)

// A headCase is a head, and what is made of it.
type headCase struct {
	// name begins with the section of the RFC, where one says it.
	name, in string
	// want is the description of the message, or the status and the reason with which
	// it is refused.
	want string
}

// describe tells all that the head of a request says, in one line.
func describe(r *Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", r.Method, r.Host, r.Path)
	if r.hasQuery {
		fmt.Fprintf(&b, "?%s", r.Query)
	}
	if r.Minor != 1 {
		fmt.Fprintf(&b, " 1.%d", r.Minor)
	}
	switch {
	case r.Body == Sized && r.Length > 0 && r.DeclaresLength:
		fmt.Fprintf(&b, " sized %d", r.Length)
	case r.Body == NoBody && r.Length == 0 && r.DeclaresLength:
		b.WriteString(" empty")
	case r.Body == InChunks && r.Length == 0 && !r.DeclaresLength:
		b.WriteString(" chunked")
	case r.Body != NoBody || r.Length != 0 || r.DeclaresLength:
		fmt.Fprintf(&b, " framing %d length %d declared %v", r.Body, r.Length, r.DeclaresLength)
	}
	if r.ExpectContinue {
		b.WriteString(" waits")
	}
	if r.WantsTrailers {
		b.WriteString(" trailers")
	}
	if r.Protocol != nil {
		fmt.Fprintf(&b, " upgrade %q", r.Protocol)
	}
	if !r.Persistent {
		b.WriteString(" last")
	}
	return b.String()
}

// readRequest does with a head what the proxy does.
func readRequest(t testing.TB, in string) string {
	t.Helper()
	raw := []byte(in)
	n, err := everyEndOfHead(t, raw)
	var r Request
	if err != nil || n == 0 {
		// Parse wants a whole head, and doesn't rely on getting one.
		if parseErr := r.Parse(raw); parseErr == nil {
			t.Errorf("%q has no end, and is read as %s", in, describe(&r))
		}
		if err != nil {
			return refused(t, err)
		}
		return "no end"
	}
	if err := r.Parse(raw[:n:n]); err != nil {
		return refused(t, err)
	}
	checkPositions(t, &r.Head)
	if n < len(in) {
		return describe(&r) + " then " + in[n:]
	}
	return describe(&r)
}

// checkPositions holds the fields to cover the head from one line to the empty one.
func checkPositions(t testing.TB, h *Head) {
	t.Helper()
	at := -1
	for i := range h.Fields {
		f := &h.Fields[i]
		if at >= 0 && int(f.start) != at {
			t.Fatalf("%q: field %d begins at %d, want %d", h.Raw, i, f.start, at)
		}
		at = int(f.end)
		line := string(h.Line(f))
		name, value, found := strings.Cut(line, ":")
		if !found || name != string(h.Name(f)) || strings.Trim(strings.TrimSuffix(value, "\r\n"), " \t") != string(h.Value(f)) {
			t.Fatalf("line %q has name %q and value %q", line, h.Name(f), h.Value(f))
		}
	}
	if at >= 0 && string(h.Raw[at:]) != "\r\n" {
		t.Fatalf("%q: after the fields comes %q", h.Raw, h.Raw[at:])
	}
}

func run(t *testing.T, cases []headCase, read func(testing.TB, string) string) {
	t.Helper()
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("two cases are named %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			if got := read(t, c.in); got != c.want {
				t.Errorf("%q\n got %s\nwant %s", c.in, got, c.want)
			}
		})
	}
}

func TestRequestLine(t *testing.T)    { run(t, requestLineCases(), readRequest) }
func TestRequestTarget(t *testing.T)  { run(t, targetCases(), readRequest) }
func TestRequestFields(t *testing.T)  { run(t, fieldCases(), readRequest) }
func TestRequestHost(t *testing.T)    { run(t, hostCases(), readRequest) }
func TestRequestFraming(t *testing.T) { run(t, framingCases(), readRequest) }
func TestRequestWishes(t *testing.T)  { run(t, wishCases(), readRequest) }

func requestCases() []headCase {
	var all []headCase
	for _, cases := range [][]headCase{
		requestLineCases(), targetCases(), fieldCases(), hostCases(), framingCases(), wishCases(),
	} {
		all = append(all, cases...)
	}
	return all
}

func requestLineCases() []headCase {
	const (
		noCR      = "400 a line ends without CR"
		noMethod  = "400 the request line has no method"
		noTarget  = "400 the request line has no target"
		noVersion = "400 the version is none of HTTP"
		badTarget = "400 the target has a character that it may not have"
		badField  = "400 a field's name is no token"
		other     = "505 this is no HTTP/1.1 request"
	)
	line := func(line string) string { return lines(line, "Host: a") }
	return []headCase{
		{"9112 3: a request line", line("GET / HTTP/1.1"), "GET a /"},
		{"9110 9.1: a method that nobody knows", line("PURGE / HTTP/1.1"), "PURGE a /"},
		{"9110 9.1: methods tell upper from lower case", line("get / HTTP/1.1"), "get a /"},
		{"9110 9.1: a method may be any token", line("!#$%&'*+-.^_`|~ / HTTP/1.1"), "!#$%&'*+-.^_`|~ a /"},
		{"9110 9.1: a method with a byte beyond ASCII", line("G\xc3\x89T / HTTP/1.1"), noMethod},
		{"9110 9.1: a method with a slash", line("GET/ / HTTP/1.1"), noMethod},
		{"9110 9.1: a method with a colon", line("GET: / HTTP/1.1"), noMethod},
		{"9110 9.1: a method with NUL", line("GE\x00T / HTTP/1.1"), noMethod},
		{"9112 3: no method", line(" / HTTP/1.1"), noMethod},
		{"9112 3: a method alone", line("GET"), noMethod},
		{"9112 3: a method and a space", line("GET "), noTarget},
		{"9112 3: a blank before the method", line(" GET / HTTP/1.1"), noMethod},
		{"9112 3: a tab before the method", line("\tGET / HTTP/1.1"), noMethod},
		{"9112 3: two spaces before the target", line("GET  / HTTP/1.1"), noTarget},
		{"9112 3: a tab before the target", line("GET\t/ HTTP/1.1"), noMethod},
		{"9112 3: two spaces before the version", line("GET /  HTTP/1.1"), noVersion},
		{"9112 3: a tab before the version", line("GET /\tHTTP/1.1"), noTarget},
		{"9112 3: a vertical tab before the version", line("GET /\vHTTP/1.1"), noTarget},
		{"9112 3: a blank after the version", line("GET / HTTP/1.1 "), noVersion},
		{"9112 3: a space in the target", line("GET /a b HTTP/1.1"), noVersion},
		{"9112 3: something after the version", line("GET / HTTP/1.1 x"), noVersion},
		{"9112 3: two request lines in one", line("GET / HTTP/1.1 GET /b HTTP/1.1"), noVersion},
		{"HTTP/0.9: no version", line("GET /"), noTarget},
		{"HTTP/0.9: no version, with a space", line("GET / "), noVersion},
		{"HTTP/0.9: a request line and nothing else", "GET /\r\n\r\n", noTarget},
		{"9112 2.3: HTTP/1.0", line("GET / HTTP/1.0"), "GET a / 1.0 last"},
		{"9110 2.5: a later minor version is read as the highest that is known", line("GET / HTTP/1.2"), "GET a / 1.2"},
		{"9110 2.5: the last minor version", line("GET / HTTP/1.9"), "GET a / 1.9"},
		{"9110 2.5: two digits", line("GET / HTTP/1.10"), noVersion},
		{"9110 15.6.6: HTTP/0.9 by name", line("GET / HTTP/0.9"), other},
		{"9110 15.6.6: HTTP/2.0", line("GET / HTTP/2.0"), other},
		{"9113 3.4: the beginning of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", other},
		{"9112 2.3: the version in lower case", line("GET / http/1.1"), noVersion},
		{"9112 2.3: HTTP/1", line("GET / HTTP/1"), noVersion},
		{"9112 2.3: HTTP/2", line("GET / HTTP/2"), noVersion},
		{"9112 2.3: HTTP/1.", line("GET / HTTP/1."), noVersion},
		{"9112 2.3: HTTP/.1", line("GET / HTTP/.1"), noVersion},
		{"9112 2.3: HTTP/01.1", line("GET / HTTP/01.1"), noVersion},
		{"9112 2.3: HTTP/+1.1", line("GET / HTTP/+1.1"), noVersion},
		{"9112 2.3: HTTP/1,1", line("GET / HTTP/1,1"), noVersion},
		{"9112 2.3: HTTP/1.x", line("GET / HTTP/1.x"), noVersion},
		{"9112 2.3: HTTP/x.1", line("GET / HTTP/x.1"), noVersion},
		{"9112 2.3: HTTPS/1.1", line("GET / HTTPS/1.1"), noVersion},
		{"9112 2.3: HTP/1.1", line("GET / HTP/1.1"), noVersion},
		{"9112 2.3: NUL after the version", line("GET / HTTP/1.1\x00"), noVersion},
		{"9112 2.2: bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", noCR},
		{"9112 2.2: bare CR after the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n", noVersion},
		{"9112 2.2: two CR after the request line", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", noVersion},
		{"9112 2.2: bare CR in the target", line("GET /a\rb HTTP/1.1"), badTarget},
		{"9112 2.2: bare LF in the target", line("GET /a\nb HTTP/1.1"), noCR},
		{"9112 2.2: bare CR before the method", line("\rGET / HTTP/1.1"), noMethod},
		{"9112 2.2: an empty line before the request line is for the caller", "\r\n" + line("GET / HTTP/1.1"), noMethod},
		{"9112 2.2: a byte order mark before the request line", line("\xef\xbb\xbfGET / HTTP/1.1"), noMethod},
		{"9112 2.2: NUL before the request line", line("\x00GET / HTTP/1.1"), noMethod},
		{"9112 2.2: a space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400 a line of the head begins with a blank"},
		{"9112 2.2: a tab before the first field", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", "400 a line of the head begins with a blank"},
		{"9112 2.2: a line of a space before the first field", "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", "400 a line of the head begins with a blank"},
		{"9112 2.2: a line of CR before the first field", "GET / HTTP/1.1\r\n\r\r\nHost: a\r\n\r\n", badField},
		{"9112 9.3.2: the next request comes right after", line("GET / HTTP/1.1") + "GET /b", "GET a / then GET /b"},
		{"9112 2.1: the head isn't whole", "GET / HTTP/1.1\r\nHost: a\r\n", "no end"},
		{"a status line", line("HTTP/1.1 200 OK"), noMethod},
		{"a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", noMethod},
	}
}

func targetCases() []headCase {
	const (
		badTarget = "400 the target has a character that it may not have"
		noPath    = "400 the target is neither a path nor an http URL"
		noHost    = "400 the target has no host"
		badHost   = "400 the host in the target is none"
		escape    = "400 the path has a % that isn't followed by two hexadecimal digits"
		star      = "400 the target * is only for OPTIONS"
		connect   = "501 CONNECT is not for this server"
	)
	target := func(target string) string { return lines("GET "+target+" HTTP/1.1", "Host: field") }
	options := func(target string) string { return lines("OPTIONS "+target+" HTTP/1.1", "Host: field") }
	return []headCase{
		{"9112 3.2.1: origin form", target("/a/b"), "GET field /a/b"},
		{"9112 3.2.1: with a query", target("/a?b=c&d"), "GET field /a?b=c&d"},
		{"9112 3.2.1: with an empty query", target("/a?"), "GET field /a?"},
		{"3986 3.4: a question mark in the query", target("/a?b?c"), "GET field /a?b?c"},
		{"3986 3.4: a slash in the query", target("/a?/b"), "GET field /a?/b"},
		{"3986 3.4: a bad escape in the query passes", target("/?%zz%"), "GET field /?%zz%"},
		{"3986 3.3: an empty segment", target("//a"), "GET field //a"},
		{"3986 3.3: what looks like a host is a path", target("//evil/a"), "GET field //evil/a"},
		{"3986 3.3: what looks like a URL is a path", target("/http://evil/"), "GET field /http://evil/"},
		{"3986 3.3: dots stay", target("/a/../b/./c"), "GET field /a/../b/./c"},
		{"3986 3.3: a parameter", target("/a;b=c"), "GET field /a;b=c"},
		{"3986 2.1: escapes stay", target("/%41%2f%2F%00"), "GET field /%41%2f%2F%00"},
		{"3986 2.1: an escape that ends early", target("/a%4"), escape},
		{"3986 2.1: a % at the end", target("/a%"), escape},
		{"3986 2.1: a % alone", target("/%"), escape},
		{"3986 2.1: an escape that is none", target("/%zz"), escape},
		{"3986 2.1: half an escape", target("/%4g"), escape},
		{"3986 2.1: two %", target("/%%41"), escape},
		{"3986 2.1: IIS's %u", target("/%u0041"), escape},
		{"3986 2.1: a sign in an escape", target("/%+1"), escape},
		{"3986 2.1: an escape that goes on into the query", target("/%4?1"), escape},
		{"3986 3.5: a fragment", target("/a#b"), badTarget},
		{"3986 3.5: a fragment in the query", target("/?a#b"), badTarget},
		{"9112 3.2: a tab", target("/a\tb"), badTarget},
		{"9112 3.2: NUL", target("/a\x00b"), badTarget},
		{"9112 3.2: DEL", target("/a\x7fb"), badTarget},
		{"9112 3.2: a control character in the query", target("/?a\x01"), badTarget},
		{"browsers send these as they are", target("/a|b\"<>\\^`{}?[]|\"<>\\^`{}"), "GET field /a|b\"<>\\^`{}?[]|\"<>\\^`{}"},
		{"bytes beyond ASCII pass", target("/\xc3\xa4?\xff"), "GET field /\xc3\xa4?\xff"},
		{"9112 3.2.1: no slash", target("a"), noPath},
		{"9112 3.2.1: no slash, but a dot", target("../a"), noPath},
		{"9112 3.2.1: a query alone", target("?a"), noPath},
		{"9112 3.2.1: a backslash", target("\\a"), noPath},
		{"9112 3.2.1: an escaped slash", target("%2fa"), noPath},

		{"9112 3.2.2: absolute form; the field Host doesn't count", target("http://a/b?c"), "GET a /b?c"},
		{"9112 3.2.2: absolute form, https", target("https://a/b"), "GET a /b"},
		{"3986 3.1: the scheme in upper case", target("HTTP://a/b"), "GET a /b"},
		{"9112 3.2.2: with a port", target("http://a:80/"), "GET a:80 /"},
		{"9112 3.2.2: with an empty port", target("http://a:/"), "GET a: /"},
		{"9112 3.2.2: with an IPv4 address", target("http://127.0.0.1:80/"), "GET 127.0.0.1:80 /"},
		{"9112 3.2.2: with an IPv6 address", target("http://[::1]:80/"), "GET [::1]:80 /"},
		{"9112 3.2.2: without a path", target("http://a"), "GET a "},
		{"9112 3.2.2: without a path, with a query", target("http://a?b/c"), "GET a ?b/c"},
		{"9112 3.2.2: without a path, with an empty query", target("http://a?"), "GET a ?"},
		{"9112 3.2.2: the host goes up to the query", target("http://a?b@c/d"), "GET a ?b@c/d"},
		{"9112 3.2.2: a bad escape in the path", target("http://a/%"), escape},
		{"9110 4.2.1: an empty host", target("http:///b"), noHost},
		{"9110 4.2.1: no host and no path", target("http://"), noHost},
		{"9110 4.2.1: no host but a query", target("http://?a"), noHost},
		{"9110 4.2.1: no host but a port", target("http://:80/"), badHost},
		{"9110 4.2.4: user information", target("http://user@a/"), badHost},
		{"9110 4.2.4: user information with a password", target("http://user:secret@a/"), badHost},
		{"9110 4.2.4: empty user information", target("http://@a/"), badHost},
		{"9110 4.2.4: a host that looks like another's user", target("http://a:80@evil/"), badHost},
		{"3986 3.2.2: a backslash in the host", target("http://a\\b/"), badHost},
		{"3986 3.2.2: a byte beyond ASCII in the host", target("http://\xc3\xa4/"), badHost},
		{"3986 3.2.2: a quote in the host", target("http://a\"/"), badHost},
		{"3986 3.2.2: two ports", target("http://a:80:81/"), badHost},
		{"3986 3.2.3: a port that is no number", target("http://a:http/"), badHost},
		{"3986 3.2.2: a bracket that stays open", target("http://[::1/"), badHost},
		{"another scheme", target("ftp://a/b"), noPath},
		{"a scheme that begins like http", target("httpx://a/b"), noPath},
		{"ws is no scheme of a request", target("ws://a/b"), noPath},
		{"a scheme without slashes", target("http:a/b"), noPath},
		{"a scheme with one slash", target("http:/a/b"), noPath},
		{"a scheme with three slashes", target("http:////a"), noHost},
		{"no scheme", target("://a/b"), noPath},
		{"a URL behind a path", target("a/http://b/"), noPath},

		{"9112 3.2.3: authority form", lines("CONNECT a:443 HTTP/1.1", "Host: a:443"), connect},
		{"9112 3.2.3: CONNECT with a path", lines("CONNECT / HTTP/1.1", "Host: a"), connect},
		{"9112 3.2.3: CONNECT with *", lines("CONNECT * HTTP/1.1", "Host: a"), connect},
		{"9112 3.2.3: CONNECT with a URL", lines("CONNECT http://a/ HTTP/1.1", "Host: a"), connect},
		{"9112 3.2.3: authority form for another method", target("a:443"), noPath},
		{"9110 9.1: connect in lower case is another method", lines("connect / HTTP/1.1", "Host: a"), "connect a /"},

		{"9112 3.2.4: asterisk form", options("*"), "OPTIONS field *"},
		{"9112 3.2.4: OPTIONS for a path", options("/a"), "OPTIONS field /a"},
		{"9112 3.2.4: OPTIONS for a host as a whole", options("http://a"), "OPTIONS a "},
		{"9112 3.2.4: OPTIONS for a host as a whole, with a port", options("http://a:80"), "OPTIONS a:80 "},
		{"9112 3.2.4: OPTIONS for a host and a path", options("http://a/"), "OPTIONS a /"},
		{"9112 3.2.4: OPTIONS for a host and a query", options("http://a?b"), "OPTIONS a ?b"},
		{"9112 3.2.4: * for another method", target("*"), star},
		{"9112 3.2.4: something after *", options("*a"), star},
		{"9112 3.2.4: a path after *", options("*/a"), star},
		{"9112 3.2.4: a query after *", options("*?a"), star},
		{"9112 3.2.4: two *", options("**"), star},
		{"3986 3.3: a path of *", options("/*"), "OPTIONS field /*"},
	}
}

func fieldCases() []headCase {
	const (
		noCR    = "400 a line ends without CR"
		name    = "400 a field's name is no token"
		control = "400 a field's value has a control character"
		blank   = "400 a line of the head begins with a blank"
	)
	return []headCase{
		{"9112 5: fields", get("A: b", "C: d"), "GET a /"},
		{"9112 5.1: no blank after the colon", get("A:b"), "GET a /"},
		{"9112 5.1: blanks around the value", get("A: \t b \t "), "GET a /"},
		{"9112 5.1: an empty value", get("A:"), "GET a /"},
		{"9112 5.1: a value of blanks", get("A: \t "), "GET a /"},
		{"9112 5.1: a colon in the value", get("A: b: c"), "GET a /"},
		{"9112 5.1: a space before the colon", get("A : b"), name},
		{"9112 5.1: a tab before the colon", get("A\t: b"), name},
		{"9112 5.1: Content-Length with a space before the colon", get("Content-Length : 5"), name},
		{"9112 5.1: Transfer-Encoding with a space before the colon", get("Transfer-Encoding : chunked"), name},
		{"9112 5.1: Transfer-Encoding with a vertical tab before the colon", get("Transfer-Encoding\v: chunked"), name},
		{"9112 5.1: Transfer-Encoding with NUL before the colon", get("Transfer-Encoding\x00: chunked"), name},
		{"9112 5.1: Host with a space before the colon", lines("GET / HTTP/1.1", "Host : a"), name},
		{"9112 5.1: no colon", get("A"), name},
		{"9112 5.1: no colon, but a value", get("A b"), name},
		{"9112 5.1: another field after a space", get("A b: c"), name},
		{"9112 5.1: an empty name", get(": b"), name},
		{"9112 5.1: a colon alone", get(":"), name},
		{"9110 5.1: any token is a name", get("!#$%&'*+-.^_`|~09azAZ: b"), "GET a /"},
		{"9110 5.1: a name with NUL", get("A\x00: b"), name},
		{"9110 5.1: a name with a byte beyond ASCII", get("\xc3\xa4: b"), name},
		{"9110 5.1: a name with a Kelvin sign", get("\u212aeep-Alive: b"), name},
		{"9110 5.1: a name with a slash", get("A/b: c"), name},
		{"9110 5.1: a name in quotes", get("\"A\": b"), name},
		{"9110 5.1: a name in brackets", get("(A): b"), name},
		{"9110 5.1: a name with a semicolon", get("A;: b"), name},
		{"9110 5.1: a name with an equals sign", get("A=b: c"), name},
		{"9110 5.1: a name with a comma", get("A,B: c"), name},
		{"9110 5.5: NUL in a value", get("A: b\x00c"), control},
		{"9110 5.5: NUL at the end of a value", get("A: b\x00"), control},
		{"9110 5.5: NUL as a value", get("A:\x00"), control},
		{"9110 5.5: a control character in a value", get("A: b\x01c"), control},
		{"9110 5.5: DEL in a value", get("A: b\x7fc"), control},
		{"9110 5.5: a vertical tab in a value", get("A: b\vc"), control},
		{"9110 5.5: a form feed around a value", get("A: \fb"), control},
		{"9110 5.5: an escape character in a value", get("A: \x1b[31m"), control},
		{"9110 5.5: a tab in a value", get("A: b\tc"), "GET a /"},
		{"9110 5.5: bytes beyond ASCII in a value", get("A: b\x80\xffc"), "GET a /"},
		{"9112 2.2: a bare CR in a value", get("A: b\rc"), control},
		{"9112 2.2: a bare CR that hides a field", get("A: b\rContent-Length: 5"), control},
		{"9112 2.2: a bare CR at the end of a value", get("A: b\r"), control},
		{"9112 2.2: a bare CR at the start of a value", get("A:\rb"), control},
		{"9112 2.2: a bare CR in a name", get("A\rB: c"), name},
		{"9112 2.2: a bare CR at the start of a line", get("\rA: b"), name},
		{"9112 2.2: a bare LF between fields", get("A: b\nC: d"), noCR},
		{"9112 2.2: a bare LF that hides a field", get("A: b\nContent-Length: 5"), noCR},
		{"9112 2.2: a bare LF at the end of a value", get("A: b\n"), noCR},
		{"9112 2.2: a bare LF before the empty line", "GET / HTTP/1.1\r\nHost: a\n\r\n", noCR},
		{"9112 2.2: a bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", noCR},
		{"9112 2.2: a bare LF in a name", get("A\nB: c"), noCR},
		{"9112 5.2: a folded line", get("A: b", " c"), blank},
		{"9112 5.2: a line folded with a tab", get("A: b", "\tc"), blank},
		{"9112 5.2: a folded line of blanks", get("A: b", " "), blank},
		{"9112 5.2: a folded line that looks like a field", get("A: b", " Content-Length: 5"), blank},
		{"9112 5.2: a folded Content-Length", get("Content-Length:", " 5"), "400 Content-Length is no number"},
		{"9112 5.2: a folded Transfer-Encoding", get("Transfer-Encoding:", " chunked"), blank},
		{"9112 5.2: a folded Host", lines("GET / HTTP/1.1", "Host:", " a"), blank},
		{"9110 7.6.1: Connection names as many fields as it may", get("Connection: " + strings.Repeat("a, ", maxOptions)), "GET a /"},
		{"9110 7.6.1: Connection names more fields than it may", get("Connection: " + strings.Repeat("a, ", maxOptions+1)), "400 Connection has too many options"},
		{"9110 7.6.1: so does more than one Connection", get("Connection: "+strings.Repeat("a, ", maxOptions), "Connection: b"), "400 Connection has too many options"},
		{"9110 5.6.1: empty elements are none", get("Connection: " + strings.Repeat(" , ", 10*maxOptions)), "GET a /"},
	}
}

func hostCases() []headCase {
	const (
		count = "400 there is not exactly one field Host"
		bad   = "400 Host is none"
	)
	host := func(host string) string { return lines("GET / HTTP/1.1", "Host: "+host) }
	return []headCase{
		{"9112 3.2: a host", host("a"), "GET a /"},
		{"9112 3.2: no Host", lines("GET / HTTP/1.1"), count},
		{"9112 3.2: no Host, but others", lines("GET / HTTP/1.1", "A: b"), count},
		{"9112 3.2: no Host in absolute form", lines("GET http://a/ HTTP/1.1"), count},
		{"9112 3.2: no Host in a later version", lines("GET / HTTP/1.2"), count},
		{"9112 3.2: no Host in HTTP/1.0", lines("GET / HTTP/1.0"), "GET  / 1.0 last"},
		{"9112 3.2: no Host in HTTP/1.0, in absolute form", lines("GET http://a/ HTTP/1.0"), "GET a / 1.0 last"},
		{"9112 3.2: two Hosts", lines("GET / HTTP/1.1", "Host: a", "Host: b"), count},
		{"9112 3.2: two Hosts that are the same", lines("GET / HTTP/1.1", "Host: a", "host: a"), count},
		{"9112 3.2: two Hosts, one of them empty", lines("GET / HTTP/1.1", "Host:", "Host: a"), count},
		{"9112 3.2: two Hosts apart from each other", lines("GET / HTTP/1.1", "Host: a", "A: b", "HOST: c"), count},
		{"9112 3.2: two Hosts in absolute form", lines("GET http://a/ HTTP/1.1", "Host: a", "Host: a"), count},
		{"9112 3.2: two Hosts in HTTP/1.0", lines("GET / HTTP/1.0", "Host: a", "Host: b"), count},
		{"9110 5.1: Host in upper case", lines("GET / HTTP/1.1", "HOST: a"), "GET a /"},
		{"9112 3.2: Host after other fields", lines("GET / HTTP/1.1", "A: b", "Host: a"), "GET a /"},
		{"9110 7.2: an empty Host", host(""), "GET  /"},
		{"9110 7.2: with a port", host("a:8080"), "GET a:8080 /"},
		{"3986 3.2.3: every digit in a port", host("a:0123456789"), "GET a:0123456789 /"},
		{"9110 7.2: with an empty port", host("a:"), "GET a: /"},
		{"9110 7.2: blanks around it", host(" \ta\t "), "GET a /"},
		{"3986 3.2.2: all the characters of a name", host("az-AZ.09_~!$&'()*+,;="), "GET az-AZ.09_~!$&'()*+,;= /"},
		{"3986 3.2.2: an escape", host("a%2D%2dz"), "GET a%2D%2dz /"},
		{"3986 3.2.2: an escape that is none", host("a%zz"), bad},
		{"3986 3.2.2: an escape that ends early", host("a%2"), bad},
		{"3986 3.2.2: an IPv4 address", host("127.0.0.1"), "GET 127.0.0.1 /"},
		{"3986 3.2.2: an IPv6 address", host("[::1]"), "GET [::1] /"},
		{"3986 3.2.2: an IPv6 address with a port", host("[2001:DB8::1]:443"), "GET [2001:DB8::1]:443 /"},
		{"3986 3.2.2: an IPv6 address with an IPv4 address", host("[::ffff:127.0.0.1]"), "GET [::ffff:127.0.0.1] /"},
		{"3986 3.2.2: an IPv6 address without brackets", host("::1"), bad},
		{"3986 3.2.2: an IPv4 address in brackets", host("[127.0.0.1]"), bad},
		{"3986 3.2.2: a name in brackets", host("[a.example]"), bad},
		{"3986 3.2.2: nothing in brackets", host("[]"), bad},
		{"3986 3.2.2: a bracket that stays open", host("[::1"), bad},
		{"3986 3.2.2: a bracket that was not opened", host("::1]"), bad},
		{"3986 3.2.2: brackets in brackets", host("[[::1]]"), bad},
		{"3986 3.2.2: something before brackets", host("a[::1]"), bad},
		{"3986 3.2.2: something after brackets", host("[::1]a"), bad},
		{"9844 6: a zone", host("[fe80::1%25eth0]"), bad},
		{"9844 6: a zone, not escaped", host("[fe80::1%eth0]"), bad},
		{"3986 3.2.3: two ports", host("a:80:81"), bad},
		{"3986 3.2.3: a port that is no number", host("a:http"), bad},
		{"3986 3.2.3: a port with a sign", host("a:+80"), bad},
		{"9110 4.2.1: a port alone", host(":80"), bad},
		{"9110 4.2.1: a colon alone", host(":"), bad},
		{"9110 4.2.4: user information", host("user@a"), bad},
		{"9112 3.2: a list", host("a, b"), bad},
		{"9112 3.2: a space", host("a b"), bad},
		{"9112 3.2: a tab", host("a\tb"), bad},
		{"9112 3.2: a path", host("a/b"), bad},
		{"9112 3.2: a backslash", host("a\\b"), bad},
		{"9112 3.2: a query", host("a?b"), bad},
		{"9112 3.2: a fragment", host("a#b"), bad},
		{"9112 3.2: a URL", host("http://a"), bad},
		{"9112 3.2: quotes", host("\"a\""), bad},
		{"9112 3.2: a byte beyond ASCII", host("\xc3\xa4"), bad},
		{"9112 3.2: a bad Host in absolute form", lines("GET http://a/ HTTP/1.1", "Host: b/c"), bad},
		{"9112 3.2.2: an empty Host in absolute form", lines("GET http://a/ HTTP/1.1", "Host:"), "GET a /"},
	}
}

func framingCases() []headCase {
	const (
		number   = "400 Content-Length is no number"
		lengths  = "400 there are two lengths"
		twice    = "400 Content-Length is there more than once"
		both     = "400 there are both Transfer-Encoding and Content-Length"
		codings  = "400 Transfer-Encoding is there more than once"
		last     = "400 chunked is not the last transfer coding"
		unknown  = "501 the transfer coding is not known"
		old      = "400 HTTP/1.0 has no Transfer-Encoding"
		chunked  = "Transfer-Encoding: chunked"
		name     = "400 a field's name is no token"
		control  = "400 a field's value has a control character"
		sized    = "GET a / sized 5"
		inChunks = "GET a / chunked"
	)
	length := func(value string) string { return get("Content-Length: " + value) }
	coding := func(value string) string { return get("Transfer-Encoding: " + value) }
	return []headCase{
		{"9112 6.3: no body", get(), "GET a /"},
		{"9112 6.3: no body for POST either", lines("POST / HTTP/1.1", "Host: a"), "POST a /"},
		{"9112 6.2: a length", length("5"), sized},
		{"9112 6.2: a length of nothing", length("0"), "GET a / empty"},
		{"9112 6.2: a length with zeros before", length("005"), sized},
		{"9110 5.1: the name in another case", get("cONTENT-lENGTH: 5"), sized},
		{"9112 5.1: blanks around the length", get("Content-Length:\t 5 \t"), sized},
		{"9112 6.2: a length in HTTP/1.0", lines("POST / HTTP/1.0", "Content-Length: 5"), "POST  / 1.0 sized 5 last"},
		{"9110 8.6: the biggest length", length("9223372036854775807"), "GET a / sized 9223372036854775807"},
		{"9110 8.6: 2^63", length("9223372036854775808"), number},
		{"9110 8.6: 2^64", length("18446744073709551616"), number},
		{"9110 8.6: 2^64 and 5", length("18446744073709551621"), number},
		{"9110 8.6: many nines", length(strings.Repeat("9", 1000)), number},
		{"9110 8.6: more zeros than digits that fit", length("00000000000000000005"), number},
		{"9110 8.6: an empty length", length(""), number},
		{"9110 8.6: a plus sign", length("+5"), number},
		{"9110 8.6: a minus sign", length("-5"), number},
		{"9110 8.6: minus zero", length("-0"), number},
		{"9110 8.6: hexadecimal", length("0x5"), number},
		{"9110 8.6: a hexadecimal digit", length("a"), number},
		{"9110 8.6: octal", length("0o5"), number},
		{"9110 8.6: a fraction", length("5.0"), number},
		{"9110 8.6: an exponent", length("5e0"), number},
		{"9110 8.6: an underscore", length("1_0"), number},
		{"9110 8.6: a space inside", length("5 6"), number},
		{"9110 8.6: a tab inside", length("5\t6"), number},
		{"9110 8.6: a vertical tab before", length("\v5"), control},
		{"9110 8.6: NUL after", length("5\x00"), control},
		{"9110 8.6: a semicolon", length("5;"), number},
		{"9110 8.6: quotes", length("\"5\""), number},
		{"9110 8.6: a unit", length("5 bytes"), number},
		{"9110 8.6: digits that aren't ASCII", length("\u0665"), number},
		{"9110 8.6: a no-break space after", length("5\xa0"), number},
		{"9110 8.6: a list of the same", length("5, 5"), number},
		{"9110 8.6: a list of different lengths", length("5, 6"), number},
		{"9110 8.6: a list with an empty element", length("5,"), number},
		{"9110 8.6: a list with an empty first element", length(",5"), number},
		{"9112 6.3: two different lengths", get("Content-Length: 5", "Content-Length: 6"), lengths},
		{"9112 6.3: two different lengths, nothing first", get("Content-Length: 0", "Content-Length: 6"), lengths},
		{"9112 6.3: the same length twice", get("Content-Length: 5", "Content-Length: 5"), twice},
		{"9112 6.3: the same length twice, written differently", get("Content-Length: 5", "content-length: 05"), twice},
		{"9112 6.3: a length and an empty one", get("Content-Length: 5", "Content-Length:"), number},

		{"9112 7.1: chunks", coding("chunked"), inChunks},
		{"9112 7: codings are read in any case", coding("cHuNkEd"), inChunks},
		{"9112 5.1: a tab before chunked", get("Transfer-Encoding:\tchunked"), inChunks},
		{"9112 5.1: blanks around chunked", get("Transfer-Encoding: \t chunked \t "), inChunks},
		{"9112 5.1: no blank before chunked", get("Transfer-Encoding:chunked"), inChunks},
		{"9112 6.3: chunked isn't the last coding", coding("chunked, gzip"), last},
		{"9112 6.3: chunked isn't there", coding("gzip"), last},
		{"9112 6.3: identity", coding("identity"), last},
		{"9112 6.3: chunked, identity", coding("chunked, identity"), last},
		{"9112 6.3: an empty coding", coding(""), last},
		{"9112 6.3: xchunked", coding("xchunked"), last},
		{"9112 6.3: chunkedx", coding("chunkedx"), last},
		{"9112 6.3: x chunked", coding("x chunked"), last},
		{"9112 6.3: chunked x", coding("chunked x"), last},
		{"9112 6.3: chunk", coding("chunk"), last},
		{"9112 6.3: chunked in quotes", coding("\"chunked\""), last},
		{"9112 6.3: chunked in other quotes", coding("'chunked'"), last},
		{"9112 7: chunked with a semicolon", coding("chunked;"), last},
		{"9112 7: chunked with a parameter", coding("chunked;q=1"), last},
		{"9112 6.3: chunked with a Kelvin sign", coding("chun\u212aed"), last},
		{"9112 6.3: chunked with a vertical tab", coding("\vchunked"), control},
		{"9112 6.3: chunked with NUL", coding("chunked\x00"), control},
		{"9112 6.3: chunked with CR", coding("chunked\r"), control},
		{"9112 6.3: chunked with a no-break space", coding("chunked\xa0"), last},
		{"9112 6.1: a coding that isn't known, then chunked", coding("gzip, chunked"), unknown},
		{"9112 6.1: identity, chunked", coding("identity, chunked"), unknown},
		{"9112 6.1: chunked twice", coding("chunked, chunked"), unknown},
		{"9112 6.1: chunked twice without a blank", coding("chunked,chunked"), unknown},
		{"9110 5.6.1: a list with an empty first element", coding(",chunked"), unknown},
		{"9110 5.6.1: a list with an empty last element", coding("chunked,"), unknown},
		{"9112 6.1: two lines of chunked", get(chunked, chunked), codings},
		{"9112 6.1: a line of gzip, then chunked", get("Transfer-Encoding: gzip", chunked), codings},
		{"9112 6.1: chunked, then identity", get(chunked, "Transfer-Encoding: identity"), codings},
		{"9112 6.1: chunked, then an empty line", get(chunked, "Transfer-Encoding:"), codings},
		{"9112 6.1: an unknown coding, then chunked", get("Transfer-Encoding: x", "transfer-encoding: chunked"), codings},
		{"9112 6.1: chunked in HTTP/1.0", lines("POST / HTTP/1.0", chunked), old},
		{"9112 6.1: chunked in HTTP/1.0, and a length", lines("POST / HTTP/1.0", chunked, "Content-Length: 5"), both},
		{"9112 6.1: gzip in HTTP/1.0", lines("POST / HTTP/1.0", "Transfer-Encoding: gzip"), old},
		{"9112 6.1: chunked in HTTP/1.2", lines("POST / HTTP/1.2", "Host: a", chunked), "POST a / 1.2 chunked"},
		{"9112 6.3: chunked, then a length", get(chunked, "Content-Length: 5"), both},
		{"9112 6.3: a length, then chunked", get("Content-Length: 5", chunked), both},
		{"9112 6.3: chunked and a length of nothing", get(chunked, "Content-Length: 0"), both},
		{"9112 6.3: chunked and a length that is no number", get(chunked, "Content-Length: x"), number},
		{"9112 6.3: identity and a length", get("Transfer-Encoding: identity", "Content-Length: 5"), both},
		{"9112 6.3: xchunked and a length", get("Transfer-Encoding: xchunked", "Content-Length: 5"), both},
		{"9112 6.3: an empty coding and a length", get("Transfer-Encoding:", "Content-Length: 5"), both},

		{"9110 5.1: a length with an underscore isn't one", get("Content_Length: 5"), "GET a /"},
		{"9110 5.1: chunked with an underscore isn't", get("Transfer_Encoding: chunked"), "GET a /"},
		{"9110 5.1: an underscore and a length", get("Content_Length: 6", "Content-Length: 5"), sized},
		{"9110 5.1: a length by another name", get("Content-Length-: 5", "X-Content-Length: 6", "ContentLength: 7"), "GET a /"},
		{"9112 5.1: a length behind a blank", get("X Content-Length: 5"), name},
		{"9112 5.1: a length whose name ends in CR", get("Content-Length\r: 5"), name},
		{"9112 5.1: chunked whose name begins with NUL", get("\x00Transfer-Encoding: chunked"), name},
		{"9110 7.6.1: Connection names the length", get("Connection: Content-Length", "Content-Length: 5"), sized},
		{"9110 7.6.1: Connection names the coding", get("Connection: Transfer-Encoding", chunked), inChunks},
	}
}

func wishCases() []headCase {
	const unknown = "417 the expectation is not known"
	old := func(fields ...string) string {
		return lines(append([]string{"GET / HTTP/1.0"}, fields...)...)
	}
	return []headCase{
		{"9112 9.3: persistent", get(), "GET a /"},
		{"9112 9.6: close", get("Connection: close"), "GET a / last"},
		{"9112 9.6: close in another case", get("Connection: CLOSE"), "GET a / last"},
		{"9112 9.6: close in a list", get("Connection: a, close ,b"), "GET a / last"},
		{"9112 9.6: close in a second line", get("Connection: a", "Connection: close"), "GET a / last"},
		{"9112 9.3: close weighs more than keep-alive", get("Connection: keep-alive, close"), "GET a / last"},
		{"9112 9.3: close weighs more than keep-alive after it", get("Connection: close", "Connection: keep-alive"), "GET a / last"},
		{"9112 9.3: keep-alive says nothing new", get("Connection: keep-alive"), "GET a /"},
		{"9112 9.3: part of a word isn't close", get("Connection: closed, xclose, clos"), "GET a /"},
		{"9112 9.3: quotes aren't close", get("Connection: \"close\""), "GET a /"},
		{"9112 9.3: Proxy-Connection says nothing", get("Proxy-Connection: close"), "GET a /"},
		{"9112 9.3: HTTP/1.0", old(), "GET  / 1.0 last"},
		{"9112 9.3: HTTP/1.0 with keep-alive", old("Connection: Keep-Alive"), "GET  / 1.0"},
		{"9112 9.3: HTTP/1.0 with both", old("Connection: keep-alive, close"), "GET  / 1.0 last"},
		{"9112 C.2.2: HTTP/1.0 with the field Keep-Alive alone", old("Keep-Alive: timeout=5"), "GET  / 1.0 last"},
		{"9110 5.6.1: empty elements", get("Connection: ,, ,close,"), "GET a / last"},
		{"9110 5.6.1: an empty list", get("Connection:"), "GET a /"},

		{"9110 10.1.1: 100-continue", get("Expect: 100-continue", "Content-Length: 5"), "GET a / sized 5 waits"},
		{"9110 10.1.1: 100-continue with chunks", get("Expect: 100-continue", "Transfer-Encoding: chunked"), "GET a / chunked waits"},
		{"9110 10.1.1: in any case", get("expect: 100-CONTINUE", "Content-Length: 5"), "GET a / sized 5 waits"},
		{"9110 10.1.1: without a body", get("Expect: 100-continue"), "GET a /"},
		{"9110 10.1.1: with an empty body", get("Expect: 100-continue", "Content-Length: 0"), "GET a / empty"},
		{"9110 10.1.1: twice", get("Expect: 100-continue", "Expect: 100-continue", "Content-Length: 5"), "GET a / sized 5 waits"},
		{"9110 10.1.1: in HTTP/1.0", old("Expect: 100-continue", "Content-Length: 5"), "GET  / 1.0 sized 5 last"},
		{"9110 10.1.1: another in HTTP/1.0", old("Expect: x", "Content-Length: 5"), "GET  / 1.0 sized 5 last"},
		{"9110 10.1.1: another", get("Expect: x"), unknown},
		{"9110 10.1.1: another beside", get("Expect: 100-continue, x"), unknown},
		{"9110 10.1.1: another in a second line", get("Expect: 100-continue", "Expect: x"), unknown},
		{"9110 10.1.1: with a parameter", get("Expect: 100-continue;a=b"), unknown},
		{"9110 10.1.1: an empty one", get("Expect:"), unknown},

		{"9110 10.1.4: trailers", get("TE: trailers", "Connection: TE"), "GET a / trailers"},
		{"9110 10.1.4: trailers in a list", get("TE: deflate;q=0.5, Trailers"), "GET a / trailers"},
		{"9110 10.1.4: trailers in a second line", get("TE: gzip", "TE: trailers"), "GET a / trailers"},
		{"9110 10.1.4: no trailers", get("TE: gzip, xtrailers"), "GET a /"},
		{"9110 10.1.4: an empty one", get("TE:"), "GET a /"},

		{"9110 7.8: upgrade", get("Upgrade: websocket", "Connection: Upgrade"), `GET a / upgrade "websocket"`},
		{"9110 7.8: upgrade in a list", get("Connection: keep-alive, upgrade", "Upgrade: websocket"), `GET a / upgrade "websocket"`},
		{"9110 7.8: a list of protocols", get("Connection: upgrade", "Upgrade: a/1, b"), `GET a / upgrade "a/1, b"`},
		{"9110 7.8: the first of two lines", get("Connection: upgrade", "Upgrade: a", "Upgrade: b"), `GET a / upgrade "a"`},
		{"9110 7.8: not named in Connection", get("Upgrade: websocket"), "GET a /"},
		{"9110 7.8: no Upgrade", get("Connection: upgrade"), "GET a /"},
		{"9110 7.8: an empty Upgrade", get("Connection: upgrade", "Upgrade:"), "GET a /"},
		{"9110 7.8: in HTTP/1.0", old("Connection: upgrade", "Upgrade: websocket"), "GET  / 1.0 last"},
		{"9110 7.8: with a body", get("Connection: upgrade", "Upgrade: h2c", "Content-Length: 5"), `GET a / sized 5 upgrade "h2c"`},
	}
}

func TestKinds(t *testing.T) {
	for kind, names := range map[Kind][]string{
		Host:             {"host", "Host", "HOST"},
		Connection:       {"Connection", "cONNECTION"},
		ContentLength:    {"Content-Length", "content-length"},
		TransferEncoding: {"Transfer-Encoding", "TRANSFER-ENCODING"},
		Trailer:          {"Trailer"},
		Upgrade:          {"Upgrade"},
		Expect:           {"Expect"},
		TE:               {"TE", "te"},
		HopByHop: {
			"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "HTTP2-Settings",
			"Content_Length", "content_length", "Transfer_Encoding", "Keep_Alive", "Proxy_Connection", "HTTP2_Settings",
			"Proxy_Authorization", "PROXY-AUTHORIZATION",
		},
		Via:            {"Via"},
		Date:           {"Date"},
		RequestID:      {"X-Request-Id", "x-request-id"},
		ForwardedFor:   {"X-Forwarded-For", "x-forwarded-for"},
		ForwardedHost:  {"X-Forwarded-Host"},
		ForwardedProto: {"X-Forwarded-Proto"},
		Origin: {
			"Forwarded", "X-Real-IP", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-x",
			"X_Forwarded_For", "X-Forwarded_For", "x_forwarded-for", "X_Forwarded_Host", "X_Forwarded_Proto", "X_Real_IP",
			"X_Forwarded_Port", "X-Forwarded-A_B", "Segue_Mirror", "SEGUE_MIRROR",
		},
		Mirror:      {"Segue-Mirror", "segue-mirror"},
		ContentType: {"Content-Type", "content-type"},
		Other: {
			"A", "Hosts", "Hos", "Accept", "Content_Type", "Content-Length2", "XContent-Length", "Contentalength", "Content.Length",
			"Transfer-Encodings", "Transfer.Encoding", "X-Forwarded", "X-Forwarded-", "XX-Forwarded-For", "X_Request_Id",
			"Cookie", "Via2", "T_E",
		},
	} {
		for _, name := range names {
			var r Request
			if err := r.Parse([]byte(lines("GET / HTTP/1.0", name+": 0"))); err != nil {
				// These two say how the body is framed, or what is expected; the
				// fields are read all the same.
				if kind != TransferEncoding && kind != Expect {
					t.Errorf("%s: %s", name, refused(t, err))
					continue
				}
			}
			if len(r.Fields) != 1 || r.Fields[0].Kind != kind {
				t.Errorf("%s: %+v, want kind %d", name, r.Fields, kind)
			}
		}
	}
}

// Connection makes the fields that it names hop-by-hop, wherever they stand, but not
// those that say what the message is.
func TestConnectionNames(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields []string
		// want are the fields that are passed on.
		want string
	}{
		{"9110 7.6.1: a field after it", []string{"Connection: a", "A: 1", "B: 2"}, "Host B"},
		{"9110 7.6.1: a field before it", []string{"A: 1", "B: 2", "Connection: a"}, "Host B"},
		{"9110 7.6.1: each line of the field", []string{"A: 1", "Connection: a", "a: 2"}, "Host"},
		{"9110 7.6.1: a list", []string{"Connection: close,, c ,A", "A: 1", "B: 2", "C: 3"}, "Host B"},
		{"9110 7.6.1: two lines", []string{"Connection: a", "A: 1", "B: 2", "Connection: b"}, "Host"},
		{"9110 7.6.1: not a part of its name", []string{"Connection: a, abc", "Ab: 1"}, "Host Ab"},
		{"9110 7.6.1: not a name that is the same in Unicode", []string{"Connection: \u212a, \u017f", "K: 1", "S: 2"}, "Host K S"},
		{"9110 7.6.1: what says where a request comes from", []string{"Connection: x-forwarded-for, via, x-request-id", "X-Forwarded-For: a", "Via: b", "X-Request-Id: c"}, "Host"},
		{"what the message is stays", []string{
			"Connection: host, content-length, connection, expect, te, trailer, upgrade, transfer-encoding",
			"Content-Length: 5", "Expect: 100-continue", "TE: trailers", "Trailer: a", "Upgrade: b",
		}, "Host Connection Content-Length Expect TE Trailer Upgrade"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			if err := r.Parse([]byte(get(c.fields...))); err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range r.Fields {
				f := &r.Fields[i]
				if f.Kind == Connection && !strings.Contains(c.want, "Connection") {
					continue
				}
				if f.Kind != HopByHop {
					got = append(got, string(r.Name(f)))
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s are passed on, want %s", got, c.want)
			}
		})
	}
}

// Parse looks at all that EndOfHead does, too.
func TestParseWantsAWholeHead(t *testing.T) {
	const request, answer = "GET / HTTP/1.1", "HTTP/1.1 200 OK"
	for _, c := range []struct{ name, after string }{
		{"nothing", ""},
		{"CR", "\r"},
		{"LF", "\n"},
		{"another byte in the place of CR", "x\nHost: a\r\n\r\n"},
		{"no fields and no empty line", "\r\n"},
		{"half an empty line", "\r\n\r"},
		{"LF as the empty line", "\r\n\n"},
		{"no empty line", "\r\nHost: a\r\n"},
		{"half a field", "\r\nHost: a"},
		{"a field that ends with LF", "\r\nHost: a\n\r\n"},
		{"another byte in the place of CR after a field", "\r\nHost: ax\n\r\n"},
		{"a byte after the head", "\r\nHost: a\r\n\r\nx"},
		{"an empty line after the head", "\r\nHost: a\r\n\r\n\r\n"},
		{"two heads", "\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			refused(t, r.Parse([]byte(request+c.after)))
			var a Response
			refused(t, a.Parse([]byte(answer+c.after), false))
			var h Head
			refused(t, h.ParseTrailer([]byte("A: b"+c.after)))
		})
	}
	for _, in := range []string{"", "\r", "\n", "x", "\r\n"} {
		var r Request
		refused(t, r.Parse([]byte(in)))
		var a Response
		refused(t, a.Parse([]byte(in), false))
	}
}

// What is passed on of a head: lines as they came, but those of some kinds.
func TestAppend(t *testing.T) {
	const fields = "Host: a\r\nA:1\r\nVia: b\r\nvia:\r\nC: \t3 \r\nVIA: d\r\n"
	for _, c := range []struct {
		name   string
		except Kinds
		want   string
	}{
		{"all", 0, fields},
		{"none", ^Kinds(0), ""},
		{"but the first", KindsOf(Host), strings.TrimPrefix(fields, "Host: a\r\n")},
		{"but the last, and one amid", KindsOf(Via), "Host: a\r\nA:1\r\nC: \t3 \r\n"},
		{"but two kinds", KindsOf(Host, Via), "A:1\r\nC: \t3 \r\n"},
		{"but others", KindsOf(Other), "Host: a\r\nVia: b\r\nvia:\r\nVIA: d\r\n"},
		{"two kinds alone", ^KindsOf(Host, Via), "Host: a\r\nVia: b\r\nvia:\r\nVIA: d\r\n"},
		{"but one that isn't there", KindsOf(Mirror), fields},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			if err := r.Parse([]byte("GET / HTTP/1.1\r\n" + fields + "\r\n")); err != nil {
				t.Fatal(err)
			}
			var trailer Head
			if err := trailer.ParseTrailer([]byte(fields + "\r\n")); err != nil {
				t.Fatal(err)
			}
			for _, h := range []*Head{&r.Head, &trailer} {
				if got := string(h.AppendLines([]byte("x"), c.except)); got != "x"+c.want {
					t.Errorf("%q, want %q", got[1:], c.want)
				}
				for kind, want := range map[Kind]string{Host: "xa", Other: "x1, 3", Via: "xb, , d", Date: "x"} {
					if got, found := h.AppendJoined([]byte("x"), kind); string(got) != want || found != (kind != Date) {
						t.Errorf("kind %d: %q %v, want %q", kind, got, found, want)
					}
				}
			}
		})
	}
	// Every kind has its place in a set.
	for kind := range Mirror + 1 {
		if set := KindsOf(kind); set == 0 || set != 1<<kind {
			t.Errorf("the set of kind %d is %b", kind, set)
		}
	}
}

func TestValues(t *testing.T) {
	var r Request
	if err := r.Parse([]byte(get("A: 1", "B: 2", "a:  3 ", "Ab: 4", "K: 5", "A:"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a": "1|3||", "A": "1|3||", "b": "2|", "ab": "4|", "c": "", "": "", "host": "a|", "k": "5|", "\u212a": "",
	} {
		got := ""
		for value := range r.Values(name) {
			got += value + "|"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	for value := range r.Values("a") {
		if value != "1" {
			t.Errorf("the first is %q", value)
		}
		break
	}
	if value, found := r.Get(Host); string(value) != "a" || !found {
		t.Errorf("Get(Host) is %q %v", value, found)
	}
	if value, found := r.Get(Via); value != nil || found {
		t.Errorf("Get(Via) is %q %v", value, found)
	}
	if size := r.Size(); size < len(r.Raw) {
		t.Errorf("the size is %d", size)
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct{ name, line, target, path string }{
		{"9112 3.2.1: origin form", "GET /a/b", "/a/b", "/a/b"},
		{"9112 3.2.1: with a query", "GET /a?b=%41?c", "/a?b=%41?c", "/a"},
		{"9112 3.2.1: with an empty query", "GET /a?", "/a?", "/a"},
		{"3986 3.3: two slashes", "GET //a", "//a", "//a"},
		{"3986 2.1: escapes are decoded once", "GET /%41%2f%2525%c3%A4%00", "/%41%2f%2525%c3%A4%00", "/A/%25\u00e4\x00"},
		{"9112 3.2.2: absolute form", "GET http://b/c?d", "/c?d", "/c"},
		{"9112 3.2.2: absolute form, two slashes", "GET http://b//c", "//c", "//c"},
		{"9112 3.2.2: no path", "GET http://b", "/", ""},
		{"9112 3.2.2: no path, but a query", "GET http://b?c", "/?c", ""},
		{"9112 3.2.4: asterisk form", "OPTIONS *", "*", "*"},
		{"9112 3.2.4: a host as a whole", "OPTIONS http://b", "*", ""},
		{"9112 3.2.4: a host as a whole, with a slash", "OPTIONS http://b/", "/", "/"},
		{"9112 3.2.4: a host with a query", "OPTIONS http://b?c", "/?c", ""},
		{"9112 3.2.4: a host with an empty query", "OPTIONS http://b?", "/?", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			if err := r.Parse([]byte(lines(c.line+" HTTP/1.1", "Host: a"))); err != nil {
				t.Fatal(err)
			}
			if got := string(r.AppendTarget([]byte("x"))); got != "x"+c.target {
				t.Errorf("target %q, want %q", got[1:], c.target)
			}
			if got := string(r.AppendPath([]byte("x"))); got != "x"+c.path {
				t.Errorf("path %q, want %q", got[1:], c.path)
			}
		})
	}
}

// Nothing of a head is left in the one that is read after it.
func TestParseForgets(t *testing.T) {
	var r Request
	full := lines("POST http://b/c?d HTTP/1.0", "Host: a", "Content-Length: 5", "Connection: keep-alive, upgrade, te, x", "TE: trailers")
	for _, c := range append(requestCases(), headCase{in: full}) {
		var fresh Request
		want := fresh.Parse([]byte(c.in))
		_ = r.Parse([]byte(full))
		got := r.Parse([]byte(c.in))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q: %v, want %v", c.in, got, want)
		}
		if got == nil && (describe(&r) != describe(&fresh) || len(r.Fields) != len(fresh.Fields) || r.Close != fresh.Close || r.KeepAlive != fresh.KeepAlive) {
			t.Fatalf("%q: %s, want %s", c.in, describe(&r), describe(&fresh))
		}
	}
}
