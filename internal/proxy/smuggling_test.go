package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// smuggled is the request that attacks try to get to the upstream unseen, and marker
// the one that follows on the same connection: it has to arrive, as a request of its
// own, or the connection is closed before.
const (
	smuggled = "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"
	marker   = "GET /marker HTTP/1.1\r\nHost: web\r\n\r\n"
)

// attack is what a client sends, and what may come of it.
type attack struct {
	name, send string
	// status is that of the one answer before the connection is closed, when the request
	// is refused. 0 is for what is passed on.
	status int
	// want is what the upstream reads then: "method target host body" of each message.
	want []string
	// without is what may not be in any byte that the upstream gets.
	without string
}

// post is a POST with some fields and a body.
func post(fields, body string) string {
	return "POST /a HTTP/1.1\r\nHost: web\r\n" + fields + "\r\n" + body
}

// chunked is a POST with a body in chunks, as written.
func chunked(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }

// get is a GET with some fields.
func get(fields string) string { return "GET /a HTTP/1.1\r\nHost: web\r\n" + fields + "\r\n" }

const (
	hello      = "POST /a web hello"
	helloChunk = "5\r\nhello\r\n0\r\n\r\n"
	empty      = "GET /a web "
)

// framingAttacks are about where a request's body ends (RFC 9112 section 6).
func framingAttacks() []attack {
	all := []attack{
		{name: "6.3 CL.TE", send: post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nX"), status: 400},
		{name: "6.3 TE.CL", send: post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "28\r\n"+smuggled+"\r\n0\r\n\r\n"), status: 400},
		{name: "6.3 CL.0 and TE", send: post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", helloChunk), status: 400},
		{name: "6.1 TE in HTTP/1.0", send: "POST /a HTTP/1.0\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n" + helloChunk, status: 400},
		{name: "6.1 TE in HTTP/1.0 with keep-alive and CL", send: "POST /a HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", status: 400},
		{name: "6.3 CL of GET", send: get("Content-Length: 5\r\n") + "hello", want: []string{"GET /a web hello"}},
		{name: "6.3 TE of GET", send: get("Transfer-Encoding: chunked\r\n") + helloChunk, want: []string{"GET /a web hello"}},
		{name: "6.3 no framing and a body", send: post("", smuggled), want: []string{"POST /a web ", "GET /smuggled evil "}},
		{name: "CL.0", send: post("Content-Length: 40\r\n", smuggled+"xx"), want: []string{"POST /a web " + smuggled + "xx"}},
		{name: "7.6.1 Connection names Content-Length", send: post("Connection: Content-Length\r\nContent-Length: 40\r\n", smuggled+"xx"), want: []string{"POST /a web " + smuggled + "xx"}},
		{name: "7.6.1 Connection names Transfer-Encoding", send: post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", helloChunk), want: []string{hello}},
		{name: "7.6.1 Connection names Host", send: get("Connection: Host\r\n"), want: []string{empty}},
		{name: "7.6.1 Connection names Trailer and Expect", send: post("Connection: Trailer, Expect, TE\r\nContent-Length: 5\r\n", "hello"), want: []string{hello}},
		{name: "7.6.1 Connection names too much", send: get("Connection: " + strings.Repeat("a,", 1000) + "\r\n"), status: 400},
		{name: "Content_Length beside the real one", send: post("Content-Length: 5\r\nContent_Length: 0\r\n", "hello"), want: []string{hello}, without: "ontent_"},
		{name: "Content_Length alone", send: post("Content_Length: 38\r\n", smuggled), want: []string{"POST /a web ", "GET /smuggled evil "}, without: "ontent_"},
		{name: "Transfer_Encoding beside CL", send: post("Content-Length: 5\r\nTransfer_Encoding: chunked\r\n", "0\r\n\r\n"), want: []string{"POST /a web 0\r\n\r\n"}, without: "Transfer"},
	}
	for _, value := range []string{
		"", "+5", "-5", "0x5", "5 5", "5, 5", "5,5", "5;5", "5.0", "5e0", "\x0b5", "5\x0b", "5\x00", "\x005", "V", "5h", "\u0665",
		"\"5\"", "99999999999999999999", "9223372036854775808", "18446744073709551621", "00000000000000000000000005",
	} {
		all = append(all, attack{name: fmt.Sprintf("6.2 Content-Length %q", value), send: post("Content-Length: "+value+"\r\n", "hello"), status: 400})
	}
	for _, value := range []string{"05", "5 ", " \t 5", "5\t"} {
		all = append(all, attack{name: fmt.Sprintf("6.2 Content-Length %q", value), send: post("Content-Length: "+value+"\r\n", "hello"), want: []string{hello}})
	}
	for _, fields := range []string{
		"Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: 0\r\ncontent-length: 5\r\n",
		"Content-Length : 5\r\n", "Content-Length\t: 5\r\n", " Content-Length: 5\r\n", "Content-Length\x00: 5\r\n", "Content-Length\r: 5\r\n",
		"Content-Length\x0b: 5\r\n", "\x0bContent-Length: 5\r\n", "Content-Length 5\r\n", "Content-Length\r\n", "Content-Length:\r\n 5\r\n", "Content-Length: 5\r\n 0\r\n",
		"Content-Length: 5\n", "Content-Length: 5\r", "X: y\nContent-Length: 5\r\n", "X: y\rContent-Length: 5\r\n", "X: y\r\n\tContent-Length: 5\r\n", ": 5\r\n",
	} {
		all = append(all, attack{name: fmt.Sprintf("5.1 %q", fields), send: post(fields, "hello"), status: 400})
	}
	for value, status := range map[string]int{
		"": 400, "xchunked": 400, "chunkedx": 400, "x chunked": 400, "chunked x": 400, "identity": 400, "chunked, identity": 400, "chunked, x": 400,
		"chunked;q=1": 400, "\"chunked\"": 400, "'chunked'": 400, "\x0bchunked": 400, "chunked\x0b": 400, "chunked\x00": 400, "\x0cchunked": 400,
		"\x85chunked": 400, "\xa0chunked": 400, "chun\u212aed": 400, "gzip": 400, "\rchunked": 400, "chunked\r": 400,
		"gzip, chunked": 501, "identity, chunked": 501, "chunked, chunked": 501, ",chunked": 501, "chunked,": 501,
	} {
		all = append(all, attack{name: fmt.Sprintf("6.1 TE.TE %q", value), send: post("Transfer-Encoding: "+value+"\r\n", helloChunk), status: status})
	}
	for _, fields := range []string{"Transfer-Encoding: chunked\r\n", "transfer-encoding:CHUNKED\r\n", "Transfer-Encoding: \tchunked \t\r\n"} {
		all = append(all, attack{name: fmt.Sprintf("6.1 %q", fields), send: post(fields, helloChunk), want: []string{hello}})
	}
	for _, fields := range []string{
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding : chunked\r\n", "Transfer-Encoding\t: chunked\r\n", " Transfer-Encoding: chunked\r\n", "\tTransfer-Encoding: chunked\r\n",
		"X: y\r\n Transfer-Encoding: chunked\r\n", "Transfer-Encoding:\r\n chunked\r\n", "Transfer-Encoding: x\r\n chunked\r\n", "Transfer-Encoding\r\n: chunked\r\n",
		"X: y\nTransfer-Encoding: chunked\r\n", "X: y\rTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\n", "\x00Transfer-Encoding: chunked\r\n",
		"Transfer-Encoding\x00: chunked\r\n", "Tr\x00ansfer-Encoding: chunked\r\n", "Transfer\x20Encoding: chunked\r\n", "Transfer-Encoding\xa0: chunked\r\n",
		"\"Transfer-Encoding\": chunked\r\n", "Transfer-Encoding;: chunked\r\n", "Transfer-Encoding= chunked\r\n",
	} {
		all = append(all, attack{name: fmt.Sprintf("6.1 TE.TE %q", fields), send: post("Content-Length: 5\r\n"+fields, helloChunk), status: 400})
	}
	return all
}

// chunkAttacks are about bodies in chunks (RFC 9112 section 7.1).
func chunkAttacks() []attack {
	var all []attack
	for _, body := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "005\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n00000\r\n\r\n", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
		"5;a\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0;c\r\n\r\n", "5;a=\"b;\\\"c\"\r\nhello\r\n0\r\n\r\n", "5 ;a\r\nhello\r\n0\r\n\r\n", "5\t; a = b\r\nhello\r\n0\r\n\r\n", "5;\r\nhello\r\n0\r\n\r\n",
		"5;" + strings.Repeat("x", 10000) + "\r\nhello\r\n0\r\n\r\n",
		"0000000000005\r\nhello\r\n0\r\n\r\n",
		"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
	} {
		all = append(all, attack{name: fmt.Sprintf("7.1 %.40q", body), send: chunked(body), want: []string{hello}, without: ";"})
	}
	big := []string{"0\r\nX: " + strings.Repeat("y", 70000) + "\r\n\r\n", "0\r\n" + strings.Repeat("X: y\r\n", 12000) + "\r\n"}
	for _, body := range slices.Concat(badChunks(), big) {
		all = append(all, attack{name: fmt.Sprintf("7.1 %.40q", body), send: chunked(body), status: 400})
	}
	for _, field := range []string{
		"Content-Length: 38", "Transfer-Encoding: chunked", "Host: evil", "Connection: close", "X-Forwarded-For: evil", "X-Forwarded-Proto: evil", "Forwarded: for=evil", "X-Real-Ip: evil",
		"X-Request-Id: evil", "Trailer: X", "Upgrade: evil", "Expect: 100-continue", "TE: trailers", "Via: evil", "Proxy-Authorization: evil", "Content_Length: 3", "X_Forwarded_For: evil", "Segue-Mirror: evil",
	} {
		all = append(all, attack{name: "6.5.1 in the trailer: " + field, send: chunked("5\r\nhello\r\n0\r\n" + field + "\r\nX-Sum: 1\r\n\r\n"), want: []string{hello}, without: "\r\n0\r\n" + field[:4]})
	}
	return append(all,
		attack{name: "7.1 uppercase digits", send: chunked("A\r\n0123456789\r\n0\r\n\r\n"), want: []string{"POST /a web 0123456789"}},
		attack{name: "7.1 a request as data", send: chunked("26\r\n" + smuggled + "\r\n0\r\n\r\n"), want: []string{"POST /a web " + smuggled}},
		attack{name: "7.1.2 Connection names a field of the trailer", send: post("Connection: X-Sum\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), want: []string{hello}},
		attack{name: "2.2 an empty line behind the body", send: chunked(helloChunk + "\r\n"), want: []string{hello}},
	)
}

// badChunks are bodies that are in chunks in no reader's, or only in some readers'
// understanding.
func badChunks() []string {
	return []string{
		// The size.
		"0x5\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "\t5\r\nhello\r\n0\r\n\r\n", "\r\n5\r\nhello\r\n0\r\n\r\n",
		"\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5\t\r\nhello\r\n0\r\n\r\n", "5 5\r\nhello\r\n0\r\n\r\n", "5,\r\nhello\r\n0\r\n\r\n", "5_0\r\nhello\r\n0\r\n\r\n", "g\r\nhello\r\n0\r\n\r\n", "5h\r\nhello\r\n0\r\n\r\n",
		"5\x00\r\nhello\r\n0\r\n\r\n", "\uff15\r\nhello\r\n0\r\n\r\n", "5.0\r\nhello\r\n0\r\n\r\n",
		"10000000000000005\r\nhello\r\n0\r\n\r\n", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n", "fffffffffffffffb\r\nhello\r\n0\r\n\r\n", "8000000000000005\r\nhello\r\n0\r\n\r\n",
		"0000000000000005\r\nhello\r\n0\r\n\r\n", "-0\r\n\r\n", "+0\r\n\r\n", "0x0\r\n\r\n", "0 \r\n\r\n",
		// The ends of lines.
		"5\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\r\r\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\r\n0\n\r\n", "5\r\nhello\r\n0\r\n\n", "5\r\nhello\r\n0\r\r\n\r\n",
		"5\r\nhello\r\n0\n\n",
		// The data is longer or shorter than the size.
		"5\r\nhello!\r\n0\r\n\r\n", "5\r\nhel\r\n0\r\n\r\n", "5\r\nhello\r\n\r\n0\r\n\r\n", "4\r\nhello\r\n0\r\n\r\n",
		// Extensions: an end of line that not everybody takes for one (TERM.EXT, EXT.TERM).
		"5;\nhello\r\n0\r\n\r\n", "5;a\nhello\r\n0\r\n\r\n", "5;a\r5\r\nhello\r\n0\r\n\r\n", "5;\x00\r\nhello\r\n0\r\n\r\n", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", "5;\x7f\r\nhello\r\n0\r\n\r\n",
		"2;\nxx\r\n2a\r\n0\r\n\r\n" + smuggled + "\r\n0\r\n\r\n", "0;\n" + smuggled + "\r\n\r\n", "5;a\r\rhello\r\n0\r\n\r\n",
		"5;" + strings.Repeat("x", 20000) + "\r\nhello\r\n0\r\n\r\n", strings.Repeat("1;"+strings.Repeat("x", 30)+"\r\na\r\n", 5000) + "0\r\n\r\n",
		// Trailers.
		"0\r\nX\r\n\r\n", "0\r\nX : y\r\n\r\n", "0\r\n X: y\r\n\r\n", "0\r\nX: y\r\n z\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\nX: \x00\r\n\r\n", "0\r\nX: y\r\n\n", "0\r\n: y\r\n\r\n", "0\r\nX: y\rZ: 1\r\n\r\n",
		"0\r\nContent-Length: x\r\n\r\n", "0\r\n" + smuggled,
	}
}

// headAttacks are about request lines, fields and sizes (RFC 9112 sections 2 to 5).
func headAttacks() []attack {
	var all []attack
	for _, line := range []string{
		"GET  /a HTTP/1.1", "GET /a  HTTP/1.1", " GET /a HTTP/1.1", "\tGET /a HTTP/1.1", "GET\t/a HTTP/1.1", "GET /a\tHTTP/1.1", "GET /a HTTP/1.1 ", "GET /a HTTP/1.1\t", "GET /a HTTP/1.1\x0b",
		"GET /a\x0bHTTP/1.1", "GET\x0c/a HTTP/1.1", "GET\xa0/a HTTP/1.1", "GET /a b HTTP/1.1", "GET /a HTTP/1.1 HTTP/1.1", "GET /a HTTP/1.1, HTTP/1.1", "GET /a\x00 HTTP/1.1", "G\x00T /a HTTP/1.1", "GET\x00 /a HTTP/1.1",
		"GET /a HTTP/1.1\x00", "GET /a\x7f HTTP/1.1", "GET /a#b HTTP/1.1", "GET /%zz HTTP/1.1", "GET /% HTTP/1.1",
		"GET /a", "GET /a ", "GET", "GET ", "/a HTTP/1.1", " /a HTTP/1.1", "GET HTTP/1.1", "GET  HTTP/1.1", "GET a HTTP/1.1", "GET web:80 HTTP/1.1", "GET * HTTP/1.1", "GET *a HTTP/1.1", "OPTIONS *a HTTP/1.1",
		"GET: /a HTTP/1.1", "G(T /a HTTP/1.1", "\"GET\" /a HTTP/1.1", "GET\r /a HTTP/1.1", "GET /a\r HTTP/1.1", "GET /a HTTP/1.1\r", "GET /a\rHTTP/1.1",
		"GET /a http/1.1", "GET /a HTTP/1", "GET /a HTTP/1.", "GET /a HTTP/.1", "GET /a HTTP/1.10", "GET /a HTTP/01.1", "GET /a HTTP/1.1x", "GET /a HTTP/1,1", "GET /a HTTP /1.1", "GET /a HTTP/1 .1", "GET /a HTTP/+1.1", "GET /a HTTP1.1", "GET /a HTTPS/1.1", "GET /a ICY/1.1",
		"HTTP/1.1 200 OK",
		"GET http:///a HTTP/1.1", "GET http://user@web/a HTTP/1.1", "GET http://evil@web/a HTTP/1.1", "GET http://web:x/a HTTP/1.1", "GET http:/a HTTP/1.1", "GET http:web/a HTTP/1.1", "GET ftp://web/a HTTP/1.1", "GET file:///a HTTP/1.1",
		"GET http://we\\b/a HTTP/1.1", "GET ://web/a HTTP/1.1", "GET http://?/a HTTP/1.1", "GET http://[::1/a HTTP/1.1",
	} {
		all = append(all, attack{name: fmt.Sprintf("3 %q", line), send: line + "\r\nHost: web\r\n\r\n", status: 400})
	}
	for _, host := range []string{
		"a b", "web\tx", "web, evil", "a@b", "web/evil", "web?evil", "web#evil", "web\\evil", "web:80:90", "web:8x", "[::1", "::1", "[::1]x", "<web>", "\"web\"", "web\x00", "web\xff", "web|evil", "web^", "{web}", "`web`", "%zz",
	} {
		all = append(all, attack{name: fmt.Sprintf("3.2 Host %q", host), send: "GET /a HTTP/1.1\r\nHost: " + host + "\r\n\r\n", status: 400})
	}
	for _, fields := range []string{
		"", "Hos: web\r\n", "Host: web\r\nHost: web\r\n", "Host: web\r\nHost: evil\r\n", "Host: web\r\nhOST: evil\r\n", "Host : web\r\n", " Host: web\r\n", "Host: web\r\n Host: evil\r\n", "Host: web\r\n\tevil\r\n", "Host:\r\n web\r\n", "Host: web\r\nHost :evil\r\n",
		"X: y\r\n Host: web\r\n", "Host: web\nX: y\r\n", "Host: web\r\nX: y\n", "Host: web\r\nX: y\rZ: z\r\n", "Host: web\rX: y\r\n", "Host: web\r\r\n", "Host: web\r\n\rX: y\r\n", "Host: web\r\n \r\n", "Host: web\r\n\t\r\n",
		"Host: web\r\nX: \x00\r\n", "Host: web\r\nX: a\x01b\r\n", "Host: web\r\nX: a\x7f\r\n", "Host: web\r\nX\x00: y\r\n", "Host: web\r\nX\xff: y\r\n", "Host: web\r\nX y: z\r\n", "Host: web\r\n(X): y\r\n", "Host: web\r\nX\r\n", "Host: web\r\nX:y\r\nfoo\r\n",
		"Host: web\r\nX@: y\r\n", "Host: web\r\n: y\r\n", "Host: web\r\nX\t: y\r\n", "Host: web\r\nGET /smuggled HTTP/1.1\r\n", "Host: web\r\nX: " + "y\r\n\x00: z\r\n",
	} {
		all = append(all, attack{name: fmt.Sprintf("5 %q", fields), send: "GET /a HTTP/1.1\r\n" + fields + "\r\n", status: 400})
	}
	big := strings.Repeat("x", 70000)
	exact := get("X: " + strings.Repeat("x", 64<<10-len(get("X: \r\n"))) + "\r\n")
	return append(all,
		attack{name: "2.2 an empty line before", send: "\r\n" + get(""), want: []string{empty}},
		attack{name: "2.2 some empty lines before", send: strings.Repeat("\r\n", 8) + get(""), want: []string{empty}},
		attack{name: "2.2 LF before", send: "\n" + get(""), status: 400},
		attack{name: "2.2 CR before", send: "\r" + get(""), status: 400},
		attack{name: "2.2 CR CR LF before", send: "\r\r\n" + get(""), status: 400},
		attack{name: "2.2 a blank line before", send: " \r\n" + get(""), status: 400},
		attack{name: "2.2 LF alone everywhere", send: strings.ReplaceAll(get(""), "\r\n", "\n"), status: 400},
		attack{name: "2.2 CR alone everywhere", send: strings.ReplaceAll(get(""), "\r\n", "\r"), status: 400},
		attack{name: "2.2 the head ends with LF LF", send: "GET /a HTTP/1.1\r\nHost: web\n\n", status: 400},
		attack{name: "2.2 the head ends with CR LF LF", send: "GET /a HTTP/1.1\r\nHost: web\r\n\n", status: 400},
		attack{name: "2.2 NUL before", send: "\x00" + get(""), status: 400},
		attack{name: "2.2 UTF-8 byte order mark before", send: "\ufeff" + get(""), status: 400},
		attack{name: "2.2 TLS", send: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", status: 400},
		attack{name: "2.3 HTTP/0.9", send: "GET /a\r\n\r\n", status: 400},
		attack{name: "2.3 HTTP/0.9 before another", send: "GET /a\r\n", status: 400},
		attack{name: "2.3 HTTP/1.2", send: "GET /a HTTP/1.2\r\nHost: web\r\n\r\n", want: []string{empty}},
		attack{name: "2.3 HTTP/2.0", send: "GET /a HTTP/2.0\r\nHost: web\r\n\r\n", status: 505},
		attack{name: "2.3 HTTP/0.9 as a version", send: "GET /a HTTP/0.9\r\nHost: web\r\n\r\n", status: 505},
		attack{name: "3.2.2 absolute form with another Host", send: "GET http://evil/a HTTP/1.1\r\nHost: web\r\n\r\n", want: []string{"GET /a evil "}},
		attack{name: "3.2.2 absolute form without a path", send: "GET http://evil HTTP/1.1\r\nHost: web\r\n\r\n", want: []string{"GET / evil "}},
		attack{name: "3.2.2 absolute form with a query only", send: "GET http://evil?b HTTP/1.1\r\nHost: web\r\n\r\n", want: []string{"GET /?b evil "}},
		attack{name: "3.2.2 absolute form without Host", send: "GET http://evil/a HTTP/1.1\r\n\r\n", status: 400},
		attack{name: "3.2.2 absolute form with a bad Host", send: "GET http://web/a HTTP/1.1\r\nHost: a b\r\n\r\n", status: 400},
		attack{name: "3.2.2 absolute form with two Hosts", send: "GET http://web/a HTTP/1.1\r\nHost: web\r\nHost: evil\r\n\r\n", status: 400},
		attack{name: "3.2.3 authority form", send: "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", status: 501},
		attack{name: "3.2.4 asterisk form", send: "OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n", want: []string{"OPTIONS * web "}},
		attack{name: "3.2.1 two slashes", send: "GET //evil/a HTTP/1.1\r\nHost: web\r\n\r\n", want: []string{"GET //evil/a web "}},
		attack{name: "3.2 Host is empty", send: "GET /a HTTP/1.1\r\nHost:\r\n\r\n", want: []string{"GET /a  "}},
		attack{name: "3.2 HTTP/1.0 without Host", send: "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", want: []string{"GET /a  "}},
		attack{name: "3.2 HTTP/1.0 with two Hosts", send: "GET /a HTTP/1.0\r\nHost: web\r\nHost: evil\r\n\r\n", status: 400},
		attack{name: "3.2 X-Forwarded-Host", send: get("X-Forwarded-Host: evil\r\nX-Host: web\r\n"), want: []string{empty}, without: "evil"},
		attack{name: "3.2 Host with an underscore", send: get("Host_: evil\r\n"), want: []string{empty}},
		attack{name: "7.6.1 Connection names X-Forwarded-For", send: get("X-Forwarded-For: evil\r\nConnection: X-Forwarded-For, X-Forwarded-Host, X-Request-Id, Via\r\n"), want: []string{empty}, without: "evil"},
		attack{name: "underscored names of the origin", send: get("X_Forwarded_For: evil\r\nX-Forwarded_For: evil\r\nX_Real_Ip: evil\r\nX_forwarded-proto: evil\r\nSegue_Mirror: evil\r\n"), want: []string{empty}, without: "evil"},
		attack{name: "7.8 Upgrade: h2c", send: get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"), want: []string{empty}, without: "pgrade"},
		attack{name: "7.8 Upgrade with a body", send: post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", "hello"), want: []string{hello}, without: "pgrade"},
		attack{name: "7.8 Upgrade that isn't taken", send: get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), want: []string{empty}},
		attack{name: "10.1.1 Expect", send: post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"), want: []string{hello}},
		attack{name: "10.1.1 Expect with chunks", send: post("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", helloChunk), want: []string{hello}},
		attack{name: "10.1.1 Expect without a body", send: get("Expect: 100-continue\r\n"), want: []string{empty}, without: "Expect"},
		attack{name: "10.1.1 Expect of nothing", send: post("Expect: 100-continue\r\nContent-Length: 0\r\n", ""), want: []string{"POST /a web "}, without: "Expect"},
		attack{name: "10.1.1 Expect in HTTP/1.0", send: "POST /a HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", want: []string{hello}, without: "Expect"},
		attack{name: "10.1.1 Expect something else", send: post("Expect: y 100-continue\r\nContent-Length: 5\r\n", "hello"), status: 417},
		attack{name: "10.1.1 Expect two things", send: post("Expect: 100-continue, x\r\nContent-Length: 5\r\n", "hello"), status: 417},
		attack{name: "10.1.1 Expect twice", send: post("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n", "hello"), status: 417},
		attack{name: "10.1.1 Expect nothing", send: post("Expect:\r\nContent-Length: 5\r\n", "hello"), status: 417},
		attack{name: "5.2 a fold of Expect", send: post("Expect:\r\n 100-continue\r\nContent-Length: 5\r\n", "hello"), status: 400},
		attack{name: "5.4 a big field", send: get("X: " + big + "\r\n"), status: 431},
		attack{name: "5.4 a long name", send: get(big + ": x\r\n"), status: 431},
		attack{name: "5.4 a field without an end", send: "GET /a HTTP/1.1\r\nHost: web\r\nX: " + big, status: 431},
		attack{name: "5.4 many fields", send: get(strings.Repeat("X: y\r\n", 12000)), status: 431},
		attack{name: "5.4 many fields that fit", send: get(strings.Repeat("X: y\r\n", 10000)), want: []string{empty}},
		attack{name: "5.4 a head that just fits", send: exact, want: []string{empty}},
		attack{name: "5.4 a head one byte too big", send: strings.Replace(exact, "x\r\n", "xx\r\n", 1), status: 431},
		attack{name: "3 a long target", send: "GET /" + big + " HTTP/1.1\r\nHost: web\r\n\r\n", status: 431},
		attack{name: "3 a long method", send: big + " /a HTTP/1.1\r\nHost: web\r\n\r\n", status: 431},
	)
}

// TestSmuggling sends each attack and behind it another request on the same connection.
// Whatever comes of it, all of the upstream's readers read the same, and what they read
// is what the proxy has taken for requests.
func TestSmuggling(t *testing.T) {
	for _, a := range slices.Concat(framingAttacks(), chunkAttacks(), headAttacks()) {
		t.Run(a.name, func(t *testing.T) {
			t.Run("in one piece", func(t *testing.T) { a.run(t, a.send+marker) })
			t.Run("the marker later", func(t *testing.T) { a.run(t, a.send, marker) })
			if len(a.send) < 1000 {
				t.Run("byte by byte", func(t *testing.T) { a.run(t, strings.Split(a.send+marker, "")...) })
			}
		})
	}
}

func (a attack) run(t *testing.T, pieces ...string) {
	rec := record(t)
	p := start(t, Config{}, web(rel("r1", 100, rec.Upstream)))
	conn, r := p.raw("")
	for _, piece := range pieces {
		if _, err := io.WriteString(conn, piece); err != nil {
			break // it was refused, and the connection is closed
		}
		p.taken()
	}
	conn.(*net.TCPConn).CloseWrite()
	want := append(a.want, "GET /marker web ")
	if a.status != 0 {
		want = nil
	}
	// What the client gets.
	for _, request := range want {
		resp, err := readAnswer(r, request)
		if err != nil {
			t.Fatalf("no answer to %q: %v", request, err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || !strings.HasPrefix(request, string(body)+" ") {
			t.Fatalf("the answer to %q is %d %q, %v", request, resp.StatusCode, body, err)
		}
	}
	if a.status != 0 {
		resp, err := readAnswer(r, "")
		if err != nil {
			t.Fatalf("it isn't refused: %v", err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != a.status || !resp.Close {
			t.Errorf("it is answered %d, want %d (%v); the connection closes: %v", resp.StatusCode, a.status, err, resp.Close)
		}
	}
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
		t.Errorf("the client gets %q and %v after all answers", rest, err)
	}
	conn.Close()
	// What the upstream gets.
	p.settle()
	p.stop()
	rec.wait(t)
	var got []string
	for _, bytes := range rec.conns() {
		if a.without != "" && strings.Contains(bytes, a.without) {
			t.Errorf("the upstream gets %q, which has %q", bytes, a.without)
		}
		messages, rest := readings(t, bytes)
		got = append(got, messages...)
		if len(rest) > 0 && (a.status == 0 || !truncatedRequest(rest)) {
			t.Errorf("the upstream gets a part of a message: %q", rest)
		}
		if a.status != 0 && strings.Contains(rest, "/marker") {
			t.Errorf("the upstream gets the marker in %q", rest)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the upstream reads %q, want %q", got, want)
	}
}

// readAnswer reads the final answer to a request that begins with its method.
func readAnswer(r *bufio.Reader, request string) (*http.Response, error) {
	method, _, _ := strings.Cut(request, " ")
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil || resp.StatusCode >= 200 {
			return resp, err
		}
	}
}

// taken waits a moment for the loops to read what has come on the connections. It makes
// a cut of the bytes likely to be one for the proxy, and nothing depends on it.
func (r *running) taken() {
	for range 200 {
		if r.unread() == 0 {
			return
		}
		runtime.Gosched()
	}
}

// unread is how many bytes wait to be read by the loops.
func (r *running) unread() (n int) {
	for _, l := range r.loops {
		l.mu.Lock()
		for _, s := range l.slots.list {
			if s.socket != nil {
				waiting, _ := unix.IoctlGetInt(s.socket.fd, unix.TIOCINQ)
				n += waiting
			}
		}
		l.mu.Unlock()
	}
	return n
}

// recorder is an upstream that keeps every byte that it gets, and answers each request
// that net/http reads in them with its method and target.
type recorder struct {
	*fake
	mu    sync.Mutex
	bytes map[int64][]byte
	// ended counts the connections that have ended, peers has the addresses of their
	// peers, and changed tells of both.
	ended   int64
	peers   map[string]bool
	changed *sync.Cond
}

func record(t *testing.T) *recorder {
	rec := &recorder{bytes: map[int64][]byte{}, peers: map[string]bool{}}
	rec.changed = sync.NewCond(&rec.mu)
	rec.fake = faked(t, func(n int64, c *fakeConn) {
		defer func() {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			rec.ended++
			rec.peers[c.RemoteAddr().String()] = true
			rec.changed.Broadcast()
		}()
		var read int // how many bytes are read as requests
		asked := false
		buffer := make([]byte, 64<<10)
		for {
			got, err := c.r.Read(buffer)
			rec.mu.Lock()
			rec.bytes[n] = append(rec.bytes[n], buffer[:got]...)
			all := rec.bytes[n]
			rec.mu.Unlock()
			if err != nil {
				return
			}
			for read < len(all) {
				req, _, used, err := netReading(all[read:])
				if req != nil && req.Header.Get("Expect") != "" && !asked {
					c.say("HTTP/1.1 100 Continue\r\n\r\n")
					asked = true
				}
				if err != nil {
					break // more is to come, or nothing that can be read
				}
				read += used
				asked = false
				text := req.Method + " " + req.RequestURI
				if req.Method == http.MethodHead {
					c.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(text)))
				} else {
					c.say(ok(text))
				}
			}
		}
	})
	return rec
}

// wait waits until all connections have ended, also those that weren't accepted yet: one
// that comes behind them has ended, too.
func (rec *recorder) wait(t *testing.T) {
	last, err := net.Dial("tcp", rec.Target.Address)
	if err != nil {
		t.Fatal(err)
	}
	last.Close()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for !rec.peers[last.LocalAddr().String()] || rec.ended < rec.fake.conns.Load() {
		rec.changed.Wait()
	}
}

// conns returns the bytes of each connection, in the order in which they came.
func (rec *recorder) conns() (all []string) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for n := range rec.fake.conns.Load() {
		all = append(all, string(rec.bytes[n+1]))
	}
	return all
}

// readings reads the messages in all bytes of a connection, with net/http and with h1,
// which have to read the same. rest is what is no whole message.
func readings(t *testing.T, all string) (messages []string, rest string) {
	t.Helper()
	for len(all) > 0 {
		req, body, used, err := netReading([]byte(all))
		strict, strictUsed, strictErr := strictReading([]byte(all))
		if (err == nil) != (strictErr == nil) {
			t.Errorf("net/http reads %v, h1 %v, in %q", err, strictErr, all)
		}
		if err != nil || strictErr != nil {
			return messages, all
		}
		if loose := describe(req, body); loose != strict || used != strictUsed {
			t.Errorf("net/http reads\n%s\nand h1\n%s", loose, strict)
		}
		messages = append(messages, fmt.Sprintf("%s %s %s %s", req.Method, req.RequestURI, req.Host, body))
		all = all[used:]
	}
	return messages, ""
}

// truncatedRequest reports whether bytes are the beginning of a request that a reader
// can't take for a whole one: its head is whole, and its body is missed.
func truncatedRequest(b string) bool {
	_, _, _, err := netReading([]byte(b))
	_, _, strictErr := strictReading([]byte(b))
	missed := errors.Is(err, io.ErrUnexpectedEOF) || (err != nil && err.Error() == "http: unexpected EOF reading trailer")
	return missed && errors.Is(strictErr, io.ErrUnexpectedEOF)
}

// netReading reads a request and its body with net/http.
func netReading(b []byte) (req *http.Request, body string, used int, err error) {
	reader := bytes.NewReader(b)
	buffered := bufio.NewReader(reader)
	if req, err = http.ReadRequest(buffered); err != nil {
		return nil, "", 0, err
	}
	all, err := io.ReadAll(req.Body)
	return req, string(all), len(b) - reader.Len() - buffered.Buffered(), err
}

// strictReading reads a request and its body with h1, and describes it as describe does.
func strictReading(b []byte) (text string, used int, err error) {
	b = bytes.Clone(b)
	n, err := h1.EndOfHead(b, 0)
	if err != nil || n == 0 {
		return "", 0, errors.Join(err, io.ErrUnexpectedEOF)
	}
	var r, trailer h1.Request
	if err := r.Parse(b[:n]); err != nil {
		return "", 0, err
	}
	rest := b[n:]
	var body []byte
	switch r.Body {
	case h1.Sized:
		if int64(len(rest)) < r.Length {
			return "", 0, io.ErrUnexpectedEOF
		}
		body, rest = rest[:r.Length], rest[r.Length:]
	case h1.InChunks:
		var c h1.Chunked
		kept, used, err := c.Filter(rest, false)
		if err != nil {
			return "", 0, err
		}
		body, rest = rest[:kept], rest[used:]
		end, err := h1.EndOfHead(rest, 0)
		if err != nil || end == 0 || !c.Done() {
			return "", 0, errors.Join(err, io.ErrUnexpectedEOF)
		}
		if err := trailer.ParseTrailer(rest[:end]); err != nil {
			return "", 0, err
		}
		rest = rest[end:]
	}
	length := r.Length
	if r.Body == h1.InChunks {
		length = -1
	}
	var lines []string
	for _, h := range []*h1.Head{&r.Head, &trailer.Head} {
		for i := range h.Fields {
			f := &h.Fields[i]
			switch f.Kind {
			case h1.Host, h1.TransferEncoding, h1.Trailer:
			default:
				lines = append(lines, fieldLine(string(h.Name(f)), string(h.Value(f))))
			}
		}
	}
	return describeParts(string(r.Method), string(r.AppendTarget(nil)), string(r.Host), length, string(body), lines), len(b) - len(rest), nil
}

// describe says all that net/http has read of a request.
func describe(req *http.Request, body string) string {
	var lines []string
	for _, h := range []http.Header{req.Header, req.Trailer} {
		for name, values := range h {
			for _, v := range values {
				lines = append(lines, fieldLine(name, v))
			}
		}
	}
	return describeParts(req.Method, req.RequestURI, req.Host, req.ContentLength, body, lines)
}

func fieldLine(name, value string) string {
	return strings.ToLower(name) + ": " + strings.Trim(value, " \t")
}

func describeParts(method, target, host string, length int64, body string, lines []string) string {
	slices.Sort(lines)
	return fmt.Sprintf("%s %s to %s, length %d, body %q, fields %q", method, target, host, length, body, lines)
}

// trick is an answer of an upstream, and what the client gets for it.
type trick struct {
	name, answer string
	// head is set when the request is HEAD.
	head bool
	// want is the status and the body; "502" is an answer of the proxy, "cut" a
	// connection that breaks off before there is a whole answer.
	want string
	// extra is set when there is more than an answer. It is told from the next one's
	// answer as long as it comes before the next request goes out.
	extra bool
	// without is what may not be in any byte that the client gets.
	without string
}

// answered is an answer with some fields and a body.
func answerWith(fields, body string) string { return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" + body }

func tricks() []trick {
	sized := answerWith("Content-Length: 5\r\n", "hello")
	poison := ok("poison")
	all := []trick{
		{name: "6.3 the same length twice", answer: answerWith("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), want: "200 hello"},
		{name: "6.3 two lengths", answer: answerWith("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), want: "502"},
		{name: "6.3 two lengths in other cases", answer: answerWith("content-length: 5\r\nCONTENT-LENGTH: 50\r\n", "hello"), want: "502"},
		{name: "6.3 CL and TE", answer: answerWith("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", helloChunk), want: "502"},
		{name: "6.3 TE and CL", answer: answerWith("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", helloChunk), want: "502"},
		{name: "6.1 TE in HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + helloChunk, want: "502"},
		{name: "6.3 length names itself", answer: answerWith("Connection: Content-Length\r\nContent-Length: 5\r\n", "hello"), want: "200 hello"},
		{name: "6.3 Content_Length", answer: answerWith("Content-Length: 5\r\nContent_Length: 0\r\nTransfer_Encoding: chunked\r\n", "hello"), want: "200 hello", without: "_"},
		{name: "6.3 shorter than its length", answer: answerWith("Content-Length: 50\r\n", "hello"), want: "cut"},
		{name: "6.3 until the connection ends", answer: answerWith("", "hello"), want: "200 hello"},
		{name: "6.3 until the connection ends, with what looks like an answer", answer: answerWith("Connection: close\r\n", sized), want: "200 " + sized},
		{name: "6.3 until the connection ends, with what looks like a last chunk", answer: answerWith("", helloChunk), want: "200 " + helloChunk},
		{name: "6.3 HTTP/1.0 with keep-alive and no length", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello", want: "200 hello"},
		{name: "6.3 HTTP/1.0 with keep-alive and more", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello" + poison, want: "200 hello", extra: true},
		{name: "9.2 another answer behind a length", answer: sized + poison, want: "200 hello", extra: true},
		{name: "9.2 another answer behind chunks", answer: answerWith("Transfer-Encoding: chunked\r\n", helloChunk) + poison, want: "200 hello", extra: true},
		{name: "9.2 another answer behind a trailer", answer: answerWith("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n") + poison, want: "200 hello", extra: true},
		{name: "9.2 another answer behind an empty one", answer: answerWith("Content-Length: 0\r\n", poison), want: "200 ", extra: true},
		{name: "9.2 a byte behind the answer", answer: sized + "!", want: "200 hello", extra: true},
		{name: "9.2 an empty line behind the answer", answer: sized + "\r\n", want: "200 hello", extra: true},
		{name: "9.2 much behind the answer", answer: sized + strings.Repeat(poison, 10000), want: "200 hello", extra: true},
		{name: "6.3 204 with a length", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", want: "204 ", without: "Content-Length: 5"},
		{name: "6.3 204 with a body", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", want: "204 ", extra: true, without: "hello"},
		{name: "6.3 204 with chunks", answer: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n" + helloChunk, want: "204 ", extra: true, without: "hello"},
		{name: "6.3 304 with a length", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", want: "304 "},
		{name: "6.3 304 with an answer as its body", answer: fmt.Sprintf("HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n%s", len(poison), poison), want: "304 ", extra: true, without: "poison"},
		{name: "6.3 205 with a body", answer: "HTTP/1.1 205 Reset Content\r\nContent-Length: 5\r\n\r\nhello", want: "205 hello"},
		{name: "6.3 HEAD with a length", head: true, answer: answerWith("Content-Length: 5\r\n", ""), want: "200 "},
		{name: "6.3 HEAD with a body", head: true, answer: sized, want: "200 ", extra: true, without: "hello"},
		{name: "6.3 HEAD with chunked", head: true, answer: answerWith("Transfer-Encoding: chunked\r\n", ""), want: "200 "},
		{name: "6.3 HEAD with chunks", head: true, answer: answerWith("Transfer-Encoding: chunked\r\n", helloChunk), want: "200 ", extra: true, without: "hello"},
		{name: "6.3 HEAD with another answer", head: true, answer: answerWith("Content-Length: 5\r\n", poison), want: "200 ", extra: true, without: "poison"},
		{name: "6.3 HEAD with two lengths", head: true, answer: answerWith("Content-Length: 5\r\nContent-Length: 6\r\n", ""), want: "502"},
		{name: "15.2 103 with a body", answer: "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello" + sized, want: "502"},
		{name: "15.2 103 with an answer as its body", answer: fmt.Sprintf("HTTP/1.1 103 Early Hints\r\nContent-Length: %d\r\n\r\n%s%s", len(poison), poison, sized), want: "200 poison", extra: true},
		{name: "15.2 103 before", answer: "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + sized, want: "200 hello"},
		{name: "15.2 many 103", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 5000) + sized, want: "200 hello"},
		{name: "15.2 many 100", answer: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20000) + sized, want: "200 hello", without: "Continue"},
		{name: "15.2 100 and nothing", answer: "HTTP/1.1 100 Continue\r\n\r\n", want: "502"},
		{name: "15.2 102 and half a head", answer: "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n", want: "502"},
		{name: "15.2.2 101 that nobody asked for", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", want: "502"},
		{name: "15.2.2 101 to h2c", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", want: "502"},
		{name: "15.2.2 101 without a protocol", answer: "HTTP/1.1 101 Switching Protocols\r\n\r\n" + sized, want: "502"},
		{name: "4 no reason", answer: "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", want: "200 hello"},
		{name: "4 an empty reason", answer: "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", want: "200 hello"},
		{name: "4 a reason beyond ASCII", answer: "HTTP/1.1 200 Schön\tgut\r\nContent-Length: 5\r\n\r\nhello", want: "200 hello"},
		{name: "4 a status that nobody knows", answer: "HTTP/1.1 999 Odd\r\nContent-Length: 5\r\n\r\nhello", want: "999 hello"},
		{name: "4 HTTP/1.2", answer: "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello", want: "200 hello"},
		{name: "5.2 a fold", answer: answerWith("X: a\r\n b\r\nContent-Length: 5\r\n", "hello"), want: "200 hello"},
		{name: "5.2 a fold with what looks like a field", answer: answerWith("X: a\r\n Set-Cookie: evil\r\nContent-Length: 5\r\n", "hello"), want: "200 hello", without: "\nSet-Cookie"},
		{name: "5 a value beyond ASCII", answer: answerWith("X: \xe4\xff\r\nContent-Length: 5\r\n", "hello"), want: "200 hello"},
		{name: "5.4 a head that is too big", answer: answerWith("X: "+strings.Repeat("x", 2<<20)+"\r\nContent-Length: 5\r\n", "hello"), want: "502"},
		{name: "5.4 a head with too many fields", answer: answerWith(strings.Repeat("X: y\r\n", 200000)+"Content-Length: 5\r\n", "hello"), want: "502"},
		{name: "5.4 a head without an end", answer: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 200000), want: "502"},
		{name: "5.4 a big head", answer: answerWith(strings.Repeat("X: y\r\n", 100000)+"Content-Length: 5\r\n", "hello"), want: "200 hello"},
		{name: "7.1 a trailer that is too big", answer: answerWith("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"+strings.Repeat("X: y\r\n", 200000)+"\r\n"), want: "cut"},
		{name: "7.1 no last chunk", answer: answerWith("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"), want: "cut"},
		{name: "7.1 no end of the trailer", answer: answerWith("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"), want: "cut"},
		{name: "7.1 extensions", answer: answerWith("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0 ;c=\"d;\"\r\n\r\n"), want: "200 hello", without: ";"},
		{name: "7.1 leading zeros", answer: answerWith("Transfer-Encoding: chunked\r\n", "0005\r\nhello\r\n000\r\n\r\n"), want: "200 hello"},
		{name: "7.1 an answer as data", answer: answerWith("Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(poison), poison)), want: "200 " + poison},
		{name: "6.5.1 a length in the trailer", answer: answerWith("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nContent-Length: 3\r\nSet-Cookie: x\r\nConnection: close\r\nVia: evil\r\n\r\n"), want: "200 hello", without: "Content-Length: 3"},
		{name: "7.6.1 fields that Connection names", answer: answerWith("Connection: X-Evil\r\nX-Evil: evil\r\nKeep-Alive: evil\r\nContent-Length: 5\r\n", "hello"), want: "200 hello", without: "evil"},
		{name: "2.2 an empty line before", answer: "\r\n" + sized, want: "502"},
		{name: "2.2 a request", answer: smuggled, want: "502"},
		{name: "2.2 nothing but a line", answer: "\r\n", want: "502"},
		{name: "2.3 HTTP/0.9", answer: "<html>hello</html>", want: "502"},
	}
	for _, line := range []string{
		"HTTP/1.1  200 OK", " HTTP/1.1 200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1 200\tOK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 -20 OK", "HTTP/1.1 099 OK", "HTTP/1.1 000 OK", "HTTP/1.1 OK", "HTTP/1.1",
		"HTTP/2 200 OK", "HTTP/2.0 200 OK", "HTTP/0.9 200 OK", "HTTP/1.10 200 OK", "HTTP/1 200 OK", "http/1.1 200 OK", "ICY 200 OK", "HTTPS/1.1 200 OK", "HTTP/1.1200 OK", "\x00HTTP/1.1 200 OK",
		"HTTP/1.1 200 OK\x00", "HTTP/1.1 200 OK\rX: evil", "HTTP/1.1 200 OK\nX: evil", "HTTP/1.1 200 OK\r", "HTTP/1.1 200 \x7f", "HTTP/1.1 200 O\x1bK",
	} {
		all = append(all, trick{name: fmt.Sprintf("4 %q", line), answer: line + "\r\nContent-Length: 5\r\n\r\nhello", want: "502", without: "evil"})
	}
	for _, value := range []string{"", "5, 5", "5,5", "5, 6", "+5", "-5", "-1", "0x5", "5 5", "5.0", "5;", "\x0b5", "5\x00", "99999999999999999999", "9223372036854775808", "18446744073709551621", "hello"} {
		all = append(all, trick{name: fmt.Sprintf("6.2 Content-Length %q", value), answer: answerWith("Content-Length: "+value+"\r\n", "hello"), want: "502"})
	}
	for _, value := range []string{"", "identity", "xchunked", "gzip", "gzip, chunked", "chunked, chunked", "chunked, identity", "\"chunked\"", "\x0bchunked", "chunked\x00", "chunked;q=1", "chunked\r\nTransfer-Encoding: chunked", "x\r\nTransfer-Encoding: chunked"} {
		all = append(all, trick{name: fmt.Sprintf("6.1 Transfer-Encoding %q", value), answer: answerWith("Transfer-Encoding: "+value+"\r\n", helloChunk), want: "502"})
	}
	for _, fields := range []string{
		"X: a\rSet-Cookie: evil\r\n", "X: a\nSet-Cookie: evil\r\n", "X: a\r\n\nSet-Cookie: evil\r\n", "X: a\r\rSet-Cookie: evil\r\n", "X: a\x00\r\nY: evil\r\n", "X: a\x7fevil\r\n", "X\r\nY: evil\r\n", "X : evil\r\n", " X: evil\r\n", ": evil\r\n", "X y: evil\r\n", "X\x00: evil\r\n",
		"X\xe4: evil\r\n", "Transfer-Encoding : chunked\r\n", "Content-Length : 3\r\n", "Content-Length:\r\n 3\r\n", "Connection: close\r\n evil\r\n", "X: y\r\n\x00evil\r\n", "Location: /\r\n\r evil\r\n",
	} {
		all = append(all, trick{name: fmt.Sprintf("5 %q", fields), answer: answerWith("Content-Length: 5\r\n"+fields, "hello"), want: "502", without: "evil"},
			trick{name: fmt.Sprintf("15.2 %q in a 103", fields), answer: "HTTP/1.1 103 Early Hints\r\n" + fields + "\r\n" + sized, want: "502", without: "evil"})
	}
	for _, body := range badChunks() {
		all = append(all, trick{name: fmt.Sprintf("7.1 %.40q", body), answer: answerWith("Transfer-Encoding: chunked\r\n", body), want: "cut"})
	}
	return all
}

// TestAnswersThatSpoilConnections has an upstream give each trick as an answer, and
// asks for other things then: on the same connection, and on another one. Nobody gets
// an answer that isn't to its own request.
func TestAnswersThatSpoilConnections(t *testing.T) {
	for _, k := range tricks() {
		t.Run(k.name, func(t *testing.T) {
			t.Run("in one piece", func(t *testing.T) { k.run(t, false, false) })
			t.Run("pipelined", func(t *testing.T) { k.run(t, false, true) })
			if len(k.answer) < 1000 && !k.extra {
				t.Run("byte by byte", func(t *testing.T) { k.run(t, true, false) })
			}
		})
	}
}

func (k trick) run(t *testing.T, inBytes, pipelined bool) {
	var p *running
	asked := map[string]int{}
	var mu sync.Mutex
	up := faked(t, func(_ int64, c *fakeConn) {
		for req, _ := c.request(); req != nil; req, _ = c.request() {
			mu.Lock()
			asked[req.RequestURI]++
			mu.Unlock()
			if req.RequestURI != "/trick" {
				c.say(ok("to " + req.RequestURI))
				continue
			}
			if !inBytes {
				c.say(k.answer)
			}
			for i := 0; inBytes && i < len(k.answer); i++ {
				c.say(k.answer[i : i+1])
				p.taken()
			}
			if k.extra {
				// It isn't closed, and yet no good for another request.
				if req, _ := c.request(); req != nil {
					t.Errorf("%s comes on the connection of the trick", req.RequestURI)
				}
			}
			return
		}
	})
	p = start(t, Config{Loops: 1}, web(rel("r1", 100, up.Upstream)))
	var all bytes.Buffer
	conn, _ := p.raw("")
	r := bufio.NewReader(io.TeeReader(conn, &all))
	method, next := "GET", "GET /next HTTP/1.1\r\nHost: web\r\n\r\n"
	if k.head {
		method = "HEAD"
	}
	ask := method + " /trick HTTP/1.1\r\nHost: web\r\n\r\n"
	if pipelined {
		ask += next
	}
	io.WriteString(conn, ask)
	got := gotten(r, method)
	if ours := k.want == "502" && strings.HasPrefix(got, "502 "); got != k.want && !ours {
		t.Fatalf("the client gets %q, want %q", got, k.want)
	}
	if got != "cut" {
		if !pipelined {
			io.WriteString(conn, next)
		}
		if got := gotten(r, "GET"); got != "200 to /next" {
			t.Errorf("the next one gets %q", got)
		}
	}
	if k.without != "" && bytes.Contains(all.Bytes(), []byte(k.without)) {
		t.Errorf("the client gets %q, which has %q", all.Bytes(), k.without)
	}
	_, other := p.raw("GET /other HTTP/1.1\r\nHost: web\r\n\r\n")
	if got := gotten(other, "GET"); got != "200 to /other" {
		t.Errorf("another client gets %q", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if asked["/trick"] != 1 || asked["/next"] > 1 || asked["/other"] != 1 {
		t.Errorf("the upstream was asked %v", asked)
	}
}

// TestAnswersThatNobodyAskedFor: what comes on a connection that waits for a request is
// no answer to the next one.
func TestAnswersThatNobodyAskedFor(t *testing.T) {
	for _, late := range []string{ok("poison"), "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n", "x"} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(fmt.Sprintf("%s after %.20q", method, late), func(t *testing.T) {
				idle, closed := make(chan struct{}), make(chan struct{})
				up := faked(t, func(n int64, c *fakeConn) {
					for req, _ := c.request(); req != nil; req, _ = c.request() {
						c.say(ok("to " + req.RequestURI))
						if n == 1 {
							break
						}
					}
					if n == 1 {
						p := c.Conn.(*net.TCPConn)
						p.SetReadDeadline(time.Now().Add(patience))
						<-idle
						c.say(late)
						if _, err := c.r.ReadByte(); errors.Is(err, io.EOF) || isReset(err) {
							close(closed)
						}
					}
				})
				p := start(t, Config{Loops: 1}, web(rel("r1", 100, up.Upstream)))
				conn, r := p.raw("GET /first HTTP/1.1\r\nHost: web\r\n\r\n")
				if got := gotten(r, "GET"); got != "200 to /first" {
					t.Errorf("the client gets %q", got)
				}
				p.settle()
				p.withoutIdleTime()
				close(idle)
				await(t, "the upstream's connection is closed", closed)
				io.WriteString(conn, method+" /next HTTP/1.1\r\nHost: web\r\n\r\n")
				if got := gotten(r, method); got != "200 to /next" {
					t.Errorf("the client gets %q", got)
				}
			})
		}
	}
}

// TestInformationWithoutEnd: an upstream that goes on to say that there will be an answer
// has not answered.
func TestInformationWithoutEnd(t *testing.T) {
	for _, c := range []struct {
		name, head, version string
		// passed is set when the client gets them. Each is sent when it has the last one.
		passed bool
	}{
		{"100", "HTTP/1.1 100 Continue\r\n\r\n", "1.1", false},
		{"103", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "1.1", true},
		{"103 for HTTP/1.0", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "1.0", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			more := make(chan struct{}, 1)
			more <- struct{}{}
			defer close(more)
			up := faked(t, func(_ int64, conn *fakeConn) {
				conn.request()
				for err := error(nil); err == nil; _, err = io.WriteString(conn, c.head) {
					if c.passed {
						<-more
					}
				}
			})
			p := start(t, Config{ResponseHeaderTimeout: 100 * time.Millisecond}, web(rel("r1", 100, up.Upstream)))
			_, r := p.raw("GET / HTTP/" + c.version + "\r\nHost: web\r\n\r\n")
			status := 103
			for n := 0; status < 200; n++ {
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatalf("after %d informational answers: %v", n, err)
				}
				if status = resp.StatusCode; status < 200 {
					more <- struct{}{}
				}
			}
			if status != 504 {
				t.Errorf("status %d", status)
			}
			if got := p.release("r1"); got.Failed.Timeout != 1 {
				t.Errorf("counted %+v", got)
			}
		})
	}
}

// gotten reads a final answer and returns its status with its body, or "cut" when it
// isn't whole.
func gotten(r *bufio.Reader, method string) string {
	resp, err := readAnswer(r, method)
	if err != nil {
		return "cut"
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "cut"
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}
