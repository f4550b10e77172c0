package e2e

import (
	"fmt"
	"net/http"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/e2e/rig"
	"github.com/segue-deploy/segue/internal/prove"
)

// command gives a command about the deployment of an event. It asks the API itself,
// as the command line does, since steps don't wait for a process to start.
func (s *stage) command(ev event, verb, body string) (status int, answer string) {
	s.t.Helper()
	status, text, err := s.ask(http.MethodPost, fmt.Sprintf("/v1/services/web/deployments/d%d/%s", ev.Deployment, verb), body)
	if err != nil {
		s.t.Errorf("%s: %v", verb, err)
	}
	return status, string(text)
}

// approved is a strategy that waits for somebody's word before and in the middle.
const approved = "canary: {match: [{header: X-Segue-Release, value: candidate}], steps: [approve: {deadline: 2h}, weight: 50, approve, weight: 100, bake: 200ms]}"

// TestCommandsTooLate gives commands that come twice, or too late: each says how
// things stand.
func TestCommandsTooLate(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	says := func(code int, command, text string) {
		t.Helper()
		s.contains(s.expect(code, strings.Fields(command+" -s web")...), text)
	}
	says(1, "promote", "no deployment of web is under way; the last, d1, has ended: promoted, and r1 is stable; there is nothing to promote")
	says(1, "promote d1", "d1 of web has ended: promoted, and r1 is stable; there is nothing to promote")
	says(1, "abort d1", "d1 of web has ended: promoted, and r1 is stable; to go back to an earlier release use 'segue rollback'")
	says(1, "rollback", "web has no earlier release to roll back to")
	says(1, "abort d7", "web has no deployment d7")

	s.begin(release{version: "2", strategy: approved, drain: 2 * time.Minute}, 0)
	says(1, "rollback", "d2 of web (to r2) is under way: approve: wait for 'segue promote' (at most 2h0m0s, then abort); 'segue abort' gives all traffic back to r1")
	says(1, "rollback r1", "r1 is the stable release of web already")
	says(1, "restart", "d2 of web (to r2) is under way")
	// A request that the candidate is still busy with keeps the way back open.
	slow := s.dial()
	fmt.Fprint(slow, "GET /slow?d=1m HTTP/1.1\r\nHost: web\r\nX-Segue-Release: candidate\r\n\r\n")
	if _, err := slow.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	says(0, "promote", "d2 of web goes on")
	s.approval(50)
	says(0, "abort", "aborting d2 of web; r1 gets all traffic")
	says(0, "abort", "d2 of web is being taken back already")
	says(1, "promote", "d2 is being taken back, there is nothing to promote; 'segue explain' shows how far it is")
	says(1, "pause", "d2 is being taken back, there is nothing to pause")
	says(1, "rollback", "it is being taken back; wait for it with 'segue wait d2'")
	says(4, "wait --timeout 100ms", "d2 of web goes on, the time to wait is over")
	slow.Close()
	says(3, "wait d2", "web d2: aborted by")
	says(1, "abort d2", "d2 of web has ended: aborted, and r1 is stable; there is nothing to abort")
	says(1, "promote", "the last, d2, has ended: aborted, and r1 is stable; 'segue deploy' tries again")
	s.settled("r1")
}

// TestPauseRunsOut lets pauses end by themselves.
func TestPauseRunsOut(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{Rate: 40})
	for _, test := range []struct {
		id, then, says, end string
		code                int
	}{
		{"d2", "abort", "then it is aborted", "web d2: aborted by segue: d2 was paused for", 3},
		{"d3", "promote", "then it goes on", "promoted, r3 is stable", 0},
	} {
		// The step in which it is paused lasts until the test has had its say.
		said := filepath.Join(s.dir, test.id+".said")
		waits := "{command: [sh, -c, until test -e " + said + "; do sleep 0.05; done], timeout: 2m}"
		file := s.write("segue.yaml", release{strategy: "canary: {steps: [weight: 50, verify: {checks: [" + waits + "]}, weight: 100, bake: 200ms]}"}.String(), 0o644)
		s.expect(4, "deploy", "-f", file, "--wait=false")
		s.standsAt("verify", 50)
		args := []string{"pause", "-s", "web", "--for", "300ms", "--reason", "lunch"}
		if test.then != "abort" {
			args = append(args, "--then", test.then)
		}
		s.contains(s.expect(0, args...), test.id+" of web pauses after this step: verify", test.says)
		s.write(test.id+".said", "", 0o644)
		s.contains(s.expect(test.code, "wait", "-s", "web", test.id), test.end)
	}
	l.nothingLost()
	s.settled("r3")
}

// action is a line of `segue history --actions`.
type action struct {
	Deployment             int
	What, By, From, Reason string
}

// TestFreeze refuses deploys, but not those for which there is a reason, nor the way
// back; the history tells who has done what, from where, and why.
func TestFreeze(t *testing.T) {
	t.Parallel()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	file := s.write("segue.yaml", release{version: "2"}.String(), 0o644)
	frozen := "deploys of web are frozen by " + me.Username + ": the big sale"
	s.contains(s.expect(0, "freeze", "web", "--reason", "the big sale"), "deploys of web are refused until 'segue unfreeze -s web'; rollbacks are not")
	s.contains(s.expect(1, "deploy", "-f", file), "segue: "+frozen+"; to deploy all the same, say why with --override, or end it with 'segue unfreeze'")
	s.contains(s.expect(0, "plan", "-f", file), "note: "+frozen)
	s.contains(s.expect(0, "explain", "-s", "web"), "web: deploys of web are refused: frozen by "+me.Username+": the big sale\n", "  to move it on: segue unfreeze -s web\n")
	s.expect(0, "deploy", "-f", file, "--override", "the fix for the outage", "--reason", "ticket 7")
	s.expect(0, "rollback", "-s", "web", "--reason", "no fix")
	s.expect(0, "scale", "web", "3")
	s.contains(s.expect(0, "unfreeze", "web", "--reason", "sold out"), "deploys of web are allowed again; frozen by "+me.Username)
	s.expect(0, "deploy", "-f", file)

	var actions []action
	if err := s.JSON(t.Context(), &actions, "history", "-s", "web", "--actions"); err != nil {
		t.Fatal(err)
	}
	want := []action{
		{1, "deploy r1", "", "", ""},
		{0, "freeze deploys", "", "", "the big sale"},
		{2, "deploy r2 in spite of a freeze: the fix for the outage", "", "", "ticket 7"},
		{3, "rollback r1", "", "", "no fix"},
		{4, "scale r1 to 3 instances", "", "", ""},
		{0, "unfreeze deploys", "", "", "sold out"},
		{5, "deploy r3", "", "", ""},
	}
	if len(actions) != len(want) {
		t.Fatalf("actions: %+v", actions)
	}
	from := regexp.MustCompile(`^process \d+ of this machine$`)
	for i, a := range actions {
		if a.By != me.Username || !from.MatchString(a.From) {
			t.Errorf("who and from where: %+v", a)
		}
		if a.By, a.From = "", ""; a != want[i] {
			t.Errorf("%+v, want %+v", a, want[i])
		}
	}
	text := s.expect(0, "history", "-s", "web", "--actions")
	for i, line := range strings.Split(strings.TrimSpace(text.Stdout), "\n")[1:] {
		if !strings.Contains(line, me.Username) || !strings.Contains(line, want[i].What) || !strings.Contains(line, want[i].Reason) {
			t.Errorf("no %+v in %q", want[i], line)
		}
	}
}

// TestWait leaves deployments alone and comes back to them.
func TestWait(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	leave := func(r release, id string) {
		t.Helper()
		file := s.write("segue.yaml", r.String(), 0o644)
		s.contains(s.expect(4, "deploy", "-f", file, "--wait=false"), "'segue wait -s web "+id+"' waits for its end")
	}
	leave(release{version: "1"}, "d1")
	s.contains(s.expect(0, "wait", "-s", "web", "d1"), "web d1: promoted, r1 is stable")
	leave(release{behaviour: "smoke-fails"}, "d2")
	s.contains(s.expect(2, "wait", "-s", "web", "d2"), "web d2: failed and taken back")
	leave(release{strategy: approved}, "d3")
	s.approval(0)
	waited := make(chan rig.Result, 1)
	go func() { waited <- s.Run(t.Context(), "wait", "-s", "web") }()
	s.expect(0, "abort", "-s", "web", "d3", "--reason", "wrong branch")
	if res := <-waited; res.Code != 3 || !strings.Contains(res.Stdout, "wrong branch") {
		t.Errorf("%+v", res)
	}
	for id, code := range map[string]int{"d1": 0, "d2": 2, "d3": 3, "last": 3} {
		s.expect(code, "wait", "-s", "web", id)
		s.expect(code, "wait", "-s", "web", id, "-o", "json")
	}
}

// TestExplainApproval asks what an approval waits for, and does what it is told.
func TestExplainApproval(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	s.begin(release{version: "2", strategy: approved}, 0)
	s.contains(s.expect(0, "explain", "web"), "web: d2 (to r2): approve: wait for 'segue promote' (at most 2h0m0s, then abort)\n",
		"  since: ", "  until: ", " (in ", "  then:  it is aborted, and stable gets all traffic back\n",
		"  to move it on: segue promote -s web d2\n", "  to end it: segue abort -s web d2\n")
	type wait struct {
		Deployment, Command string
		Since, Until        time.Time
	}
	var waits []wait
	if err := s.JSON(t.Context(), &waits, "explain", "-s", "web", "d2"); err != nil {
		t.Fatal(err)
	}
	if len(waits) != 1 || waits[0].Deployment != "d2" || waits[0].Until.Sub(waits[0].Since) != 2*time.Hour {
		t.Fatalf("%+v", waits)
	}
	s.expect(0, strings.Fields(waits[0].Command)[1:]...)
	s.approval(50)
	s.expect(0, "promote", "-s", "web")
	s.expect(0, "wait", "-s", "web")
	s.contains(s.expect(0, "explain", "-s", "web", "d2"), "web d2: promoted, r2 is stable")
}

// TestDryRun prints what a deploy would do, and does nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	file := s.write("segue.yaml", release{version: "2", strategy: approved}.String(), 0o644)
	for _, form := range []string{"text", "json"} {
		plan, dry := s.expect(0, "plan", "-f", file, "-o", form), s.expect(0, "deploy", "-f", file, "--dry-run", "-o", form)
		if plan != dry || !strings.Contains(plan.Stdout, "r2") {
			t.Errorf("the plan is\n%s\nand the dry run says\n%s", plan.Stdout, dry.Stdout)
		}
	}
	if st := s.status(); st.Deployment.ID != "d1" || len(st.Releases) != 1 {
		t.Errorf("a dry run has done something: %+v", st)
	}
}

// TestRestartAndScale changes the instances of stable under load.
func TestRestartAndScale(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	pids := func(release string, count int) map[int]bool {
		t.Helper()
		found := map[int]bool{}
		for _, r := range s.status().Releases {
			for _, in := range r.Instances {
				if r.ID == release {
					found[in.Pid] = true
				}
			}
		}
		if len(found) != count {
			t.Errorf("%d instances of %s, want %d", len(found), release, count)
		}
		return found
	}
	l := s.load(prove.Config{Rate: 80, Requests: load.Demo{SlowFor: time.Second}.Requests})
	l.answersFrom("r1", time.Time{})
	old := pids("r1", 2)
	s.contains(s.expect(0, "restart", "web", "--reason", "it leaks"), "web d2: promoted, r2 is stable")
	fresh := pids("r2", 2)
	for pid := range old {
		if fresh[pid] {
			t.Errorf("process %d was not restarted", pid)
		}
	}
	s.settled("r2")
	before := fresh
	for i, count := range []int{4, 1, 2} {
		s.contains(s.expect(0, "scale", "web", fmt.Sprint(count)), fmt.Sprintf("web d%d: done, r2 has %d instance", i+3, count))
		now := pids("r2", count)
		kept := 0
		for pid := range now {
			if before[pid] {
				kept++
			}
		}
		if kept != min(len(before), len(now)) {
			t.Errorf("of %d instances %d are left when there are to be %d", len(before), kept, count)
		}
		before = now
		s.settled("r2")
		seen := time.Now()
		l.answersFrom("r2", seen)
	}
	l.nothingLost()
	for _, id := range []string{"d2", "d3", "d4", "d5"} {
		s.receipt(id).adds(t, id)
	}
	s.contains(s.expect(1, "scale", "web", "0"), `"0" is no number of instances: want 1 or more`)
}
