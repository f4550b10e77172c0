package h1

import (
	"bytes"
	"strings"
	"testing"
)

// browserRequest is what a browser sends.
func browserRequest() []byte {
	return []byte(lines(
		"GET /assets/app.js?v=3f2a&lang=en HTTP/1.1",
		"Host: www.example.com",
		"Connection: keep-alive",
		`sec-ch-ua: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"`,
		"sec-ch-ua-mobile: ?0",
		`sec-ch-ua-platform: "Linux"`,
		"Upgrade-Insecure-Requests: 1",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
		"Sec-Fetch-Site: same-origin",
		"Sec-Fetch-Mode: navigate",
		"Sec-Fetch-User: ?1",
		"Sec-Fetch-Dest: document",
		"Referer: https://www.example.com/",
		"Accept-Encoding: gzip, deflate, br, zstd",
		"Accept-Language: en-US,en;q=0.9,de;q=0.8",
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.1.1234567890.1234567890",
	))
}

// upload is a request of which more has to be understood.
func upload() []byte {
	return []byte(lines(
		"POST http://[2001:db8::1]:8080/a%20b?c HTTP/1.1",
		"Host: [2001:db8::1]:8080",
		"Connection: keep-alive, TE, X-A",
		"TE: trailers",
		"X-A: b",
		"X-Forwarded-For: 192.0.2.1",
		"X_Forwarded_For: 192.0.2.1",
		"Expect: 100-continue",
		"Trailer: X-Sum",
		"Transfer-Encoding: chunked",
	))
}

// answer is what a server says to a browser.
func answer() []byte {
	return []byte(lines(
		"HTTP/1.1 200 OK",
		"Date: Thu, 26 Nov 2026 08:00:00 GMT",
		"Content-Type: text/html; charset=utf-8",
		"Content-Length: 5120",
		"Cache-Control: private, max-age=0",
		"ETag: \"0123456789abcdef\"",
		"Vary: Accept-Encoding",
		"Set-Cookie: session=0123456789abcdef0123456789abcdef; Path=/; HttpOnly; Secure; SameSite=Lax",
		"Strict-Transport-Security: max-age=31536000",
		"X-Content-Type-Options: nosniff",
		"Server: example",
		"Connection: keep-alive",
	))
}

// foldedAnswer is one of which more has to be understood.
func foldedAnswer() []byte {
	return []byte(lines("HTTP/1.1 101 Switching Protocols", "Connection: upgrade, x-a", "Upgrade: websocket", "X-A: b", " c"))
}

func chunks() []byte {
	return []byte("5;a=b\r\nhello\r\n400\r\n" + strings.Repeat("x", 0x400) + "\r\n0\r\n")
}

// In a struct that has been used, nothing takes memory.
func TestAllocatesNothing(t *testing.T) {
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var request Request
	var response Response
	var trailer Head
	dst := make([]byte, 0, 1024)
	body, folded := chunks(), foldedAnswer()
	for _, c := range []struct {
		name string
		raw  []byte
		do   func(raw []byte)
	}{
		{"a browser's request", browserRequest(), func(raw []byte) { must(request.Parse(raw)) }},
		{"an upload", upload(), func(raw []byte) { must(request.Parse(raw)) }},
		{"an answer", answer(), func(raw []byte) { must(response.Parse(raw, false)) }},
		{"an answer with a folded line", folded, func(raw []byte) {
			copy(raw, folded) // reading it takes the fold out
			must(response.Parse(raw, false))
		}},
		{"the end of a head", browserRequest(), func(raw []byte) {
			if n, err := EndOfHead(raw, 100); n != len(raw) || err != nil {
				t.Fatal(n, err)
			}
		}},
		{"the trailer section", []byte(lines("X-Sum: 1", "X-B: 2")), func(raw []byte) { must(trailer.ParseTrailer(raw)) }},
		{"what is sent on", upload(), func(raw []byte) {
			must(request.Parse(raw))
			dst = request.AppendPath(request.AppendTarget(dst[:0]))
			dst, _ = request.AppendJoined(request.AppendLines(dst, KindsOf(Host, HopByHop)), ForwardedFor)
		}},
		{"values", browserRequest(), func(raw []byte) {
			must(request.Parse(raw))
			for v := range request.Values("cookie") {
				if v == "" {
					t.Fatal("no cookie")
				}
			}
			if _, found := request.Get(Host); !found {
				t.Fatal("no host")
			}
		}},
		{"chunks with their framing", body, func(raw []byte) { filterOnce(t, body, raw, true) }},
		{"chunks without it", body, func(raw []byte) { filterOnce(t, body, raw, false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := bytes.Clone(c.raw)
			if n := testing.AllocsPerRun(100, func() { c.do(raw) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func filterOnce(t testing.TB, body, raw []byte, framed bool) {
	copy(raw, body)
	var c Chunked
	if _, used, err := c.Filter(raw, framed); used != len(raw) || err != nil || !c.Done() {
		t.Fatal(used, err)
	}
}

func BenchmarkParse(b *testing.B) {
	b.Run("request", func(b *testing.B) {
		raw := browserRequest()
		var r Request
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if err := r.Parse(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("answer", func(b *testing.B) {
		raw := answer()
		var r Response
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if err := r.Parse(raw, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("end of head", func(b *testing.B) {
		raw := browserRequest()
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if _, err := EndOfHead(raw, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	for _, c := range []struct {
		name string
		body string
	}{
		{"big chunks", strings.Repeat("4000\r\n"+strings.Repeat("x", 0x4000)+"\r\n", 4) + "0\r\n"},
		{"small chunks", strings.Repeat("10\r\n0123456789abcdef\r\n", 4096) + "0\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			body := []byte(c.body)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				filterOnce(b, body, body, true)
			}
		})
	}
}
