package main

import (
	"strings"
	"testing"
)

const said = `Running 1m test @ http://127.0.0.1:33157/1k
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   710.00us  245.12us   9.03ms   87.41%
    Req/Sec    43.27k     2.90k   47.10k    80.00%
  86104 requests in 2.00s, 95.47MB read
Requests/sec:  43021.44
Transfer/sec:     47.70MB
`

func TestParseOutcome(t *testing.T) {
	got, err := parseOutcome([]byte(said + `{"requests":86104,"errors":0,"p50":710,"p99":1390}` + "\n"))
	if want := (outcome{Requests: 86104, P50: 710, P99: 1390}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for out, want := range map[string]string{
		said: "has not said",
		"{\n" + `{"requests":86104,"errors":2,"p50":710,"p99":1390}`: "2 of 86104 requests failed",
		`{"requests":0,"errors":0,"p50":0,"p99":0}`:                  "no request was answered",
	} {
		if _, err := parseOutcome([]byte(out)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}
