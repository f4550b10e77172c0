package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// longJob is how long a job takes that is under way while instances are stopped: longer than
// it takes from its beginning to the step that stops them.
const longJob = "10s"

// jobs is a stage on which examples/worker is stable, and its queue, which is empty.
func jobs(t *testing.T, w workerSpec) (*stage, *queue) {
	t.Helper()
	s := newStage(t).serve()
	s.deploy(w.on(s), 0)
	return s, &queue{s: s, dir: filepath.Join(s.dir, "queue"), stop: func() {}}
}

// busyAt says how many jobs instances of a release are on.
func (q *queue) busyAt(release string) int {
	q.s.t.Helper()
	return len(slices.DeleteFunc(q.in("busy"), func(name string) bool { return !strings.HasPrefix(name, "web-"+release+"-") }))
}

// doneBy says how many jobs instances of a release have done.
func (q *queue) doneBy(release string) int {
	q.s.t.Helper()
	n := 0
	for _, name := range q.in("done") {
		text, err := os.ReadFile(filepath.Join(q.dir, "done", name))
		if err != nil {
			q.s.t.Fatal(err)
		}
		var result struct{ Release string }
		if err := json.Unmarshal(text, &result); err != nil {
			q.s.t.Fatalf("%s: %v", name, err)
		}
		if result.Release == release {
			n++
		}
	}
	return n
}

// occupy gives every instance of a release a long job. Those of another one that
// runs beside it get some, too.
func (q *queue) occupy(release string, instances int) {
	q.s.t.Helper()
	eventually(q.s.t, fmt.Sprintf("all %d instances of %s are busy", instances, release), func() bool {
		if len(q.in("new")) == 0 && q.busyAt(release) < instances {
			q.put(longJob)
		}
		return q.busyAt(release) == instances
	})
}

// TestWorkersFinishTheirJobs stops stable by USR1 while each of its instances is on
// a job: they finish it, and the deployment waits for that.
func TestWorkersFinishTheirJobs(t *testing.T) {
	t.Parallel()
	for _, w := range []workerSpec{{signal: "USR1", bake: time.Minute}, {signal: "USR1", exclusive: true}} {
		instances := map[bool]int{false: 2, true: 1}[w.exclusive]
		t.Run(map[bool]string{false: "overlap", true: "exclusive"}[w.exclusive], func(t *testing.T) {
			t.Parallel()
			s, q := jobs(t, workerSpec{signal: w.signal, exclusive: w.exclusive})
			file := s.write("segue.yaml", w.on(s).String(), 0o644)
			retire := slices.IndexFunc(s.plan(file), func(st step) bool { return st.Kind == "retire" })
			if retire == 0 {
				q.occupy("r1", instances)
			}
			busy, done := 0, 0
			d := s.follow(file, func(ev event) {
				switch {
				case ev.Kind == "intended" && ev.Data.Step == retire-1:
					// The bake lasts until stable is known to be at work.
					q.occupy("r1", instances)
					s.must(ev, "promote", `{"full": true}`)
				case ev.Kind == "intended" && ev.Data.Step == retire:
					busy, done = q.busyAt("r1"), q.doneBy("r1")
				case ev.Kind == "did" && ev.Data.Step == retire:
					if left := q.busyAt("r1"); left > 0 {
						t.Errorf("r1 was stopped while it was on %d jobs", left)
					}
					if now := q.doneBy("r1"); now != done+busy {
						t.Errorf("r1 had done %d jobs and was on %d; now it has done %d", done, busy, now)
					}
				}
			})
			if d.Phase != "promoted" || busy == 0 {
				t.Errorf("%s, when r1 was stopped it was on %d jobs: %s", d.Phase, busy, d.Reason)
			}
			s.settled("r2")
			q.put("10ms") // r2 is at work.
			q.leave()
			if q.doneBy("r2") == 0 {
				t.Error("r2 has done nothing")
			}
			s.neverTwice()
		})
	}
}

// must gives a command about the deployment of an event and expects that it is
// taken.
func (s *stage) must(ev event, verb, body string) {
	s.t.Helper()
	if code, answer := s.command(ev, verb, body); code != http.StatusOK {
		s.t.Errorf("%s: %d %s", verb, code, answer)
	}
}

// TestAbortedWorkersFinishTheirJobs takes a candidate back that is at work: it
// finishes its jobs, and the instances of stable never knew of it.
func TestAbortedWorkersFinishTheirJobs(t *testing.T) {
	t.Parallel()
	s, q := jobs(t, workerSpec{})
	before := s.status().Releases[0].Instances
	done := s.deployBeside(workerSpec{bake: time.Minute}.on(s))
	eventually(t, "the bake", func() bool { return s.runs("bake") })
	q.occupy("r2", 2)
	s.expect(0, "abort", "-s", "web")
	if res := <-done; res.Code != 3 {
		t.Errorf("exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	s.settled("r1")
	q.leave()
	if q.doneBy("r2") < 2 {
		t.Errorf("r2 was on 2 jobs, and has done %d", q.doneBy("r2"))
	}
	for i, in := range s.status().Releases[0].Instances {
		if in.Pid != before[i].Pid || in.Restarts > 0 {
			t.Errorf("%s was process %d, and is %d", in.ID, before[i].Pid, in.Pid)
		}
	}
}

// TestExclusiveWorkerIsBack starts stable again when an exclusive candidate is never
// ready, and again when somebody has had enough of one. What came meanwhile is done.
func TestExclusiveWorkerIsBack(t *testing.T) {
	t.Parallel()
	s, q := jobs(t, workerSpec{exclusive: true})
	never := workerSpec{exclusive: true, behaviour: "never-ready", deadline: time.Second}
	s.contains(s.deploy(never.on(s), 2), "not ready", "failed and taken back")
	s.settled("r1")

	never.deadline = time.Minute
	done := s.deployBeside(never.on(s))
	eventually(t, "the candidate's process, without stable's", func() bool {
		st := s.status()
		return s.runs("start") && len(st.Releases) == 1 && st.Releases[0].ID == "r3" && len(st.Releases[0].Instances) == 1
	})
	q.put("10ms")
	res := s.expect(0, "status")
	s.contains(res, "d3 to r3 is under way", "web-r3-1")
	s.noTraffic(res.Stdout)
	if len(q.in("new")) != 1 {
		t.Error("somebody works while neither is ready")
	}
	s.expect(0, "abort", "-s", "web")
	if res := <-done; res.Code != 3 {
		t.Errorf("exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	s.settled("r1")
	q.leave()
	s.neverTwice()
}

// noTraffic fails if a text speaks of requests, which a worker has none of.
func (s *stage) noTraffic(text string) {
	s.t.Helper()
	for _, word := range []string{"requests since", " %", "latency", "held", "answered"} {
		if strings.Contains(text, word) {
			s.t.Errorf("%q, of a worker:\n%s", word, text)
		}
	}
}

// TestWorkerHasNoTraffic has the commands make sense of a service that takes no
// requests.
func TestWorkerHasNoTraffic(t *testing.T) {
	t.Parallel()
	s, q := jobs(t, workerSpec{})
	q.put("10ms")
	s.contains(s.deploy(workerSpec{}.on(s), 0), "promoted, r2 is stable")
	st := s.expect(0, "status")
	s.contains(st, "web: r2 is stable; d2 promoted", "web-r2-1", "web-r2-2", "rollback: to r1")
	s.noTraffic(st.Stdout)
	paper := s.expect(0, "receipt", "-s", "web")
	s.contains(paper, "receipt of web d2", "promoted", "retire r1")
	s.noTraffic(paper.Stdout)
	r := s.receipt("d2")
	r.adds(t, "d2")
	if r.Phase != "promoted" || r.Total != (account{}) || len(r.Drains) > 0 || r.Held != (held{}) {
		t.Errorf("the receipt of a worker: %+v", r)
	}
	s.contains(s.expect(1, "hold", "-s", "web"), "web takes no requests that could be held")
	if code, body := s.get("/"); code != http.StatusNotFound {
		t.Errorf("a request was answered with %d %s", code, body)
	}
	s.contains(s.expect(0, "rollback", "-s", "web"), "promoted, r1 is stable")
	q.leave()
}
