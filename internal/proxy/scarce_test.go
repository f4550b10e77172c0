package proxy

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/health"
	"golang.org/x/sys/unix"
)

// withoutDescriptors has no new one be had in this process while something is done.
func withoutDescriptors(t *testing.T, do func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	do()
}

// TestOutOfDescriptors: a request for which no connection to an instance can be opened, for
// want of descriptors, waits for one.
func TestOutOfDescriptors(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, "here")
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	ask := func(method string) <-chan string {
		got := make(chan string, 1)
		go func() {
			resp, text, err := p.try(method, "/", "")
			if err != nil {
				text = err.Error()
			} else if resp.StatusCode != http.StatusOK {
				text = resp.Status + " " + text
			}
			got <- text
		}()
		return got
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if got := <-ask(method); got != "here" { // and the client's connection stays
			t.Fatal(got)
		}
		p.settle()
		var answer <-chan string
		withoutDescriptors(t, func() {
			answer = ask(method)
			eventually(t, "the request waits", func() bool {
				return statsOf(p.stats(), "web", "r1").InFlight == 1 || len(answer) == 1
			})
		})
		if got := <-answer; got != "here" {
			t.Errorf("%s: %s", method, got)
		}
	}
	if r := p.release("r1"); r.Failed.Sum() > 0 || r.Retried > 0 || r.Answered[2] != 4 {
		t.Errorf("%+v", r)
	}
}

// TestProbesOutOfDescriptors: an upstream that can't be asked for its health, for want of
// descriptors, is as healthy as before.
func TestProbesOutOfDescriptors(t *testing.T) {
	r := rel("r1", 100, saying(t, "here"))
	r.Health = &health.Check{TCP: true, Interval: 5 * time.Millisecond, Timeout: time.Second, Healthy: 1, Unhealthy: 1}
	p := start(t, Config{}, web(r))
	p.do(http.MethodGet, "/", "")
	withoutDescriptors(t, func() { time.Sleep(200 * time.Millisecond) })
	for u := range p.checks() {
		if !u.condition.healthy.Load() {
			t.Errorf("it counts as not healthy: %s", u.condition.why())
		}
	}
}
