package proxy

import (
	"net/http"
	"testing"
)

func TestRetryable(t *testing.T) {
	const get, post, put, patch, unknown = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, "MKFOO"
	for _, c := range []struct {
		name string
		a    attempt
		want bool
	}{
		{"POST, no connection", attempt{method: post, dialFailed: true, replayable: true}, true},
		{"POST, nothing written", attempt{method: post, replayable: true}, true},
		{"POST, a byte written", attempt{method: post, wrote: 1, replayable: true}, false},
		{"PATCH, a byte written", attempt{method: patch, wrote: 1, replayable: true}, false},
		{"unknown method, a byte written", attempt{method: unknown, wrote: 1, replayable: true}, false},
		{"unknown method, no connection", attempt{method: unknown, dialFailed: true, replayable: true}, true},
		{"lower-case get is another method", attempt{method: "get", wrote: 1, replayable: true}, false},
		{"GET, written", attempt{method: get, wrote: 100, replayable: true}, true},
		{"GET, answer begun", attempt{method: get, wrote: 100, replayable: true, begun: true}, false},
		{"GET, timed out", attempt{method: get, wrote: 100, replayable: true, timedOut: true}, false},
		{"POST, written but not received", attempt{method: post, wrote: 1, replayable: true, unread: true}, true},
		{"POST, not received, but timed out", attempt{method: post, wrote: 1, replayable: true, unread: true, timedOut: true}, false},
		{"POST, not received, but body gone", attempt{method: post, wrote: 1, unread: true}, false},
		{"PUT, body kept", attempt{method: put, wrote: 100, replayable: true}, true},
		{"PUT, body gone", attempt{method: put, wrote: 100}, false},
		{"POST, body gone without a byte written", attempt{method: post}, false},
	} {
		if got := retryable(c.a); got != c.want {
			t.Errorf("%s: retryable is %v, want %v", c.name, got, c.want)
		}
	}
}
