package h1

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// cutsAt are the places at which a message of this length is cut, in order.
func cutsAt(length int, at ...uint16) []int {
	cuts := make([]int, len(at))
	for i := range at {
		cuts[i] = int(at[i]) % (length + 1)
	}
	slices.Sort(cuts)
	return cuts
}

// endOfHeadText is EndOfHead as the RFC says it: the head ends with the first empty
// line, and there is no bare LF in it.
func endOfHeadText(in string) (int, bool) {
	n := 0
	for {
		line, _, found := strings.Cut(in[n:], "\n")
		if !found {
			return 0, true
		}
		if !strings.HasSuffix(line, "\r") {
			return 0, false
		}
		n += len(line) + 1
		if line == "\r" {
			return n, true
		}
	}
}

func FuzzEndOfHead(f *testing.F) {
	for _, seed := range short(append(requestSeeds(), "\r\n", "\n", "")) {
		f.Add([]byte(seed), uint16(5), uint16(20))
	}
	f.Fuzz(func(t *testing.T, in []byte, first, second uint16) {
		n, err := EndOfHead(in, 0)
		if want, ok := endOfHeadText(string(in)); n != want || (err == nil) != ok {
			t.Fatalf("%q ends at %d %v, want %d %v", in, n, err, want, ok)
		}
		cuts := cutsAt(len(in), first, second)
		if got, gotErr := endOfHead(in, cuts...); got != n || fmt.Sprint(gotErr) != fmt.Sprint(err) {
			t.Fatalf("%q ends at %d %v, and cut at %v at %d %v", in, n, err, cuts, got, gotErr)
		}
		// Whatever follows changes nothing.
		if n > 0 {
			if got, gotErr := EndOfHead(in[:n:n], 0); got != n || gotErr != nil {
				t.Fatalf("%q ends at %d %v without what follows, want %d", in, got, gotErr, n)
			}
		}
	})
}

func FuzzChunked(f *testing.F) {
	for _, c := range chunkCases() {
		if len(c.in) <= 1024 {
			f.Add([]byte(c.in), uint16(3), uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, first, second uint16) {
		body := string(in)
		var whole, framing Chunked
		data, end, err := filter(&whole, body, false)
		framed, framedEnd, _ := filter(&framing, body, true)
		if framedEnd != end {
			t.Fatalf("%q ends with %s, framed with %s", body, end, framedEnd)
		}
		if err != nil {
			refused(t, err)
		}
		cuts := cutsAt(len(body), first, second)
		for _, keep := range []bool{false, true} {
			var pieces Chunked
			out, outEnd, _ := filter(&pieces, body, keep, cuts...)
			if want := map[bool]string{false: data, true: framed}[keep]; out != want || outEnd != end {
				t.Fatalf("%q cut at %v: %q, %s; at once %q, %s", body, cuts, out, outEnd, want, end)
			}
			if pieces.Data() != whole.Data() || pieces.Done() != whole.Done() {
				t.Fatalf("%q cut at %v: %d bytes of data, %d at once", body, cuts, pieces.Data(), whole.Data())
			}
		}
		checkFramed(t, framed, data, &whole)
		if !whole.Done() {
			return
		}
		differRequest(t, chunkedHead+framed+"\r\n")
		differRequest(t, chunkedHead+body)
	})
}

// checkFramed holds what is passed on of a body: nothing is left to be removed, and it
// has the same data.
func checkFramed(t *testing.T, framed, data string, whole *Chunked) {
	t.Helper()
	want := "unfinished"
	if whole.Done() {
		want = "rest "
	}
	var again, bare Chunked
	out, end, err := filter(&again, framed, true)
	if out != framed || end != want || err != nil || again.Data() != whole.Data() {
		t.Fatalf("%q is passed on as %q, %s", framed, out, end)
	}
	if out, end, err := filter(&bare, framed, false); out != data || end != want || err != nil {
		t.Fatalf("%q has the data %q, %s; want %q", framed, out, end, data)
	}
	if again.extensions != 0 {
		t.Fatalf("%q has extensions", framed)
	}
}

// checkInside holds that a piece of a head lies in it.
func checkInside(t *testing.T, raw []byte, pieces ...[]byte) {
	t.Helper()
	for _, p := range pieces {
		if len(p) == 0 {
			continue
		}
		if at := cap(raw) - cap(p); at < 0 || at+len(p) > len(raw) || &raw[at] != &p[0] {
			t.Fatalf("%q lies outside of %q", p, raw)
		}
	}
}

// describeFields tells all about the fields, except those named Host.
func describeFields(h *Head) string {
	var b strings.Builder
	fmt.Fprintf(&b, "1.%d close %v keep-alive %v ", h.Minor, h.Close, h.KeepAlive)
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Kind != Host {
			fmt.Fprintf(&b, "%s=%q/%d ", h.Name(f), h.Value(f), f.Kind)
		}
	}
	return b.String()
}

// used is a head that has been used for another message, of which nothing may stay.
func used() Head {
	return Head{
		Raw: []byte("x"), Fields: make([]Field, 3, 5), Minor: 7, Close: true, KeepAlive: true, upgrades: true, named: true,
		options: 60, lengths: 2, codings: 2, hosts: 2, length: 99, chunked: true, chunkedLast: true,
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range short(requestSeeds()) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := EndOfHead(in, 0)
		raw := bytes.Clone(in)
		if err == nil && n > 0 {
			raw = raw[:n]
		}
		r := Request{Head: used(), Host: []byte("x"), hasQuery: true, Length: 5, Protocol: []byte("x"), Path: []byte("/x")}
		parseErr := r.Parse(raw)
		if !bytes.HasPrefix(in, raw) {
			t.Fatalf("%q was changed into %q", in, raw)
		}
		var fresh Request
		if again := fresh.Parse(raw); fmt.Sprint(again) != fmt.Sprint(parseErr) {
			t.Fatalf("%q: %v, and at first %v", raw, again, parseErr)
		}
		if parseErr != nil {
			refused(t, parseErr)
			return
		}
		if err != nil || n == 0 {
			t.Fatalf("%q has no end, %v, and is read", in, err)
		}
		if describe(&r) != describe(&fresh) || describeFields(&r.Head) != describeFields(&fresh.Head) {
			t.Fatalf("%q is %s, and at first %s", raw, describe(&fresh), describe(&r))
		}
		checkPositions(t, &r.Head)
		checkInside(t, raw, r.Method, r.Host, r.Path, r.Query, r.Protocol)
		checkSentOn(t, &r)
	})
}

// checkSentOn writes a request as a proxy would, and holds what is read of that to be
// the same.
func checkSentOn(t *testing.T, r *Request) {
	t.Helper()
	out := append(bytes.Clone(r.Method), ' ')
	out = r.AppendTarget(out)
	out = fmt.Appendf(out, " HTTP/1.%d\r\n", r.Minor)
	if r.hosts > 0 || len(r.Host) > 0 {
		out = fmt.Appendf(out, "Host: %s\r\n", r.Host)
	}
	out = append(r.AppendLines(out, KindsOf(Host)), "\r\n"...)
	if n, err := EndOfHead(out, 0); n != len(out) || err != nil {
		t.Fatalf("%q is sent on as %q, which ends at %d: %v", r.Raw, out, n, err)
	}
	var sent Request
	if err := sent.Parse(out); err != nil {
		t.Fatalf("%q is sent on as %q: %v", r.Raw, out, err)
	}
	want := *r
	if len(want.Path) == 0 {
		want.Path = []byte("/")
		if string(want.Method) == "OPTIONS" && !want.hasQuery {
			want.Path = []byte("*")
		}
	}
	if describe(&sent) != describe(&want) || describeFields(&sent.Head) != describeFields(&r.Head) {
		t.Fatalf("%q is sent on as %q:\n%s %s, want\n%s %s", r.Raw, out, describe(&sent), describeFields(&sent.Head), describe(&want), describeFields(&r.Head))
	}
	if target := sent.AppendTarget(nil); !bytes.Equal(target, r.AppendTarget(nil)) {
		t.Fatalf("%q is sent on with the target %q", r.Raw, target)
	}
	if path := sent.AppendPath(nil); !bytes.Equal(path, want.AppendPath(nil)) || len(path) > len(want.Path) {
		t.Fatalf("%q is sent on with the path %q", r.Raw, path)
	}
}

func FuzzResponse(f *testing.F) {
	for _, seed := range short(responseSeeds()) {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		n, err := EndOfHead(in, 0)
		raw := bytes.Clone(in)
		if err == nil && n > 0 {
			raw = raw[:n]
		}
		r := Response{Head: used(), Status: 99, line: []byte("x"), Length: 5, Protocol: []byte("x")}
		parseErr := r.Parse(raw, head)
		checkUnfolded(t, in[:len(raw)], raw)
		if parseErr != nil {
			refused(t, parseErr)
			return
		}
		if err != nil || n == 0 {
			t.Fatalf("%q has no end, %v, and is read", in, err)
		}
		checkPositions(t, &r.Head)
		checkInside(t, raw, r.line, r.Protocol)

		out := fmt.Appendf(nil, "HTTP/1.%d %s\r\n", r.Minor, r.line)
		out = append(r.AppendLines(out, 0), "\r\n"...)
		if !bytes.Equal(out, raw) {
			t.Fatalf("%q is sent on as %q", raw, out)
		}
		var sent Response
		if err := sent.Parse(out, head); err != nil {
			t.Fatalf("%q is sent on as %q: %v", in, out, err)
		}
		if describeResponse(&sent) != describeResponse(&r) || describeFields(&sent.Head) != describeFields(&r.Head) {
			t.Fatalf("%q is sent on as %q: %s, want %s", in, out, describeResponse(&sent), describeResponse(&r))
		}
	})
}

// checkUnfolded holds that nothing of a head was changed but folds, of which CR and LF
// are spaces now.
func checkUnfolded(t *testing.T, before, after []byte) {
	t.Helper()
	for i := range before {
		if before[i] == after[i] {
			continue
		}
		at := i
		if before[i] == '\n' {
			at-- // of the fold
		}
		if at < 0 || at+2 >= len(before) || string(before[at:at+2]) != "\r\n" || !isBlank(before[at+2]) || after[i] != ' ' {
			t.Fatalf("%q was changed into %q", before, after)
		}
	}
}

func FuzzTrailer(f *testing.F) {
	for _, c := range trailerCases() {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		raw := bytes.Clone(in)
		h := used()
		err := h.ParseTrailer(raw)
		if !bytes.Equal(raw, in) {
			t.Fatalf("%q was changed into %q", in, raw)
		}
		// A trailer section is what a head of an old request has after its first line.
		const line = "GET / HTTP/1.0\r\n"
		var r Request
		headErr := r.Parse([]byte(line + string(in)))
		if err != nil {
			if refused(t, err); headErr == nil {
				t.Fatalf("%q: %v as a trailer section, and none as a head", in, err)
			}
			return
		}
		if n, err := EndOfHead(in, 0); n != len(in) || err != nil {
			t.Fatalf("%q is accepted, but ends at %d: %v", in, n, err)
		}
		checkPositions(t, &h)
		if out := append(h.AppendLines(nil, 0), "\r\n"...); !bytes.Equal(out, in) {
			t.Fatalf("%q is sent on as %q", in, out)
		}
		if headErr == nil && describeFields(&h) != describeFields(&r.Head) {
			t.Fatalf("%q: %s, as a head %s", in, describeFields(&h), describeFields(&r.Head))
		}
	})
}
