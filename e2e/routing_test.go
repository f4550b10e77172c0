package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/internal/prove"
)

// unlikely is the probability with which a number that is left to chance may lie
// outside of its interval. There are several such numbers in a run, and a test that
// fails by chance is of no use; the proxy's own test, whose chance is always the same,
// holds the split to 1 in 10,000.
const unlikely = 1e-9

// interval is where a binomial variable of n tries with probability p lies; that it
// is less has half of the probability outside, that it is more the other.
func interval(n int, p, outside float64) (least, most int) {
	lgamma := func(x int) float64 {
		v, _ := math.Lgamma(float64(x))
		return v
	}
	density := func(k int) float64 {
		return math.Exp(lgamma(n+1) - lgamma(k+1) - lgamma(n-k+1) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	for sum := density(0); sum <= outside/2; sum += density(least) {
		least++
	}
	most = n
	for sum := density(n); sum <= outside/2; sum += density(most) {
		most--
	}
	return least, most
}

// likely fails unless n of all lies in the interval of a share.
func likely(t *testing.T, what string, n, all int, share float64) {
	t.Helper()
	least, most := interval(all, share, unlikely)
	t.Logf("%s: %d of %d; at %.0f %% it is from %d to %d but for 1 case in 1/%g", what, n, all, 100*share, least, most, unlikely)
	if n < least || n > most {
		t.Errorf("%s: %d of %d, want from %d to %d", what, n, all, least, most)
	}
}

func TestInterval(t *testing.T) {
	t.Parallel()
	// Of ten throws of a coin none is a head in 1/1024 of all cases, at most one in
	// 11/1024.
	for outside, want := range map[float64][2]int{0.001: {0, 10}, 0.01: {1, 9}, 0.03: {2, 8}} {
		if least, most := interval(10, 0.5, outside); least != want[0] || most != want[1] {
			t.Errorf("outside %v: from %d to %d, want %v", outside, least, most, want)
		}
	}
}

// begin deploys and returns when the deployment waits for its first approval, at
// which the candidate has that weight.
func (s *stage) begin(r fmt.Stringer, weight int) {
	s.t.Helper()
	file := s.write("segue.yaml", r.String(), 0o644)
	s.expect(4, "deploy", "-f", file, "--wait=false")
	s.approval(weight)
}

// approval waits until the deployment waits for somebody's word, while its candidate
// has that weight.
func (s *stage) approval(weight int) {
	s.t.Helper()
	s.standsAt("approve", weight)
}

// standsAt waits until a step of that kind is being done, while the candidate has
// that weight and stable the rest.
func (s *stage) standsAt(kind string, weight int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s at %d %%", kind, weight), func() bool {
		st := s.status()
		d := st.Deployment
		if d.final() {
			s.t.Fatalf("%s is %s: %s", d.ID, d.Phase, d.Reason)
		}
		weights := map[string]int{}
		for _, r := range st.Releases {
			weights[r.ID] = r.Weight
		}
		stands := slices.ContainsFunc(d.Steps, func(st step) bool { return st.Kind == kind && st.Status == "running" })
		return stands && weights[d.Candidate] == weight && weights[st.Stable] == 100-weight
	})
}

// takenBack gives the command to abort, and returns when all traffic is stable's.
func (s *stage) takenBack() time.Time {
	s.t.Helper()
	s.expect(0, "abort", "-s", "web")
	eventually(s.t, "the shift back", func() bool {
		return slices.ContainsFunc(s.status().Deployment.Steps, func(st step) bool { return st.Kind == "shift" && st.Back && st.Status == "done" })
	})
	return time.Now()
}

// ends waits until the load has ended by itself.
func (l *loadRun) ends(requests uint64) prove.Report {
	l.t.Helper()
	eventually(l.t, fmt.Sprintf("%d answers", requests), func() bool { return l.gen.Report().Ended() == requests })
	return l.nothingLost()
}

// TestCanaryShare counts how many requests meet a candidate that has 5 %.
func TestCanaryShare(t *testing.T) {
	t.Parallel()
	const requests = 4000
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	s.begin(release{version: "2", strategy: "canary: {steps: [weight: 5, approve, weight: 100, bake: 200ms]}"}, 5)
	report := s.load(prove.Config{KeepAlive: 6, Fresh: 2, Rate: 1e6, MaxRequests: requests, Requests: load.Demo{Get: 1}.Requests}).ends(requests)
	answered := map[string]int{}
	for _, r := range report.Releases {
		answered[r.ID] = int(r.OK)
	}
	likely(t, "answers of the candidate", answered["r2"], requests, 0.05)
	if answered["r1"]+answered["r2"] != requests {
		t.Errorf("%s", report)
	}
	s.expect(0, "promote", "-s", "web")
	s.contains(s.expect(0, "wait", "-s", "web", "d2"), "promoted, r2 is stable")
}

// TestStickyClients has a candidate's weight rise while clients keep the cookies that
// they are given: each moves to the candidate once, and after an abort back, once.
func TestStickyClients(t *testing.T) {
	t.Parallel()
	const clients = 40
	s := newStage(t).serve()
	r := release{more: "route: {sticky: {cookie: segue_release}}\n"}
	s.deploy(r, 0)
	l := s.load(prove.Config{KeepAlive: clients / 2, Fresh: clients / 2, Cookies: true, Rate: 200, Requests: load.Demo{Get: 1}.Requests})
	moves := func(from, to string) int {
		for _, m := range l.gen.Report().Moves {
			if m.From == from && m.To == to {
				return int(m.Count)
			}
		}
		return 0
	}
	allAsk := func() {
		enough := l.gen.Report().Ended() + 5*clients
		eventually(t, "more answers", func() bool { return l.gen.Report().Ended() > enough })
	}
	allAsk()
	r.strategy = "canary: {steps: [weight: 5, approve, weight: 25, approve, weight: 50, approve, weight: 100, approve, bake: 200ms]}"
	s.begin(r, 5)
	for _, weight := range []int{25, 50, 100} {
		allAsk()
		s.expect(0, "promote", "-s", "web")
		s.approval(weight)
		if weight == 50 {
			allAsk()
			likely(t, "clients that have moved", moves("r1", "r2"), clients, 0.5)
		}
	}
	eventually(t, "all clients are the candidate's", func() bool { return moves("r1", "r2") >= clients })
	if n := moves("r2", "r1"); n > 0 {
		t.Errorf("%d clients went back while the weight rose", n)
	}
	back := s.takenBack()
	eventually(t, "all clients are stable's", func() bool { return moves("r2", "r1") >= clients })
	report := l.nothingLost()
	if n := l.gen.After(back)["r2"]; n > 0 || moves("r1", "r2") != clients || moves("r2", "r1") != clients {
		t.Errorf("%d requests met the candidate after the abort; the moves of %d clients: %+v", n, clients, report.Moves)
	}
	s.expect(3, "wait", "-s", "web", "d2")
}

// guest is one request of somebody.
type guest struct {
	host, path string
	header     http.Header
}

// meets sends a guest's request and returns which release answered; it is empty if
// none did.
func (s *stage) meets(g guest) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.Address+"/"+g.path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host, req.Header = g.host, g.header.Clone()
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Header.Get("X-Release")
}

// TestStickyUsers tells users apart by a header of theirs.
func TestStickyUsers(t *testing.T) {
	t.Parallel()
	const users = 100
	s := newStage(t).serve()
	r := release{more: "route: {sticky: {header: X-User-ID}}\n"}
	s.deploy(r, 0)
	r.strategy = "canary: {steps: [weight: 5, approve, weight: 50, approve, weight: 100, bake: 200ms]}"
	s.begin(r, 5)
	moved := func() map[int]bool {
		found := map[int]bool{}
		for i := range users {
			if s.meets(guest{header: http.Header{"X-User-Id": {fmt.Sprintf("user-%d", i)}}}) == "r2" {
				found[i] = true
			}
		}
		return found
	}
	few := moved()
	likely(t, "users of the candidate", len(few), users, 0.05)
	if again := moved(); !maps.Equal(few, again) {
		t.Errorf("at one weight %v met the candidate, and then %v", few, again)
	}
	s.expect(0, "promote", "-s", "web")
	s.approval(50)
	half := moved()
	likely(t, "users of the candidate", len(half), users, 0.5)
	for user := range few {
		if !half[user] {
			t.Errorf("user %d went back while the weight rose", user)
		}
	}
	s.takenBack()
	if left := moved(); len(left) > 0 {
		t.Errorf("after an abort the candidate is met by %v", left)
	}
}

// TestPreview lets some guests meet the candidate while it has no weight.
func TestPreview(t *testing.T) {
	t.Parallel()
	const rules = `[{header: X-Segue-Release, value: candidate}, {cookie: staff}, {query: preview, value: "1"}, {host: next.example.com}]`
	for _, test := range []struct {
		name, strategy string
		// verb ends the wait; then is what answers everybody after it, and own what
		// answers at the candidate's own host.
		verb, then, own string
		code            int
	}{
		{"match of a canary", "canary: {match: " + rules + ", steps: [approve, weight: 100, bake: 200ms]}", "abort", "r1", "", 3},
		{"preview of blue-green", "blue-green: {preview: " + rules + ", approve: {deadline: 5m}, bake: 200ms}", "promote", "r2", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const shop, own = "shop.example.com", "next.example.com"
			s := newStage(t).serve()
			r := release{more: "route: {hosts: [" + shop + "]}\n"}
			s.deploy(r, 0)
			r.strategy = test.strategy
			s.begin(r, 0)
			header := func(name, value string) http.Header { return http.Header{name: {value}} }
			chosen := prove.Config{KeepAlive: 2, Fresh: 2, Rate: 40, Host: shop, Header: header("X-Segue-Release", "candidate")}
			others := chosen
			others.Header = header("X-Segue-Release", "stable")
			began := time.Now()
			preview, public := s.load(chosen), s.load(others)
			all := map[string][]guest{
				"r2": {
					{host: own},
					{host: shop, header: header("Cookie", "a=b; staff=me")},
					{host: shop, path: "?a=b&preview=1"},
					{host: shop, header: header("X-Segue-Release", "candidate")},
				},
				"r1": {
					{host: shop},
					{host: shop, header: header("Cookie", "a=staff")},
					{host: shop, path: "?preview=2"},
					{host: shop, header: header("X-Segue-Release", "r2")},
				},
			}
			for want, guests := range all {
				for _, g := range guests {
					if got := s.meets(g); got != want {
						t.Errorf("%+v meets %q, want %s", g, got, want)
					}
				}
			}
			preview.answersFrom("r2", began)
			public.answersFrom("r1", began)
			if a, b := preview.gen.After(began)["r1"], public.gen.After(began)["r2"]; a+b > 0 {
				t.Errorf("%d requests of the preview met stable, %d of others the candidate", a, b)
			}
			s.expect(0, test.verb, "-s", "web")
			s.expect(test.code, "wait", "-s", "web", "d2")
			ended := time.Now()
			for _, guests := range all {
				for _, g := range guests {
					want := test.then
					if g.host == own {
						want = test.own
					}
					if got := s.meets(g); got != want {
						t.Errorf("in the end %+v meets %q, want %q", g, got, want)
					}
				}
			}
			for _, l := range []*loadRun{preview, public} {
				l.answersFrom(test.then, ended)
				l.nothingLost()
				if got := l.gen.After(ended); len(got) != 1 {
					t.Errorf("in the end all meet %s, but %v", test.then, got)
				}
			}
		})
	}
}

// seen is a request as an instance of the demo service got it.
type seen struct {
	Release, Method string
	LoadID          string `json:"load_id"`
	Header          http.Header
}

// allSeen reads what the instances have noted; it keeps nothing of the requests that
// are no part of a load.
func (s *stage) allSeen(path string) []seen {
	s.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []seen
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var one seen
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			s.t.Fatalf("%s: %v", lines.Text(), err)
		}
		if one.LoadID != "" {
			all = append(all, one)
		}
	}
	return all
}

// TestMirror holds the copies that a candidate gets against the requests that stable
// gets.
func TestMirror(t *testing.T) {
	t.Parallel()
	const requests = 600
	for _, test := range []struct {
		name, mirror string
		weight       int
		share        float64
		// bodies: they are compared, and only those of /bytes are the same.
		bodies bool
	}{
		{"all", "{share: 100%, compare: body, max_body: 1MiB, max_in_flight: 1000}", 0, 1, true},
		{"some", "{share: 30%, max_in_flight: 1000}", 0, 0.3, false},
		{"beside a weight", "{share: 100%, max_in_flight: 1000}", 50, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t).serve()
			file := filepath.Join(s.dir, "seen")
			r := release{env: "  DEMO_SEEN: " + file + "\n"}
			s.deploy(r, 0)
			steps := "[approve, weight: 100, bake: 200ms]"
			if test.weight > 0 {
				steps = fmt.Sprintf("[weight: %d, approve, weight: 100, bake: 200ms]", test.weight)
			}
			r.strategy = "canary: {mirror: " + test.mirror + ", steps: " + steps + "}"
			s.begin(r, test.weight)
			report := s.load(prove.Config{KeepAlive: 4, Fresh: 2, Slow: 2, Requests: load.Demo{SlowFor: time.Second}.Requests, MaxRequests: requests}).ends(requests)
			s.copiesEnd()
			s.expect(0, "abort", "-s", "web")
			s.expect(3, "wait", "-s", "web", "d2")

			safe, copies, arrived := map[string]bool{}, map[string]int{}, 0
			for _, one := range s.allSeen(file) {
				isCopy := one.Header.Get("Segue-Mirror") != ""
				if isCopy {
					copies[one.LoadID]++
				} else {
					arrived++
				}
				if one.Release == "r1" && one.Method == http.MethodGet {
					safe[one.LoadID] = true
				}
				if isCopy && (one.Release != "r2" || one.Method != http.MethodGet) || !isCopy && one.Release == "r2" && test.weight == 0 {
					t.Errorf("%s got %+v", one.Release, one)
				}
			}
			if arrived != requests {
				t.Errorf("of %d requests %d arrived", requests, arrived)
			}
			for id, n := range copies {
				if n != 1 || !safe[id] {
					t.Errorf("%d copies of %s, which is safe and met stable: %v", n, id, safe[id])
				}
			}
			if test.share == 1 && len(copies) != len(safe) || len(copies) == 0 {
				t.Errorf("%d copies of %d safe requests", len(copies), len(safe))
			} else if test.share < 1 {
				likely(t, "copies", len(copies), len(safe), test.share)
			}
			receipt := s.receipt("d2")
			receipt.adds(t, "d2")
			m := receipt.Mirror
			same, different := uint64(len(copies)), uint64(0)
			if test.bodies {
				same = report.Kinds[load.Bytes].OK
				different = report.Kinds[load.Get].OK + report.Kinds[load.Slow].OK
			}
			if m.Sent != uint64(len(copies)) || m.Same != same || m.Different != different || m.Dropped+m.Failed+m.Uncompared > 0 {
				t.Errorf("%d copies, of which %d are the same and %d different, and the receipt says %+v", len(copies), same, different, m)
			}
			if receipt.Total.Accepted != requests || receipt.Total.Answered[2] != requests {
				t.Errorf("the copies count as requests: %+v", receipt.Total)
			}
		})
	}
}

// copiesEnd waits until no copy is under way.
func (s *stage) copiesEnd() {
	s.t.Helper()
	eventually(s.t, "the copies end", func() bool {
		var all []struct {
			Traffic struct {
				Mirror struct{ Sent, Failed, Same, Different, Uncompared uint64 }
			}
		}
		if err := s.JSON(s.t.Context(), &all, "status"); err != nil {
			s.t.Fatal(err)
		}
		m := all[0].Traffic.Mirror
		return m.Sent == m.Failed+m.Same+m.Different+m.Uncompared
	})
}

// TestMirrorHangs gives copies to a candidate that doesn't answer them in a time that
// any request may take.
func TestMirrorHangs(t *testing.T) {
	t.Parallel()
	const requests, copies = 400, 10
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	s.begin(release{behaviour: "slow=10m", strategy: "canary: {mirror: {share: 100%}, steps: [approve, weight: 100, bake: 200ms]}"}, 0)
	cfg := prove.Config{KeepAlive: 4, Fresh: 2, MaxRequests: requests, Requests: load.Demo{Get: 1}.Requests, Timeout: 20 * time.Second}
	report := s.load(cfg).ends(requests)
	t.Logf("%+v", report.Latency)
	s.expect(0, "abort", "-s", "web")
	s.expect(3, "wait", "-s", "web", "d2")
	if m := s.receipt("d2").Mirror; m.Sent != copies || m.Dropped != requests-copies || m.Uncompared != copies {
		t.Errorf("the receipt says %+v", m)
	}
}
