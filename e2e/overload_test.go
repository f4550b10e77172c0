package e2e

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// TestOverload has more clients than stable can serve, until a release without a limit
// takes over. What is too much is refused with a time to come back after, and counted
// apart; everything else is answered, and nothing is lost.
func TestOverload(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1", behaviour: "slow=100ms", more: "overload: {max_in_flight: 2, queue: 8, max_wait: 250ms}\n"}, 0)
	var ok, refused atomic.Uint64
	var clients sync.WaitGroup
	end := make(chan struct{})
	for range 40 {
		clients.Go(func() {
			client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-end:
					return
				default:
				}
				resp, err := client.Get("http://" + s.Address + "/")
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				switch {
				case resp.StatusCode == http.StatusOK:
					ok.Add(1)
				case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
					refused.Add(1)
					time.Sleep(20 * time.Millisecond) // a client that comes back, though not as late as it was asked to
				default:
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	l := s.load(prove.Config{KeepAlive: 8, Rate: 1000})
	eventually(t, "requests are refused", func() bool { return refused.Load() > 100 })
	s.deploy(release{version: "2"}, 0)
	close(end)
	clients.Wait()
	report := l.end()
	if report.Shed == 0 || report.OK == 0 || report.OK+report.Shed != report.Sent {
		t.Errorf("%s", report)
	}
	r := s.receipt("d2")
	r.adds(t, "d2")
	if r.Total.Lost != 0 || r.Total.FailedBySegue != 0 || r.Total.Shed == 0 || r.Total.Shed > refused.Load()+report.Shed {
		t.Errorf("%d answered, %d refused, the receipt has %+v", ok.Load(), refused.Load(), r.Total)
	}
	// Some have waited already when the deployment began.
	q := r.Queued
	ends := uint64(q.Now) + q.LetGo + q.Expired + q.Gone
	if q.LetGo == 0 || q.Now != 0 || ends < q.Total || ends > q.Total+8 {
		t.Errorf("queued %+v", q)
	}
	for _, a := range r.Releases {
		if a.Release == "r2" && (a.Shed != 0 || a.Answered[2] == 0) {
			t.Errorf("r2 has no limit: %+v", a)
		}
	}
	s.contains(s.expect(0, "receipt", "-s", "web", "d2"), "shed: ", "queued: ", "lost 0 of ")
}
