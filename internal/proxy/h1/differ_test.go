package h1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The tests of this file hold this package against net/http's parser: what both
// accept, they read as the same message. What only one of them accepts is one of the
// differences that are listed here, each with its reason; there are no others.

// A text is a message as a lenient reader takes it apart, with LF or CR and LF at the
// end of lines. The differences are recognised in it, without this package's help.
type text struct {
	line   string
	fields []textField
	// after is what follows the head.
	after string
}

type textField struct {
	name, value string
	// folds is set when the field goes on in another line.
	folds bool
	// spaced is set when the name has a space, which net/http lets pass.
	spaced bool
}

func readText(in string) text {
	var m text
	m.line, in = textLine(in)
	m.fields, m.after = textFields(in)
	return m
}

func textLine(in string) (line, rest string) {
	line, rest, _ = strings.Cut(in, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

func textFields(in string) (fields []textField, rest string) {
	for in != "" {
		var line string
		if line, in = textLine(in); line == "" {
			break
		}
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 {
			fields[len(fields)-1].folds = true
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		f := textField{name: strings.ToLower(name), value: strings.Trim(value, " \t")}
		f.spaced = strings.Contains(name, " ")
		fields = append(fields, f)
	}
	return fields, in
}

// values are the values of all fields of a name, which is in lower case.
func (m *text) values(name string) []string {
	var values []string
	for _, f := range m.fields {
		if f.name == name {
			values = append(values, f.value)
		}
	}
	return values
}

func (m *text) has(name string) bool { return len(m.values(name)) > 0 }

func (m *text) method() string { return part(m.line, 0) }
func (m *text) target() string { return part(m.line, 1) }

// old reports whether the message is one of HTTP/1.0.
func (m *text) old() bool {
	return strings.HasSuffix(m.line, " HTTP/1.0") || strings.HasPrefix(m.line, "HTTP/1.0 ")
}

func part(line string, i int) string {
	if parts := strings.SplitN(line, " ", 3); i < len(parts) {
		return parts[i]
	}
	return ""
}

// authority is that of a target in absolute form.
func (m *text) authority() (authority string, found bool) {
	parts := matches(`(?is)^https?://([^/?]*)`, m.target())
	if parts == nil {
		return "", false
	}
	return parts[1], true
}

func matches(pattern, s string) []string { return regexp.MustCompile(pattern).FindStringSubmatch(s) }

// isHostText is isHost written as a grammar.
func isHostText(s string) bool {
	const pattern = `^(?:\[[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?$`
	return matches(pattern, s) != nil
}

// bareLF reports whether a line of a head ends with LF alone.
func bareLF(in string) bool {
	for in != "" {
		line, rest := textLine(in)
		if i := strings.IndexByte(in, '\n'); i >= 0 && (i == 0 || in[i-1] != '\r') {
			return true
		}
		if line == "" {
			return false
		}
		in = rest
	}
	return false
}

// A difference is that this package refuses, for a reason, what net/http accepts.
type difference struct {
	// reason is with which this package refuses.
	reason string
	// is reports whether a message is so; why is why it is refused.
	is  func(in string, m *text) bool
	why string
}

// headDifferences are those of the fields of any head.
func headDifferences() []difference {
	return []difference{
		{
			"a line ends without CR",
			func(in string, _ *text) bool { return bareLF(in) },
			"9112 2.2: LF alone may end a line, and servers differ about it",
		},
		{
			"a field's name is no token",
			func(_ string, m *text) bool {
				return slices.ContainsFunc(m.fields, func(f textField) bool { return f.spaced })
			},
			"9112 5.1: a blank before the colon is answered 400",
		},
		{
			"Connection has too many options",
			func(_ string, m *text) bool {
				return strings.Count(strings.Join(m.values("connection"), ","), ",") >= maxOptions
			},
			"each of them costs a comparison with each field",
		},
		{
			"Content-Length is no number",
			func(_ string, m *text) bool {
				return slices.ContainsFunc(m.values("content-length"), func(v string) bool { return len(v) > 19 && matches(`^0+\d{1,19}$`, v) != nil })
			},
			"a length has no more digits than fit, whatever they are",
		},
		{
			"Content-Length is no number",
			func(_ string, m *text) bool {
				return slices.ContainsFunc(m.fields, func(f textField) bool { return f.folds && f.name == "content-length" })
			},
			"9112 5.2: a folded line may be refused, and this one begins after the fold",
		},
	}
}

func requestDifferences() []difference {
	return append(headDifferences(), []difference{
		{
			"a line of the head begins with a blank",
			func(_ string, m *text) bool {
				return slices.ContainsFunc(m.fields, func(f textField) bool { return f.folds })
			},
			"9112 5.2: a folded line in a request is answered 400",
		},
		{
			"the request line has no target",
			func(_ string, m *text) bool { return m.method() == "CONNECT" },
			"9112 3.2.3: CONNECT has a target, which net/http takes for empty",
		},
		{
			"this is no HTTP/1.1 request",
			func(_ string, m *text) bool { return matches(`(?s) HTTP/[02-9]\.\d$`, m.line) != nil },
			"9110 15.6.6: other versions are not known",
		},
		{
			"the target has a character that it may not have",
			func(_ string, m *text) bool { return strings.Contains(m.target(), "#") },
			"9112 3.2: a target has no fragment",
		},
		{
			"CONNECT is not for this server",
			func(_ string, m *text) bool { return m.method() == "CONNECT" },
			"9110 9.3.6: only a forward proxy makes tunnels",
		},
		{
			"the target * is only for OPTIONS",
			func(_ string, m *text) bool { return m.target() == "*" && m.method() != "OPTIONS" },
			"9112 3.2.4: the asterisk form is only for OPTIONS",
		},
		{
			"the target is neither a path nor an http URL",
			func(_ string, m *text) bool {
				_, found := m.authority()
				return !found && matches(`(?s)^[A-Za-z][A-Za-z0-9+.\-]*:`, m.target()) != nil
			},
			"9110 7.4: this is no server for other schemes",
		},
		{
			"the target has no host",
			func(_ string, m *text) bool {
				authority, found := m.authority()
				return found && authority == ""
			},
			"9110 4.2.1: an http URL with an empty host is invalid",
		},
		{
			"the host in the target is none",
			func(_ string, m *text) bool {
				authority, found := m.authority()
				return found && !isHostText(authority)
			},
			"9110 4.2.4 and 3986 3.2.2: user information, and what is no host",
		},
		{
			"there is not exactly one field Host",
			func(_ string, m *text) bool { return !m.has("host") && !m.old() },
			"9112 3.2: a request without Host is answered 400; net/http does that in its server",
		},
		{
			"Host is none",
			func(_ string, m *text) bool {
				// Addresses in brackets are matters of detail, and have their own cases.
				host := strings.Join(m.values("host"), " ")
				return !isHostText(host) || host[0] == '['
			},
			"9112 3.2: a Host that is none is answered 400; net/http does that, more or less, in its server",
		},
		{
			"Content-Length is there more than once",
			func(_ string, m *text) bool {
				lengths := m.values("content-length")
				return len(lengths) > 1 && len(slices.Compact(lengths)) == 1
			},
			"9112 6.3: one length for all is a repair that isn't asked for",
		},
		{
			"there are both Transfer-Encoding and Content-Length",
			func(_ string, m *text) bool { return m.has("content-length") && m.has("transfer-encoding") },
			"9112 6.3: this ought to be handled as an error",
		},
		{
			"Transfer-Encoding is there more than once",
			func(_ string, m *text) bool { return len(m.values("transfer-encoding")) > 1 && m.old() },
			"9112 6.1: the framing of HTTP/1.0 with it is faulty; net/http ignores it",
		},
		{
			"HTTP/1.0 has no Transfer-Encoding",
			func(_ string, m *text) bool { return m.has("transfer-encoding") && m.old() },
			"9112 6.1: the framing of HTTP/1.0 with it is faulty; net/http ignores it",
		},
		{
			"the expectation is not known",
			func(_ string, m *text) bool {
				return slices.ContainsFunc(m.values("expect"), func(v string) bool { return !strings.EqualFold(v, "100-continue") })
			},
			"9110 10.1.1: it may be answered 417; net/http leaves that to its server",
		},
	}...)
}

func responseDifferences() []difference {
	return append(headDifferences(), []difference{
		{
			"this is no HTTP/1.1 request",
			func(_ string, m *text) bool { return matches(`^HTTP/[02-9]\.\d `, m.line) != nil },
			"9110 2.5: other versions are not known",
		},
		{
			"the status is no number",
			func(_ string, m *text) bool { return matches(`^HTTP/\d\.\d( +| [+-]\d\d)`, m.line) != nil },
			"9112 4: one space, and three digits",
		},
		{
			"the status is none of HTTP",
			func(_ string, m *text) bool { return matches(`^HTTP/\d\.\d 0\d\d( |$)`, m.line) != nil },
			"9110 15: a status has three digits, and its first is none of nothing",
		},
		{
			"the status line has a control character",
			func(_ string, m *text) bool { return matches(`[\x00-\x08\x0a-\x1f\x7f]`, m.line) != nil },
			"9112 4: a reason is made of what values are made of",
		},
		{
			"a field that a proxy has to know is folded",
			func(_ string, m *text) bool {
				return slices.ContainsFunc(m.fields, func(f textField) bool { return f.folds && KindOf([]byte(f.name)) != Other })
			},
			"9112 5.2: an answer with a folded line may be refused",
		},
		{
			"the answer is framed in more than one way, or in one that is not known",
			func(_ string, m *text) bool {
				return m.has("transfer-encoding") && (m.has("content-length") || m.old())
			},
			"9112 6.1 and 6.3: both ought to be an error, and HTTP/1.0 has no codings",
		},
	}...)
}

// chunkDifferences are those of a chunked body; m.after is the body.
func chunkDifferences() []difference {
	return []difference{
		{
			"a chunk's size is too big",
			func(_ string, m *text) bool { return matches(`(?i)(^|\n)[0-9a-f]{16}`, m.after) != nil },
			"sizes fit in 63 bits; net/http takes 64",
		},
		{
			"a chunk's size is followed by a blank",
			func(_ string, m *text) bool { return matches(`(?i)[0-9a-f][ \t]+\r\n`, m.after) != nil },
			"9112 7.1: nothing says that there may be blanks; net/http removes them",
		},
		{
			"a chunk's extension has a control character",
			func(_ string, m *text) bool {
				return matches(`;[^\n]*[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]`, m.after) != nil
			},
			"9112 7.1.1: nothing says that an extension may have them",
		},
		{
			"the extensions of the chunks are too long",
			func(_ string, m *text) bool { return len(m.after) > maxExtensions },
			"net/http counts a line when it has ended, with the data that makes up for it; here that is too late, since a line has no bound of its own",
		},
	}
}

// trailerDifferences are those of a trailer section, which is taken apart as fields.
func trailerDifferences() []difference {
	return append(headDifferences(), []difference{
		{
			"a line of the head begins with a blank",
			func(_ string, m *text) bool {
				return slices.ContainsFunc(m.fields, func(f textField) bool { return f.folds })
			},
			"9112 5.2: folded lines; nobody needs them here",
		},
		{
			"Content-Length is no number",
			func(_ string, m *text) bool { return m.has("content-length") },
			"9110 6.5.1: framing has no place in a trailer section",
		},
		{
			"there are two lengths",
			func(_ string, m *text) bool { return len(m.values("content-length")) > 1 },
			"9110 6.5.1: framing has no place in a trailer section",
		},
	}...)
}

// A laxity is that net/http refuses, with an error, what this package accepts.
type laxity struct {
	refused string // a part of the error
	is      func(m *text) bool
	why     string
}

func laxities() []laxity {
	return []laxity{
		{
			"bad trailer key",
			func(m *text) bool {
				return matches(`(?i)\b(transfer-encoding|trailer|content-length)\b`, strings.Join(m.values("trailer"), ",")) != nil
			},
			"9110 6.6.2: what Trailer announces is a hint; such fields in the trailer section mean nothing",
		},
		{
			"invalid URL escape",
			func(m *text) bool {
				authority, _ := m.authority()
				return strings.Contains(authority, "%")
			},
			"3986 3.2.2: a name may have escapes, also of ASCII",
		},
		{
			"cannot contain multiple Content-Length",
			func(m *text) bool {
				lengths := m.values("content-length")
				for i := range lengths {
					lengths[i] = strings.TrimLeft(lengths[i], "0")
				}
				return strings.HasPrefix(m.line, "HTTP/") && len(slices.Compact(lengths)) == 1
			},
			"9112 6.3: the same number, written in two ways",
		},
		{
			"invalid byte in chunk length",
			func(m *text) bool { return matches(`(?i)[0-9a-f][ \t]+;`, m.after) != nil },
			"9112 7.1.1: a recipient takes blanks before an extension",
		},
		{
			"header line too long",
			func(m *text) bool { return matches(`;[^\n]{1000}`, m.after) != nil },
			"extensions may be as long as maxExtensions says",
		},
	}
}

// A view is what a reader makes of what follows a head.
type view struct {
	// body is the body decoded, also of one that isn't whole.
	body string
	// whole is set when the body is.
	whole   bool
	trailer string
	// rest is what follows the message.
	rest string
}

func describeHeader(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if len(h[name]) > 0 {
			fmt.Fprintf(&b, "%s=%q ", name, h[name])
		}
	}
	return b.String()
}

// headerOf makes a header of the fields, and of the blanks in a value one space.
func headerOf(h *Head) http.Header {
	header := http.Header{}
	for i := range h.Fields {
		f := &h.Fields[i]
		name := http.CanonicalHeaderKey(string(h.Name(f)))
		header[name] = append(header[name], string(h.Value(f)))
	}
	return squeeze(header)
}

// headerLikeTheirs makes of a head what net/http does.
func headerLikeTheirs(h *Head, chunked bool) http.Header {
	header := headerOf(h)
	if pragma := header["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && header["Cache-Control"] == nil {
		header["Cache-Control"] = []string{"no-cache"}
	}
	delete(header, "Transfer-Encoding")
	if chunked {
		delete(header, "Trailer")
	}
	return header
}

// squeeze makes one space of the blanks in values: of a fold, each reader makes as many
// as it likes.
func squeeze(header http.Header) http.Header {
	for _, values := range header {
		for i, v := range values {
			values[i] = strings.Join(strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == '\t' }), " ")
		}
	}
	return header
}

// ours completes a view with what this package reads of a body. It returns what comes
// after the last chunk, if there is one.
func (v *view) ours(framing Framing, length int64, in []byte) (trailer *string, err error) {
	switch framing {
	case NoBody:
		v.rest, v.whole = string(in), true
		return nil, nil
	case Sized:
		n := int(min(length, int64(len(in))))
		v.body, v.rest, v.whole = string(in[:n]), string(in[n:]), int64(n) == length
		return nil, nil
	case UntilClose:
		v.body, v.whole = string(in), true
		return nil, nil
	}
	var c Chunked
	in = bytes.Clone(in)
	kept, used, err := c.Filter(in, false)
	v.body = string(in[:kept])
	if err != nil || !c.Done() {
		return nil, err
	}
	in = in[used:]
	after := string(in)
	n, err := EndOfHead(in, 0)
	if err != nil || n == 0 {
		return &after, err
	}
	var h Head
	if err := h.ParseTrailer(in[:n]); err != nil {
		return &after, err
	}
	v.trailer, v.rest, v.whole = describeHeader(headerOf(&h)), string(in[n:]), true
	return &after, nil
}

// theirs completes a view with what net/http reads of a body.
func (v *view) theirs(body io.ReadCloser, br *bufio.Reader, trailer *http.Header) error {
	data, err := io.ReadAll(body)
	v.body = string(data)
	if err != nil {
		return err
	}
	v.whole = true
	v.trailer = describeHeader(squeeze(maps.Clone(*trailer)))
	rest, err := io.ReadAll(br)
	v.rest = string(rest)
	return err
}

// judge holds the two readers' results of one part of a message against each other. It
// reports whether both have accepted it, and else why not, when only one has.
func judge(t testing.TB, in string, ours, theirs error, refuses func(reason string) (why string)) (both bool, why string) {
	t.Helper()
	switch {
	case ours == nil && theirs == nil:
		return true, ""
	case ours == nil:
		m := readText(in)
		for _, l := range laxities() {
			if strings.Contains(theirs.Error(), l.refused) && l.is(&m) {
				return false, l.why
			}
		}
		t.Fatalf("%q is accepted, but net/http says: %v", in, theirs)
	case theirs == nil:
		var e *Error
		if !errors.As(ours, &e) {
			t.Fatalf("%q is refused with %T %v", in, ours, ours)
		}
		if why = refuses(e.Reason); why == "" {
			t.Fatalf("%q is refused: %v; net/http accepts it", in, ours)
		}
	}
	return false, why
}

// refuses returns why a message is refused with a reason, if that is one of the
// differences.
func refuses(in string, differences []difference) func(reason string) (why string) {
	return func(reason string) string {
		m := readText(in)
		for _, d := range differences {
			if d.reason == reason && d.is(in, &m) {
				return d.why
			}
		}
		return ""
	}
}

// errUnfinished stands for what is there in part.
var errUnfinished = &Error{0, "there is more to come"}

// judgeBody does it for the body and what follows it, and for what they say.
func judgeBody(t testing.TB, in string, r *Head, framing Framing, length int64, body io.ReadCloser, br *bufio.Reader, trailer *http.Header) (why string) {
	t.Helper()
	var ours, theirs view
	after, err := ours.ours(framing, length, []byte(in)[len(r.Raw):])
	theirErr := theirs.theirs(body, br, trailer)
	if err == nil && !ours.whole {
		err = errUnfinished
	}
	if !strings.HasPrefix(ours.body, theirs.body) && !strings.HasPrefix(theirs.body, ours.body) {
		t.Fatalf("%q has the body %q, for net/http %q", in, ours.body, theirs.body)
	}
	allowed := refuses(in, chunkDifferences())
	if after != nil {
		// A trailer section is like a head but for the first line.
		allowed = refuses("trailer\r\n"+*after, trailerDifferences())
	}
	both, why := judge(t, in, err, theirErr, allowed)
	if both && ours != theirs {
		t.Fatalf("%q is\n%+v, for net/http\n%+v", in, ours, theirs)
	}
	return why
}

// differRequest holds the two readers of a request against each other. It returns why
// only one accepts it, if it is so.
func differRequest(t testing.TB, in string) (why string) {
	t.Helper()
	br := bufio.NewReaderSize(strings.NewReader(in), len(in)+16)
	req, theirErr := http.ReadRequest(br)

	raw := []byte(in)
	n, err := EndOfHead(raw, 0)
	var r Request
	switch {
	case err != nil:
	case n == 0:
		err = errUnfinished
	default:
		err = r.Parse(raw[:n:n])
	}
	if both, why := judge(t, in, err, theirErr, refuses(in, requestDifferences())); !both {
		return why
	}
	if got, want := ourRequest(t, &r), theirRequest(req); got != want {
		t.Fatalf("%q is\n%s, for net/http\n%s", in, got, want)
	}
	return judgeBody(t, in, &r.Head, r.Body, r.Length, req.Body, br, &req.Trailer)
}

// ourRequest describes a request as theirRequest does.
func ourRequest(t testing.TB, r *Request) string {
	t.Helper()
	header := headerLikeTheirs(&r.Head, r.Body == InChunks)
	delete(header, "Host")
	length := r.Length
	if r.Body == InChunks {
		length = -1
	}
	host, err := url.PathUnescape(string(r.Host))
	if _, found := (&text{line: string(r.Raw)}).authority(); !found {
		host = string(r.Host) // net/http decodes that in the target only
	} else if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s host %q path %q query %v %q 1.%d length %d last %v %s",
		r.Method, host, r.AppendPath(nil), r.hasQuery, r.Query, r.Minor, length, !r.Persistent, describeHeader(header))
}

func theirRequest(r *http.Request) string {
	hasQuery := r.URL.ForceQuery || r.URL.RawQuery != ""
	return fmt.Sprintf("%s host %q path %q query %v %q 1.%d length %d last %v %s",
		r.Method, r.Host, r.URL.Path, hasQuery, r.URL.RawQuery, r.ProtoMinor, r.ContentLength, r.Close, describeHeader(squeeze(r.Header)))
}

// differResponse does for an answer what differRequest does.
func differResponse(t testing.TB, in string, head bool) (why string) {
	t.Helper()
	br := bufio.NewReaderSize(strings.NewReader(in), len(in)+16)
	method := "GET"
	if head {
		method = "HEAD"
	}
	resp, theirErr := http.ReadResponse(br, &http.Request{Method: method})

	raw := []byte(in)
	n, err := EndOfHead(raw, 0)
	var r Response
	switch {
	case err != nil:
	case n == 0:
		err = errUnfinished
	default:
		err = r.Parse(raw[:n:n], head)
	}
	if both, why := judge(t, in, err, theirErr, refuses(in, responseDifferences())); !both {
		return why
	}
	if got, want := ourResponse(&r, head), theirResponse(resp); got != want {
		t.Fatalf("%q is\n%s, for net/http\n%s", in, got, want)
	}
	return judgeBody(t, in, &r.Head, r.Body, r.Length, resp.Body, br, &resp.Trailer)
}

// ourResponse describes an answer as theirResponse does.
func ourResponse(r *Response, head bool) string {
	header := headerLikeTheirs(&r.Head, r.Chunked())
	if lengths := header["Content-Length"]; len(lengths) > 1 {
		header["Content-Length"] = lengths[:1]
	}
	if r.Close && r.Minor > 0 {
		delete(header, "Connection")
	}
	length := r.Length
	if r.Body == NoBody && !head {
		// For net/http there is nothing where there may be nothing.
		length = 0
		if r.Chunked() && r.Status >= 200 && r.Status != 204 && r.Status != 304 {
			length = -1
		}
	}
	return fmt.Sprintf("%d %q 1.%d length %d last %v %s", r.Status, r.line, r.Minor, length, !r.Persistent, describeHeader(header))
}

func theirResponse(r *http.Response) string {
	return fmt.Sprintf("%d %q 1.%d length %d last %v %s", r.StatusCode, r.Status, r.ProtoMinor, r.ContentLength, r.Close, describeHeader(squeeze(r.Header)))
}

const chunkedHead = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

// requestSeeds are all requests of the tables, with heads for the bodies.
func requestSeeds() []string {
	var seeds []string
	for _, c := range requestCases() {
		seeds = append(seeds, c.in, c.in+"hello"+"GET / HTTP/1.1")
	}
	for _, c := range chunkCases() {
		seeds = append(seeds, chunkedHead+c.in, chunkedHead+c.in+"\r\n", chunkedHead+c.in+"A: b\r\n\r\n")
	}
	for _, c := range trailerCases() {
		seeds = append(seeds, chunkedHead+"5\r\nhello\r\n0\r\n"+c.in)
	}
	// Each of these extensions is short enough for net/http.
	extended := strings.Repeat("1;0123456789abc\r\nx\r\n", maxExtensions/14+1)
	for _, body := range []string{
		"0000000000000005\r\nhello\r\n0\r\n\r\n", "5;\x00\r\nhello\r\n0\r\n\r\n", extended + "0\r\n\r\n",
		"0\r\nContent-Length: x\r\n\r\n", "0\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
	} {
		seeds = append(seeds, chunkedHead+body)
	}
	return append(seeds,
		get("Pragma: no-cache"), get("Pragma: no-cache", "Cache-Control: a"), get("Trailer: a, b", "Transfer-Encoding: chunked")+"0\r\nA: 1\r\n\r\n",
		get("Trailer: Content-Length", "Transfer-Encoding: chunked")+"0\r\n\r\n", get("Trailer: a"), get("A: b", "a: c", "A:"),
		lines("CONNECT  HTTP/1.1", "Host: a"), lines("GET / HTTP/1.0", "Transfer-Encoding: a", "Transfer-Encoding: a"), get("Content-Length: 00000000000000000005"),
		lines("GET http://%41/ HTTP/1.1", "Host: a"), lines("GET http://%c3%a4/ HTTP/1.1", "Host: %c3%a4"),
	)
}

func responseSeeds() []string {
	var seeds []string
	for _, c := range append(responseCases(), toHeadCases()...) {
		seeds = append(seeds, c.in, c.in+"hello"+"HTTP/1.1 200 OK")
	}
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range chunkCases() {
		seeds = append(seeds, head+c.in+"\r\n")
	}
	for _, c := range trailerCases() {
		seeds = append(seeds, head+"5\r\nhello\r\n0\r\n"+c.in)
	}
	return seeds
}

// short leaves out the seeds from which fuzzing would make little in much time.
func short(seeds []string) []string {
	return slices.DeleteFunc(seeds, func(seed string) bool { return len(seed) > 1024 })
}

func FuzzRequestDiffersFromNetHTTP(f *testing.F) {
	for _, seed := range short(requestSeeds()) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) { differRequest(t, string(in)) })
}

func FuzzResponseDiffersFromNetHTTP(f *testing.F) {
	for _, seed := range short(responseSeeds()) {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) { differResponse(t, string(in), head) })
}

// The seeds are all alike for both, and show each difference.
func TestDifferencesAreShown(t *testing.T) {
	shown := map[string]bool{}
	for _, in := range requestSeeds() {
		shown[differRequest(t, in)] = true
	}
	for _, in := range responseSeeds() {
		shown[differResponse(t, in, false)] = true
		shown[differResponse(t, in, true)] = true
	}
	for _, l := range laxities() {
		if !shown[l.why] {
			t.Errorf("nothing shows that net/http refuses: %s", l.why)
		}
	}
	for _, differences := range [][]difference{requestDifferences(), responseDifferences(), chunkDifferences(), trailerDifferences()} {
		for _, d := range differences {
			if !shown[d.why] {
				t.Errorf("nothing shows that this package refuses: %s, %s", d.reason, d.why)
			}
		}
	}
}
