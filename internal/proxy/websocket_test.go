package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestFramesEndWhereTheyEnd cuts a stream of frames of every form of length at every
// byte.
func TestFramesEndWhereTheyEnd(t *testing.T) {
	frame := func(head []byte, payload int) []byte { return append(head, bytes.Repeat([]byte{0x88}, payload)...) }
	all := [][]byte{
		frame([]byte{0x81, 0}, 0),
		frame([]byte{0x01, 5}, 5),
		frame([]byte{0x89, 0x80, 1, 2, 3, 4}, 0),
		frame([]byte{0x80, 0x83, 1, 2, 3, 4}, 3),
		frame([]byte{0x82, 126, 0, 200}, 200),
		frame([]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 1, 0}, 256),
		frame([]byte{0xc2, 0xfe, 0, 130, 9, 9, 9, 9}, 130),
	}
	var stream []byte
	ends := map[int]bool{0: true}
	for _, f := range all {
		stream = append(stream, f...)
		ends[len(stream)] = true
	}
	for cut := range len(stream) + 1 {
		var f frames
		f.follow(stream[:cut])
		if f.between() != ends[cut] {
			t.Errorf("after %d bytes: between frames is %v", cut, f.between())
		}
		f.follow(stream[cut:])
		if !f.between() {
			t.Errorf("cut at %d, the last frame has no end", cut)
		}
	}
}

// TestHeldDrainTellsWebSockets: while requests are held, clients of WebSockets are told
// to go, after the frame that is on its way, and nothing is cut.
func TestHeldDrainTellsWebSockets(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		for err == nil {
			_, _, err = c.Read(context.Background())
		}
		if status := websocket.CloseStatus(err); status != websocket.StatusGoingAway {
			t.Errorf("the upstream is told %v", err)
		}
	})
	r1 := rel("r1", 100, up)
	r1.TellWebSockets = true
	p := start(t, Config{}, web(r1))
	p.http.Timeout = 0
	c, _, err := websocket.Dial(t.Context(), p.url, &websocket.DialOptions{HTTPClient: p.http})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	told := make(chan error, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		told <- err
	}()
	held := web(r1)
	held.Hold = &Hold{Until: time.Now().Add(patience), Time: patience, Requests: 1, Bytes: 1 << 20}
	p.apply(2, held)
	result, err := p.Drain(t.Context(), "web", "r1", DrainTimes{All: patience})
	if err != nil || result.By != (Endings{WebSockets: Ending{Told: 1}}) {
		t.Errorf("%+v, %v", result, err)
	}
	if err := await(t, "the client is told", told); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the client is told %v", err)
	}
}

// TestGoAwayWaitsForTheFrame: the close frame comes between two frames, and nothing
// comes after it.
func TestGoAwayWaitsForTheFrame(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	ws := newWebSocket(server, "WebSocket")
	ws.goAway() // before the head of the answer: it has to wait
	written := make(chan error, 1)
	go func() {
		defer server.Close()
		ws.begun = true
		_, err := ws.Write([]byte{0x82, 4, 'h', 'a'})
		if err == nil {
			_, err = ws.Write([]byte{'l', 'f', 0x82, 4, 'l', 'o', 's', 't'})
		}
		if err == nil {
			_, err = ws.Write([]byte{0x82, 0})
		}
		written <- err
	}()
	got, err := io.ReadAll(client)
	if want := []byte{0x82, 4, 'h', 'a', 'l', 'f', 0x88, 2, 0x03, 0xe9}; err != nil || !bytes.Equal(got, want) {
		t.Errorf("% x, %v; want % x", got, err, want)
	}
	if err := await(t, "all is written", written); err != nil {
		t.Error(err)
	}
}
