package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

// teller is as much of a daemon as following needs: it tells a script's events.
type teller struct {
	t      *testing.T
	dir    string
	d      api.Deployment
	server *http.Server
	ended  chan struct{}
	// tell is how many events it tells before it waits; the rest comes never.
	tell   int
	events []api.Event
	told   chan struct{}
	// logs answers for the logs, where a test asks for them.
	logs http.HandlerFunc
}

func newTeller(t *testing.T, s *script, tell int) *teller {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &teller{t: t, dir: dir, d: s.until(1), tell: tell, events: s.events, told: make(chan struct{}, 100)}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *teller) start() {
	l, err := net.Listen("unix", filepath.Join(d.dir, "segue.sock"))
	if err != nil {
		d.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/services/web/rollback", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(d.d) })
	mux.HandleFunc("GET /v1/services/web/events", d.stream)
	mux.HandleFunc("GET /v1/services/web/logs", func(w http.ResponseWriter, r *http.Request) { d.logs(w, r) })
	d.server = &http.Server{Handler: mux}
	d.ended = make(chan struct{})
	go func() {
		defer close(d.ended)
		_ = d.server.Serve(l)
	}()
}

func (d *teller) stop() {
	d.server.Close()
	<-d.ended
}

func (d *teller) stream(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	fmt.Fprint(w, ":segue\n\n")
	for _, ev := range d.events[after:d.tell] {
		data, _ := json.Marshal(ev)
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", ev.ID, data)
	}
	_ = http.NewResponseController(w).Flush()
	d.told <- struct{}{}
	<-r.Context().Done()
}

// run runs `segue rollback`, which does no more than following.
func (d *teller) run(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Run(ctx, append([]string{"rollback", "--service", "web", "--state-dir", d.dir}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		name string
		s    *script
		args []string
		code int
		last string
	}{
		{"promoted", good(), nil, 0, "web d2: promoted, r2 is stable (11.2s)"},
		{"failed", failed(), nil, 2, "web d2: failed and taken back (1.52s): web-r2-1: exited with code 3 after 1.5s"},
		{"aborted", aborted(), nil, 3, "web d2: aborted by bob: wrong branch (3.02s)"},
		{"not waited for", good(), []string{"--wait=false"}, 4, "d2 of web: r2 is on its way in; 'segue wait -s web d2' waits for its end"},
		{"as JSON", failed(), []string{"-o", "json"}, 2, `"kind":"finished","data":{"phase":"failed"}}`},
		{"as JSON and not waited for", good(), []string{"-o", "json", "--wait=false"}, 4, "}"},
		{"in a wrong form", good(), []string{"-o", "yaml"}, 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newTeller(t, test.s, len(test.s.events))
			code, out, errs := d.run(t.Context(), test.args...)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if last := lines[len(lines)-1]; code != test.code || !strings.HasSuffix(last, test.last) {
				t.Errorf("exit code %d, stderr %q, and\n%s", code, errs, out)
			}
		})
	}
}

// TestJSONIsJSON: what is asked for as JSON is nothing but that.
func TestJSONIsJSON(t *testing.T) {
	for _, wait := range []string{"--wait=true", "--wait=false"} {
		s := good()
		_, out, _ := newTeller(t, s, len(s.events)).run(t.Context(), "-o", "json", wait)
		dec := json.NewDecoder(strings.NewReader(out))
		n := 0
		for ; dec.More(); n++ {
			var v map[string]any
			if err := dec.Decode(&v); err != nil {
				t.Fatalf("%s: %v in\n%s", wait, err, out)
			}
		}
		if n == 0 {
			t.Errorf("%s: nothing", wait)
		}
	}
}

// TestInterrupted: Ctrl-C ends the looking on, not the deployment.
func TestInterrupted(t *testing.T) {
	d := newTeller(t, good(), 4)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-d.told
		cancel()
	}()
	code, _, errs := d.run(ctx)
	if code != 4 || !strings.Contains(errs, "d2 of web goes on without you: 'segue status' shows it, 'segue abort' ends it") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

// TestDaemonComesBack in the middle: nothing is shown twice or left out.
func TestDaemonComesBack(t *testing.T) {
	s := good()
	d := newTeller(t, s, 4)
	var restarted sync.WaitGroup
	restarted.Go(func() {
		<-d.told
		d.stop()
		d.tell = len(s.events)
		d.start()
	})
	code, out, errs := d.run(t.Context())
	restarted.Wait()
	if code != 0 || errs != "" || !strings.Contains(out, "the daemon does not answer, traffic goes on without it; trying until") || !strings.Contains(out, "the daemon answers again") {
		t.Errorf("exit code %d, %q\n%s", code, errs, out)
	}
	for _, once := range []string{"1/3", "2/3", "3/3", "(1 of 2)", "promoted"} {
		if n := strings.Count(out, once); n != 1 {
			t.Errorf("%q stands there %d times:\n%s", once, n, out)
		}
	}
}

// TestDescribe is what a pipe or a log gets.
func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		name string
		s    *script
		want string
	}{
		{"good", good(), `
web d2: deploy r2: hotfix
1/3  start 2 instances of r2 and wait until ready (at most 1m0s)
      web-r2-1 is ready (1 of 2)
      done after 1.204s: 2 instances ready
2/3  shift traffic: r2 100 %
      done after 8ms: in force after 7.5ms
3/3  bake r2 for 10s
      done after 10s
web d2: promoted, r2 is stable (11.2s)
`},
		{"failed", failed(), `
web d2: deploy r2: hotfix
1/3  start 2 instances of r2 and wait until ready (at most 1m0s)
      FAILED: web-r2-1: exited with code 3 after 1.5s
      its last lines:
      | panic:    no database
      | goodbye
taking r2 back; r1 is stable
back retire r2: stop its instances
      done after 20ms
web d2: failed and taken back (1.52s): web-r2-1: exited with code 3 after 1.5s
`},
		{"aborted", aborted(), `
web d2: deploy r2: hotfix
1/3  start 2 instances of r2 and wait until ready (at most 1m0s)
aborted by bob: wrong branch
taking r2 back; r1 is stable
back retire r2: stop its instances
      done after 20ms
web d2: aborted by bob: wrong branch (3.02s)
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got strings.Builder
			var d api.Deployment
			for _, ev := range test.s.events {
				d = d.Apply(ev)
				for _, l := range describe("web", ev, d) {
					got.WriteString(l + "\n")
				}
			}
			expectText(t, got.String(), test.want)
		})
	}
	first := newScript("").d
	if got := takingBack(first); got != "taking r2 back; there is no stable release to take the traffic" {
		t.Error(got)
	}
}

// TestTimesAreLocal: a line begins with the time at which it happened.
func TestTimesAreLocal(t *testing.T) {
	var out strings.Builder
	s := good()
	lineView{&out, "web"}.event(s.events[0], s.until(1))
	if want := start().Local().Format("15:04:05") + ".000  web d2"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("%q", out.String())
	}
	if _, err := time.Parse("15:04:05.000", strings.Fields(out.String())[0]); err != nil {
		t.Error(err)
	}
}
