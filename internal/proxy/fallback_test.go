package proxy

import "testing"

// fallen is a service whose fallback r2 stands by while r1 has all the weight.
func fallen(first, fallback Release) Service {
	s := web(first, fallback)
	s.Fallback = fallback.ID
	return s
}

// TestFallbackAnswersForTheDead lets all upstreams of the release with the traffic be
// gone: nothing was sent to anybody, so that even a POST goes on to the fallback.
func TestFallbackAnswersForTheDead(t *testing.T) {
	p := start(t, Config{}, fallen(rel("r1", 100, refusing(t), refusing(t)), rel("r2", 0, saying(t, "r2"))))
	const n = 40
	for range n {
		if resp, body := p.do("POST", "/", "body"); resp.StatusCode != 200 || body != "r2" {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	r1, r2 := p.release("r1"), p.release("r2")
	// Each counts against the release that should have answered.
	if r1.Accepted != n || r1.Rerouted != n || r2.Answered[2] != n {
		t.Errorf("counted %+v and %+v", r1, r2)
	}
}

// TestFallbackOfRequestsInFlight: what an upstream may have acted on is sent again only
// if that is safe, to the fallback as to anybody.
func TestFallbackOfRequestsInFlight(t *testing.T) {
	dying := faked(t, func(_ int64, c *fakeConn) { c.request() })
	p := start(t, Config{}, fallen(rel("r1", 100, dying.Upstream), rel("r2", 0, saying(t, "r2"))))
	if resp, body := p.do("GET", "/", ""); resp.StatusCode != 200 || body != "r2" {
		t.Errorf("GET: %d %s", resp.StatusCode, body)
	}
	if resp, _ := p.do("POST", "/", "body"); resp.StatusCode != 502 {
		t.Errorf("POST: %d", resp.StatusCode)
	}
	if r1 := p.release("r1"); r1.Failed.Broken != 1 || r1.Rerouted != 1 {
		t.Errorf("counted %+v", r1)
	}
}

// TestFallbackGetsNothingElse: as long as the release with the traffic answers, and
// without a fallback, a release without weight gets nothing.
func TestFallbackGetsNothingElse(t *testing.T) {
	alive, dead := saying(t, "r1"), refusing(t)
	p := start(t, Config{}, fallen(rel("r1", 100, alive, dead), rel("r2", 0, saying(t, "r2"))))
	for range 40 {
		if _, body := p.do("GET", "/", ""); body != "r1" {
			t.Fatalf("%q answers", body)
		}
	}
	p.apply(2, web(rel("r1", 100, dead), rel("r2", 0, saying(t, "r2"))))
	if resp, _ := p.do("GET", "/", ""); resp.StatusCode != 502 {
		t.Errorf("without a fallback: %d", resp.StatusCode)
	}
}
