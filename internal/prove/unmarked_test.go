package prove

import (
	"net/http"
	"strings"
	"testing"
)

// unmarked runs a load of a service that need mark nothing.
func unmarked(t *testing.T, cfg Config) Report {
	t.Helper()
	cfg.Timeout = safetyNet
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, g)
}

// Any answer will do that is not Segue's own; what a service says more than that is
// checked.
func TestServiceThatMarksNothing(t *testing.T) {
	const segue = "Via: 1.1 segue\r\n"
	const unavailable = "segue: 503 Service Unavailable: the service has no instance that could answer\n"
	const tooMuch = "segue: 503 Service Unavailable: the service has more to do than it can just now\n"
	for _, c := range []struct {
		name, method, answer string
		outcome              Outcome
		cause                string
	}{
		{"answers", "GET", "200 OK\r\n\r\nhello", OK, ""},
		{"refuses", "GET", "404 Not Found\r\n\r\nno", OK, ""},
		{"redirects", "GET", "302 Found\r\n\r\n", OK, ""},
		{"fails", "GET", "503 Busy\r\n" + segue + "\r\nbusy", ServiceError, "status 503"},
		{"is called segue", "GET", "503 Busy\r\n\r\n" + unavailable, ServiceError, "status 503"},
		{"is not there", "GET", "503 Service Unavailable\r\n" + segue + "\r\n" + unavailable, Lost, "status 503"},
		{"is not there, for a proxy before Segue", "GET", "503 Service Unavailable\r\nVia: 1.1 edge, 1.1 segue\r\n\r\n" + unavailable, Lost, "status 503"},
		{"sheds", "GET", "503 Service Unavailable\r\nRetry-After: 1\r\n" + segue + "\r\n" + tooMuch, Shed, "status 503"},
		{"sheds, and doesn't say until when", "GET", "503 Service Unavailable\r\n" + segue + "\r\n" + tooMuch, Lost, "status 503"},
		{"does not exist", "GET", "404 Not Found\r\n" + segue + "\r\nsegue: 404 Not Found: no service takes this\n", Lost, "status 404"},
		{"speaks of Segue", "GET", "200 OK\r\n" + segue + "\r\nsegue: 200 years", OK, ""},
		{"speaks of another status", "GET", "500 Oops\r\n" + segue + "\r\nsegue: 503 x", ServiceError, "status 500"},
		{"is not there for a HEAD", "HEAD", "502 Bad Gateway\r\n" + segue + "\r\n", Lost, "status 502"},
		{"fails a HEAD itself", "HEAD", "502 Bad Gateway\r\nX-Release: r1\r\n" + segue + "\r\n", ServiceError, "status 502"},
		{"answers another", "GET", "200 OK\r\nX-Load-Id: x\r\n\r\n", Wrong, "id"},
		{"got it twice", "POST", "200 OK\r\nX-Load-Seen: 2\r\n\r\n", Duplicated, "seen"},
		{"got it twice, and failed", "POST", "500 Oops\r\nX-Load-Seen: 2\r\n\r\n", Duplicated, "seen"},
		{"got it once", "POST", "200 OK\r\nX-Load-Seen: 1\r\n\r\n", OK, ""},
		{"got it twice, as it may", "PUT", "200 OK\r\nX-Load-Seen: 2\r\n\r\n", OK, ""},
		{"can't count", "POST", "200 OK\r\nX-Load-Seen: many\r\n\r\n", OK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			head, body, _ := strings.Cut(c.answer, "\r\n\r\n")
			target := serveWire(t, func(w *wire, _ int) {
				if w.request() != nil {
					w.say("HTTP/1.1 %s\r\nConnection: close\r\n\r\n%s", head, body)
				}
			})
			r := unmarked(t, Config{Target: target, KeepAlive: 1, MaxRequests: 2, Requests: Page{Method: c.method}.Requests})
			wantAll(t, r, 2, c.outcome, c.cause)
			if again := strings.HasSuffix(c.name, "as it may"); (r.Repeated == 2) != again {
				t.Errorf("%d repeated", r.Repeated)
			}
		})
	}
}

// What the clients say of a request can't be said by the user.
func TestIDIsTheClientsOwn(t *testing.T) {
	ids := make(chan []string, 1)
	target := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ids <- r.Header.Values("X-Load-Id") }))
	unmarked(t, Config{Target: target, KeepAlive: 1, MaxRequests: 1, Header: http.Header{"X-Load-Id": {"mine"}}})
	if got := <-ids; len(got) != 1 || got[0] == "mine" {
		t.Errorf("%q", got)
	}
}
