package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// seen is what the file has.
func seen(t *testing.T, path string) []arrival {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []arrival
	for line := range strings.Lines(string(text)) {
		var a arrival
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, a)
	}
	return all
}

func TestSeenHasEveryRequestButProbes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	var wg sync.WaitGroup
	for _, release := range []string{"r1", "r2"} {
		file, err := openSeen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.close()
		s := newService(t.Context(), config{release: release, instance: release + "-1"})
		s.seen = file
		wg.Go(func() {
			for i := range 100 {
				send(s, "GET", fmt.Sprintf("/?n=%d", i), nil)
				send(s, "GET", "/healthz", nil)
				send(s, "GET", "/smoke", nil)
			}
		})
	}
	wg.Wait()
	count := map[string]int{}
	for _, a := range seen(t, path) {
		count[a.Release+a.Target]++
		if a.Instance != a.Release+"-1" || a.LoadID != "id-1" || a.Method != "GET" || a.Host != "example.com" || a.Header.Get("X-Load-Id") != "id-1" {
			t.Errorf("%+v", a)
		}
	}
	if len(count) != 200 || count["r1/?n=0"] != 1 || count["r2/?n=99"] != 1 {
		t.Errorf("%v, want each of 200 once", count)
	}
}

// What can't be noted must not pass for a request that never came.
func TestSeenFailureIsSaid(t *testing.T) {
	file, err := openSeen(filepath.Join(t.TempDir(), "seen"))
	if err != nil {
		t.Fatal(err)
	}
	file.close()
	s := newService(t.Context(), config{})
	s.seen = file
	if got := send(s, "GET", "/", nil).StatusCode; got != 500 {
		t.Errorf("%d, want 500", got)
	}
	ln, _ := listening(t)
	if err := (config{seen: "/nonexistent/seen"}).serve(t.Context(), ln, quiet()); err == nil || !strings.Contains(err.Error(), "DEMO_SEEN") {
		t.Errorf("a path that is none: %v", err)
	}
}

func TestRequestSaysHowItArrived(t *testing.T) {
	r := httptest.NewRequest("GET", "/request?a=b", nil)
	r.Header.Set("Cookie", "release=r7")
	w := httptest.NewRecorder()
	newService(t.Context(), config{release: "r7", instance: "i"}).handler().ServeHTTP(w, r)
	want := &arrival{
		Release: "r7", Instance: "i", Method: "GET", Target: "/request?a=b", Host: "example.com",
		Header: http.Header{"Cookie": {"release=r7"}},
	}
	if got := decode(t, w.Result()).Request; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
