package load

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Bodies that don't arrive as they were sent, and answers that don't arrive as
// they should.
func TestWrongContent(t *testing.T) {
	echo := func(length, sum string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("X-Release", "r1")
			w.Header().Set("X-Load-Id", r.Header.Get("X-Load-Id"))
			fmt.Fprintf(w, `{"release":"r1","load_id":%q,"length":%s,"sha256":%q}`, r.Header.Get("X-Load-Id"), length, sum)
		}
	}
	text := func(f func(id string, r *http.Request) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			id := r.Header.Get("X-Load-Id")
			w.Header().Set("X-Release", "r1")
			w.Header().Set("X-Load-Id", id)
			fmt.Fprint(w, f(id, r))
		}
	}
	constant := func(s string) http.HandlerFunc { return text(func(string, *http.Request) string { return s }) }
	for name, c := range map[string]struct {
		kind Kind
		h    http.Handler
		want string
	}{
		"a shorter body":     {Echo, echo("0", ""), "got 0 bytes of"},
		"no length":          {Echo, echo("null", ""), "got no length of"},
		"no JSON":            {Echo, constant("hello"), "not the JSON"},
		"too few bytes":      {Bytes, constant(""), "ended after 0 of"},
		"other bytes":        {Bytes, constant("\x00\x02\x00"), "byte 1 is 2, want 1"},
		"too many bytes":     {Bytes, constant("\x00\x01\x02\x03"), "goes on after 3 bytes"},
		"no end":             {Slow, text(func(id string, _ *http.Request) string { return "1 r1 " + id + "\n2" }), `ended with "2"`},
		"too soon an end":    {Slow, constant("end\n"), "0 lines, want 2"},
		"an end too many":    {Slow, text(func(id string, _ *http.Request) string { return "1 r1 " + id + "\n2 r1 " + id + "\nend\nend\n" }), "goes on"},
		"a missing piece":    {Slow, text(func(id string, _ *http.Request) string { return "2 r1 " + id + "\nend\n" }), "want \"1 r1 "},
		"a piece of another": {Slow, text(func(id string, _ *http.Request) string { return "1 r2 " + id + "\nend\n" }), "want \"1 r1 "},
	} {
		t.Run(name, func(t *testing.T) {
			g := generator(t, Config{Target: serve(t, c.h), KeepAlive: 1})
			client := g.clients(nil)[0]
			defer client.dropConn()
			r := client.next()
			for r.kind != c.kind && r.kind != Get {
				r = client.next()
			}
			switch c.kind {
			case Echo:
				client.nextEcho(r)
			case Bytes:
				r.check = func(resp *http.Response) error { return checkBytes(resp, 3) }
			case Slow:
				r.takes = 250 * time.Millisecond
				r.check = r.checkSlow
			}
			res := client.do(t.Context(), r)
			if res.outcome != Wrong || res.cause != "content" || !strings.Contains(res.err.Error(), c.want) {
				t.Errorf("%+v, want %q", res, c.want)
			}
		})
	}
}

func TestEchoOfOtherBytes(t *testing.T) {
	g := generator(t, Config{KeepAlive: 1, Mix: Mix{Echo: 1}, Target: serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Release", "r1")
		w.Header().Set("X-Load-Id", r.Header.Get("X-Load-Id"))
		fmt.Fprintf(w, `{"release":"r1","load_id":%q,"length":%d,"sha256":"0"}`, r.Header.Get("X-Load-Id"), n)
	})), MaxRequests: 10})
	r := run(t, g)
	wantAll(t, r, 10, Wrong, "content")
	if !strings.Contains(r.Failures[0].Error, "not those that were sent") {
		t.Errorf("%s", r)
	}
}
