package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		body, err := io.ReadAll(ask(t, behaviour{kind: ok}, "GET", "/slow?d=500ms", nil).Body)
		if err != nil || string(body) != "1 r7 id-1\n2 r7 id-1\n3 r7 id-1\n4 r7 id-1\n5 r7 id-1\nend\n" {
			t.Errorf("%q, %v", body, err)
		}
		if took := time.Since(begin); took != 500*time.Millisecond {
			t.Errorf("took %s, want 500ms", took)
		}
	})
}

func TestSlowSendsPiecesAsTheyCome(t *testing.T) {
	server := httptest.NewServer(newService(t.Context(), config{release: "r7"}).handler())
	defer server.Close()
	resp, err := http.Get(server.URL + "/slow?d=1h")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "1 r7 \n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
}

func TestBytes(t *testing.T) {
	for _, n := range []int{0, 1, 250, 251, 252, 100_000} {
		body, err := io.ReadAll(ask(t, behaviour{kind: ok}, "GET", fmt.Sprintf("/bytes?n=%d", n), nil).Body)
		if err != nil || len(body) != n {
			t.Fatalf("n=%d: %d bytes, %v", n, len(body), err)
		}
		for i, b := range body {
			if b != byte(i%251) {
				t.Fatalf("n=%d: byte %d is %d, want %d", n, i, b, i%251)
			}
		}
	}
}

func TestEventsEndWhenTheInstanceStops(t *testing.T) {
	stopping, stop := context.WithCancel(t.Context())
	server := httptest.NewServer(newService(stopping, config{release: "r7", instance: "demo-r7-1"}).handler())
	defer server.Close()
	resp, err := http.Get(server.URL + "/events?every=1ms")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for _, want := range []string{"id: 1\n", `data: {"n":1,"release":"r7","instance":"demo-r7-1"}` + "\n", "\n", "id: 2\n"} {
		if line, err := in.ReadString('\n'); line != want || err != nil {
			t.Fatalf("%q, %v; want %q", line, err, want)
		}
	}
	stop()
	if _, err := io.Copy(io.Discard, in); err != nil {
		t.Errorf("the stream did not end well: %v", err)
	}
}

func TestWebSocket(t *testing.T) {
	stopping, stop := context.WithCancel(t.Context())
	s := newService(stopping, config{release: "r7"})
	server := httptest.NewServer(s.handler())
	defer server.Close()
	c, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if resp.Header.Get("X-Release") != "r7" {
		t.Errorf("header %v", resp.Header)
	}
	c.SetReadLimit(1 << 20)
	for _, want := range []string{"a", "", strings.Repeat("b", 100_000)} {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != want {
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
		}
	}
	stop()
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("%v, want close status 1001", err)
	}
	s.sockets.Wait()
}
