package prove

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// serveTLS serves over TLS, and returns what its clients need for that.
func serveTLS(t *testing.T, h http.Handler, idle time.Duration) (string, *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.IdleTimeout = idle
	s.StartTLS()
	t.Cleanup(s.Close)
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName, config.NextProtos = "example.com", []string{"http/1.1"}
	return s.Listener.Addr().String(), config
}

func TestTLS(t *testing.T) {
	target, config := serveTLS(t, service("r1"), 0)
	r := run(t, generator(t, Config{Target: target, TLS: config, KeepAlive: 2, Fresh: 1, MaxRequests: 200}))
	wantAll(t, r, 200, OK, "")
	if r.Connections > 190 {
		t.Errorf("no connection was kept: %s", r)
	}
	strict := &tls.Config{ServerName: "example.com"}
	wantAll(t, run(t, generator(t, Config{Target: target, TLS: strict, KeepAlive: 1, MaxRequests: 2})), 2, Lost, "connect")
}

// A connection whose end TLS has announced, while it was idle, is not taken for one that
// loses a request.
func TestEndOfIdleTLS(t *testing.T) {
	target, config := serveTLS(t, service("r1"), time.Millisecond)
	g := generator(t, Config{Target: target, TLS: config, KeepAlive: 1})
	client := g.clients(nil)[0]
	defer client.dropConn()
	for i := range 3 {
		if r := client.do(t.Context(), client.next()); r.Outcome != OK {
			t.Fatalf("request %d: %+v", i, r)
		}
		waitForEnd(t, client.conn)
	}
	if r := g.Report(); r.Connections != 3 || r.IdleClosed != 2 || r.IdleReset != 0 {
		t.Errorf("%s", r)
	}
}
