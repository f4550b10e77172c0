package prove

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// A log in any form tells what arrived, and how often.
func TestCheckLog(t *testing.T) {
	var mu sync.Mutex
	var log strings.Builder
	g, err := New(Config{
		KeepAlive: 2, Fresh: 1, MaxRequests: 300, Requests: Page{Posts: 50}.Requests, Timeout: safetyNet,
		Target: serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&log, "%s id=%s, done\n", r.Method, r.Header.Get("X-Load-Id"))
		})),
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, g)
	check := func(text string, want LogReport) {
		t.Helper()
		got, err := g.CheckLog(strings.NewReader(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	check(log.String(), LogReport{Logged: 300})
	check("", LogReport{Missing: 300})

	get, post := lineOf(log.String(), "GET"), lineOf(log.String(), "POST")
	id := strings.TrimSuffix(strings.TrimPrefix(post, "POST id="), ", done\n")
	check(log.String()+get+get+post+post, LogReport{Logged: 300, Duplicated: 1, Repeated: 1, Examples: []string{id}})
	check(strings.Replace(log.String(), post, "", 1), LogReport{Logged: 299, Missing: 1})
	// IDs of others, and what only looks like an ID.
	check(log.String()+"POST 12345678-1-1\n"+fmt.Sprintf("%s-\n%s-x-1\n%[1]s-99-1\n%[1]s-1-999999999\n%[1]s-1\n", g.id, g.id), LogReport{Logged: 300})
	if _, err := g.CheckLog(strings.NewReader(strings.Repeat("x", maxLine+1))); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("a line without end: %v", err)
	}
}

// lineOf is the first line that begins so.
func lineOf(text, begin string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, begin) {
			return line
		}
	}
	return ""
}
