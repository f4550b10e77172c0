package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/segue-deploy/segue/internal/prove"
)

// others are clients of other manners beside those that count: some take their answers
// slowly, some vanish, some have a WebSocket for a while.
type others struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	// begun counts all requests that the proxy may have counted, whole those of slow
	// clients, vanished those of which nobody waits for the answer, and talks those for a
	// WebSocket, told those of these that were asked to go.
	begun, whole, vanished, talks, told atomic.Uint64

	mu       sync.Mutex
	failures []prove.Failure
}

const slowBytes = 2 << 20

func (k *soak) startOthers() *others {
	ctx, stop := context.WithCancel(context.Background())
	o := &others{stop: stop}
	for range 2 {
		o.wg.Go(func() {
			for ctx.Err() == nil {
				o.begun.Add(1)
				now := time.Now()
				f := prove.Failure{Began: now, At: now, ID: fmt.Sprintf("slow-%d", o.whole.Add(1)), Kind: "slow reader", Outcome: prove.Lost}
				if err := readSlowly(k.Address, &f); err != nil {
					o.failed(f, err)
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	seed := k.random.Uint64()
	for i := range uint64(2) {
		talk := rand.New(rand.NewPCG(seed, 2+i))
		o.wg.Go(func() {
			for ctx.Err() == nil {
				o.begun.Add(1)
				now := time.Now()
				f := prove.Failure{Began: now, At: now, ID: fmt.Sprintf("ws-%d", o.talks.Add(1)), Kind: "WebSocket", Outcome: prove.Lost}
				told, err := converse(k.Address, &f, talk)
				if told {
					o.told.Add(1)
				}
				if err != nil {
					o.failed(f, err)
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(seed, 1))
	o.wg.Go(func() {
		for ctx.Err() == nil {
			o.begun.Add(1)
			o.vanished.Add(1)
			vanish(k.Address, random)
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		}
	})
	k.t.Cleanup(func() { o.leave() })
	return o
}

// failed keeps an answer that a slow client didn't get.
func (o *others) failed(f prove.Failure, err error) {
	f.Took, f.Error, f.Cause = time.Since(f.At), err.Error(), "closed"
	if f.Release != "" {
		f.Cause = "truncated"
	}
	if f.Status != 0 && f.Status != http.StatusOK {
		f.Cause = fmt.Sprintf("status %d", f.Status)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		f.Cause = "refused"
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.Cause = "timeout"
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, f)
}

// missed are the answers that slow clients didn't get until now.
func (o *others) missed() []prove.Failure {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failures
}

// leave ends them.
func (o *others) leave() {
	o.stop()
	o.wg.Wait()
}

// readSlowly takes an answer of 2 MiB over some two seconds.
func readSlowly(address string, f *prove.Failure) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c, "GET /bytes?n=%d HTTP/1.1\r\nHost: web\r\nX-Load-Id: %s\r\nConnection: close\r\n\r\n", slowBytes, f.ID); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f.Status, f.Release = resp.StatusCode, resp.Header.Get(prove.HeaderRelease)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	var got int64
	for got < slowBytes {
		n, err := io.CopyN(io.Discard, resp.Body, 64<<10)
		got += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", got, slowBytes, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got != slowBytes {
		return fmt.Errorf("%d of %d bytes", got, slowBytes)
	}
	return nil
}

// converse has a WebSocket on which each message must come back, for up to four seconds, or
// until it is told to go, which is no loss; any other end is one.
func converse(address string, f *prove.Failure, random *rand.Rand) (told bool, err error) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ws, resp, err := websocket.Dial(ctx, "ws://"+address+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{prove.HeaderID: {f.ID}}})
	if resp != nil {
		f.Status, f.Release = resp.StatusCode, resp.Header.Get(prove.HeaderRelease)
		if err == nil {
			f.Status = 0 // which only says that it began
		}
	}
	if err != nil {
		return false, err
	}
	defer ws.CloseNow()
	for i := range 1 + random.IntN(40) {
		message := fmt.Sprintf("%s %d", f.ID, i)
		err := ws.Write(ctx, websocket.MessageText, []byte(message))
		var back []byte
		if err == nil {
			_, back, err = ws.Read(ctx)
		}
		if websocket.CloseStatus(err) == websocket.StatusGoingAway {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("message %d: %w", i, err)
		}
		if string(back) != message {
			return false, fmt.Errorf("message %d came back as %q", i, back)
		}
		time.Sleep(100 * time.Millisecond)
	}
	err = ws.Close(websocket.StatusNormalClosure, "")
	if websocket.CloseStatus(err) == websocket.StatusGoingAway {
		return true, nil
	}
	return false, err
}

// vanish begins a request and goes away: in its head, in its body, before its answer, or in
// the middle of that, with or without a reset.
func vanish(address string, random *rand.Rand) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if random.IntN(2) == 0 {
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	switch random.IntN(4) {
	case 0:
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHos")
	case 1:
		fmt.Fprint(c, "POST /echo HTTP/1.1\r\nHost: web\r\nContent-Length: 100000\r\n\r\nhalf")
	case 2:
		fmt.Fprint(c, "GET /slow?d=1s HTTP/1.1\r\nHost: web\r\n\r\n")
	default:
		fmt.Fprint(c, "GET /bytes?n=300000 HTTP/1.1\r\nHost: web\r\n\r\n")
		_, _ = c.Read(make([]byte, 1000))
	}
	time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
}
