package proxy

import (
	"io"
	"net/http"
	"testing"

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
