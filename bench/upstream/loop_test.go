package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// Over real sockets: answers that the kernel takes in pieces only, bodies that come in
// pieces, connections that are used again, and a count that knows of all of it.
func TestLoop(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sock")
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": path} {
		fd, err := listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.listen(fd); err != nil {
			t.Fatal(err)
		}
	}
	go l.run() // as long as the test's process
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	read := func(resp *http.Response, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	for range 3 {
		if got := len(read(client.Get("http://upstream/1m"))); got != 1<<20 {
			t.Fatalf("%d bytes, want 1 MiB", got)
		}
		if got := read(client.Post("http://upstream/", "text/plain", bytes.NewReader(make([]byte, 3<<20)))); string(got) != "ok" {
			t.Fatalf("%q", got)
		}
	}
	if got := read(client.Get("http://upstream/count")); string(got) != "6" {
		t.Errorf("counted %s, want 6", got)
	}
}
