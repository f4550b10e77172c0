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

	"github.com/segue-deploy/segue/internal/prove"
)

// others are clients with bad manners beside those that count: some take their answers
// slowly, some vanish.
type others struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	// begun counts all requests that the proxy may have counted, whole those of slow
	// clients, vanished those of which nobody waits for the answer.
	begun, whole, vanished atomic.Uint64

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
	random := rand.New(rand.NewPCG(k.random.Uint64(), 1))
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
