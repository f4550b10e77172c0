package prove

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What a reused connection's end means depends on when it comes, and on whether
// it was announced.
func TestEndOfKeepAliveConnection(t *testing.T) {
	t.Run("announced", func(t *testing.T) {
		target := serveWire(t, func(w *wire, _ int) {
			if r := w.request(); r != nil {
				w.say("%s", answer(r.Header.Get("X-Load-Id"), "Connection: close\r\n"))
			}
		})
		r := run(t, generator(t, Config{Target: target, KeepAlive: 1, MaxRequests: 3}))
		wantAll(t, r, 3, OK, "")
		if r.Connections != 3 || r.IdleClosed != 0 {
			t.Errorf("%s", r)
		}
	})
	t.Run("after the request, without a byte", func(t *testing.T) {
		target := serveWire(t, func(w *wire, _ int) {
			if r := w.request(); r != nil {
				w.say("%s", answer(r.Header.Get("X-Load-Id"), ""))
				w.request()
			}
		})
		r := run(t, generator(t, Config{Target: target, KeepAlive: 1, MaxRequests: 4}))
		if r.OK != 2 || r.Lost != 2 || r.Causes["closed"] != 2 || !r.Failures[0].Reused || r.IdleClosed != 0 {
			t.Errorf("%s", r)
		}
	})
	for name, c := range map[string]struct {
		end           func(*wire)
		closed, reset uint64
	}{
		"while idle, cleanly": {func(w *wire) { _ = w.Close() }, 1, 0},
		"while idle, by RST":  {func(w *wire) { w.reset() }, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			target := serveWire(t, func(w *wire, number int) {
				for r := w.request(); r != nil; r = w.request() {
					w.say("%s", answer(r.Header.Get("X-Load-Id"), ""))
					if number == 1 {
						c.end(w)
						close(over)
						return
					}
				}
			})
			g := generator(t, Config{Target: target, KeepAlive: 1})
			client := g.clients(nil)[0]
			defer client.dropConn()
			for i := range 3 {
				if r := client.do(t.Context(), client.next()); r.Outcome != OK {
					t.Fatalf("request %d: %+v", i, r)
				}
				if i == 0 {
					<-over
					waitForEnd(t, client.conn)
				}
			}
			if got := g.Report(); got.Connections != 2 || got.IdleClosed != c.closed || got.IdleReset != c.reset {
				t.Errorf("%+v", got)
			}
		})
	}
}

// waitForEnd returns when the kernel has heard of the connection's end. It
// leaves the error of a reset where it is, for idle to find.
func waitForEnd(t *testing.T, c *conn) {
	t.Helper()
	if err := c.raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(safetyNet.Milliseconds()))
		if n != 1 || err != nil {
			t.Errorf("poll: %d, %v", n, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
