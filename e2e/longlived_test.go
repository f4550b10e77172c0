package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// lasting are connections of clients that go on until somebody ends them.
type lasting struct {
	s   *stage
	all sync.WaitGroup

	mu sync.Mutex
	// ends are the times at which they have ended, errs how.
	ends []time.Time
	errs []error
}

func (l *lasting) ended(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends, l.errs = append(l.ends, time.Now()), append(l.errs, err)
}

// webSocket opens one, and lets it be.
func (l *lasting) webSocket() {
	l.s.t.Helper()
	ws, _, err := websocket.Dial(l.s.t.Context(), "ws://"+l.s.Address+"/ws", nil)
	if err != nil {
		l.s.t.Fatal(err)
	}
	l.all.Go(func() {
		defer ws.CloseNow()
		_, _, err := ws.Read(context.Background())
		l.ended(err)
	})
}

// events follows server-sent events.
func (l *lasting) events() {
	l.s.t.Helper()
	conn := l.s.dial()
	if _, err := io.WriteString(conn, "GET /events?every=100ms HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		l.s.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		l.s.t.Fatal(resp, err)
	}
	l.all.Go(func() {
		defer conn.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		l.ended(err)
	})
}

// spread waits for the ends, and fails if they came in one moment or not in the way wanted.
func (l *lasting) spread(n int, way func(error) bool) {
	l.s.t.Helper()
	l.all.Wait()
	slices.SortFunc(l.ends, time.Time.Compare)
	moments := 1
	for i := 1; i < len(l.ends); i++ {
		if l.ends[i].Sub(l.ends[i-1]) > 10*time.Millisecond {
			moments++
		}
	}
	if len(l.ends) != n || moments < n/2 {
		l.s.t.Errorf("%d connections have ended in %d moments, want %d, spread", len(l.ends), moments, n)
	}
	for _, err := range l.errs {
		if !way(err) {
			l.s.t.Errorf("a connection has ended with %v", err)
		}
	}
}

func toldToGo(err error) bool { return websocket.CloseStatus(err) == websocket.StatusGoingAway }
func brokenOff(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF)
}

// TestLongLivedConnections deploys over open WebSockets and event streams: the clients of
// the first are told to go, all of them end one after the other, and the receipt says how.
func TestLongLivedConnections(t *testing.T) {
	t.Parallel()
	const n = 6
	s := newStage(t).serve()
	s.deploy(release{version: "1", drain: 6 * time.Second, more: "route: {drain: [{path: /ws, time: 8s}]}\n"}, 0)
	sockets, streams := &lasting{s: s}, &lasting{s: s}
	for range n {
		sockets.webSocket()
		streams.events()
	}
	file := s.write("segue.yaml", release{version: "2"}.String(), 0o644)
	s.contains(s.expect(0, "plan", "-f", file), "drain r1 (at most 6s, /ws 8s, then cut)")
	s.deploy(release{version: "2"}, 0)
	sockets.spread(n, toldToGo)
	streams.spread(n, brokenOff)

	r := s.receipt("d2")
	r.adds(t, "d2")
	want := endings{Streams: ending{Cut: n}, WebSockets: ending{Told: n}}
	if len(r.Drains) != 1 || r.Drains[0].By != want || r.Drains[0].InFlight != 2*n || r.Total.Drained != want || r.Total.Departed != (endings{}) {
		t.Errorf("drains: %+v, of all %+v", r.Drains, r.Total)
	}
	s.contains(s.expect(0, "receipt", "d2"),
		fmt.Sprintf("drain of r1: %d in flight: 0 finished, %d told and went, %d cut, after ", 2*n, n, n),
		fmt.Sprintf("streams: 0 finished, %d cut", n),
		fmt.Sprintf("WebSockets: 0 finished, %d told and went, 0 cut", n))
}

// TestLongLivedOverAnUpgrade replaces the proxy over the same, while a deployment is
// under way, whose receipt counts them.
func TestLongLivedOverAnUpgrade(t *testing.T) {
	t.Parallel()
	const n = 6
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	sockets, streams := &lasting{s: s}, &lasting{s: s}
	for range n {
		sockets.webSocket()
		streams.events()
	}
	s.begin(release{version: "2", strategy: approved}, 0)
	s.expect(0, "upgrade", "--binary", s.another(1), "--drain", "6s")
	sockets.spread(n, toldToGo)
	streams.spread(n, brokenOff)
	s.oneProxy()
	s.expect(0, "abort", "-s", "web")
	s.ended("d2", "aborted")
	r := s.receipt("d2")
	r.adds(t, "d2")
	if want := (endings{Streams: ending{Cut: n}, WebSockets: ending{Told: n}}); r.Total.Departed != want || len(r.Unknown) != 0 {
		t.Errorf("%+v, unknown is %v", r.Total, r.Unknown)
	}
	s.contains(s.expect(0, "receipt", "d2"), fmt.Sprintf("end of a proxy that was replaced or shut down: 0 finished, %d told and went, %d cut", n, n))
}
