package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func newQueue(t *testing.T) queue {
	t.Helper()
	q := queue(filepath.Join(t.TempDir(), "queue"))
	if err := q.prepare(); err != nil {
		t.Fatal(err)
	}
	return q
}

// put puts a job into the queue as its users do.
func put(t *testing.T, q queue, name, text string) {
	t.Helper()
	draft := q.path(name)
	if err := os.WriteFile(draft, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(draft, q.path("new", name)); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func readResult(t *testing.T, q queue, name string) result {
	t.Helper()
	text, err := os.ReadFile(q.path("done", name))
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTakeAndFinish(t *testing.T) {
	q := newQueue(t)
	put(t, q, "b", "")
	put(t, q, "a", "2s\n")
	j, err := q.take("w1")
	if err != nil || j == nil || j.name != "a" || j.takes != 2*time.Second || j.refused != "" {
		t.Fatalf("%+v, %v; want a, which takes 2s", j, err)
	}
	if busy := names(t, q.path("busy")); !slices.Equal(busy, []string{"w1-a"}) {
		t.Errorf("busy: %v", busy)
	}
	want := result{Job: "a", Release: "r1", Instance: "w1"}
	if err := q.finish(j, want); err != nil {
		t.Fatal(err)
	}
	if got := readResult(t, q, "a"); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if busy := names(t, q.path("busy")); len(busy) > 0 {
		t.Errorf("busy: %v", busy)
	}
	if j, err := q.take("w1"); err != nil || j == nil || j.name != "b" || j.takes != 100*time.Millisecond {
		t.Errorf("%+v, %v; want b, which takes 100ms", j, err)
	}
	if j, err := q.take("w1"); j != nil || err != nil {
		t.Errorf("of an empty queue: %+v, %v", j, err)
	}
}

func TestResultIsNotWrittenTwice(t *testing.T) {
	q := newQueue(t)
	for _, release := range []string{"r1", "r2"} {
		put(t, q, "a", "0s")
		j, err := q.take("w1")
		if err != nil {
			t.Fatal(err)
		}
		if err := q.finish(j, result{Release: release}); (err == nil) != (release == "r1") {
			t.Errorf("%s: %v", release, err)
		}
	}
	if got := readResult(t, q, "a").Release; got != "r1" {
		t.Errorf("the first result is gone for that of %s", got)
	}
}

func TestBadJobIsRefused(t *testing.T) {
	for _, text := range []string{"soon", "-1s"} {
		q := newQueue(t)
		put(t, q, "a", text)
		j, err := q.take("w1")
		if err != nil || j.takes != 0 || !strings.Contains(j.refused, text) {
			t.Errorf("%q: %+v, %v", text, j, err)
		}
	}
}

func TestEachJobIsTakenOnce(t *testing.T) {
	q := newQueue(t)
	for i := range 200 {
		put(t, q, fmt.Sprintf("job%03d", i), "0s")
	}
	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() {
			worker := fmt.Sprintf("w%d", i)
			for j, err := q.take(worker); j != nil || err != nil; j, err = q.take(worker) {
				if err == nil {
					err = q.finish(j, result{Job: j.name})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	if done := names(t, q.path("done")); len(done) != 200 {
		t.Errorf("%d jobs are done, want 200", len(done))
	}
	if left := slices.Concat(names(t, q.path("new")), names(t, q.path("busy"))); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
