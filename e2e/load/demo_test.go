package load

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// Bodies that don't arrive as they were sent, and answers that don't arrive as
// they should.
func TestWrongContent(t *testing.T) {
	echo := func(length, sum string) http.Handler {
		return marked(func(w http.ResponseWriter, r *http.Request, id string) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, `{"release":"r1","load_id":%q,"length":%s,"sha256":%q}`, id, length, sum)
		})
	}
	json := func(said string) http.Handler {
		return marked(func(w http.ResponseWriter, _ *http.Request, id string) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, strings.ReplaceAll(said, "ID", id))
		})
	}
	home := func(_ prove.Client, id string) *prove.Request { return get(id) }
	bytes := func(prove.Client, string) *prove.Request { return bytesOf(3) }
	slow := func(_ prove.Client, id string) *prove.Request {
		r := request(Slow, http.MethodGet, "/slow", "")
		r.Check = func(resp *http.Response) error { return checkSlow(resp, id, 250*time.Millisecond) }
		return r
	}
	post := func(c prove.Client, id string) *prove.Request {
		v := visitor{Demo: Demo{}, Client: c, bodies: randomBytes(0, 2*maxBody)}
		return v.echo(id)
	}
	for name, c := range map[string]struct {
		ask  func(prove.Client, string) *prove.Request
		h    http.Handler
		want string
	}{
		"a body of another":      {home, json(`{"release":"r1","load_id":"xID"}`), "the body answers"},
		"one of another release": {home, json(`{"release":"r2","load_id":"ID"}`), `the body is of "r2"`},
		"a shorter body":         {post, echo("0", ""), "got 0 bytes of"},
		"no length":              {post, echo("null", ""), "got no length of"},
		"no JSON":                {post, constant("hello"), "not the JSON"},
		"too few bytes":          {bytes, constant(""), "ended after 0 of"},
		"other bytes":            {bytes, constant("\x00\x02\x00"), "byte 1 is 2, want 1"},
		"too many bytes":         {bytes, constant("\x00\x01\x02\x03"), "goes on after 3 bytes"},
		"no end":                 {slow, text(func(id string) string { return "1 r1 " + id + "\n2" }), `ended with "2"`},
		"too soon an end":        {slow, constant("end\n"), "0 lines, want 2"},
		"an end too many":        {slow, text(func(id string) string { return "1 r1 " + id + "\n2 r1 " + id + "\nend\nend\n" }), "goes on"},
		"a missing piece":        {slow, text(func(id string) string { return "2 r1 " + id + "\nend\n" }), "want \"1 r1 "},
		"a piece of another":     {slow, text(func(id string) string { return "1 r2 " + id + "\nend\n" }), "want \"1 r1 "},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, prove.Config{Target: serve(t, c.h), KeepAlive: 1, MaxRequests: 1, Requests: one(c.ask)})
			if r.Wrong != 1 || r.Causes["content"] != 1 || !strings.Contains(r.Failures[0].Error, c.want) {
				t.Errorf("%s, want %q", r, c.want)
			}
		})
	}
}

func TestEchoOfOtherBytes(t *testing.T) {
	r := run(t, prove.Config{KeepAlive: 1, Requests: Demo{Echo: 1}.Requests, MaxRequests: 10,
		Target: serve(t, marked(func(w http.ResponseWriter, r *http.Request, id string) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, `{"release":"r1","load_id":%q,"length":%d,"sha256":"0"}`, id, n)
		}))})
	if r.Wrong != 10 || r.Causes["content"] != 10 || !strings.Contains(r.Failures[0].Error, "not those that were sent") {
		t.Errorf("%s", r)
	}
}

func TestSameSeedAsksTheSame(t *testing.T) {
	asked := func() []string {
		next := Demo{Seed: 42}.Requests(client())
		var all []string
		for range 50 {
			r := next("id")
			all = append(all, fmt.Sprint(r.HTTP.Method, r.HTTP.URL, r.HTTP.ContentLength))
		}
		return all
	}
	if a, b := asked(), asked(); strings.Join(a, "\n") != strings.Join(b, "\n") {
		t.Errorf("%q\n%q", a, b)
	}
}

func TestDrivesTheDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the demo")
	}
	binary := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", binary, "../../examples/demo").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	cmd := exec.Command(binary)
	cmd.Env = []string{"PORT=" + port, "SEGUE_RELEASE=r3", "DEMO_BEHAVIOUR=errors=50"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for tries := 0; ; tries++ {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
			break
		}
		if tries == 1000 {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // nothing tells when another process listens
	}
	r := run(t, prove.Config{
		Target: "127.0.0.1:" + port, KeepAlive: 3, Fresh: 2, Slow: 2, Requests: Demo{SlowFor: 400 * time.Millisecond}.Requests, MaxRequests: 1000,
	})
	for _, k := range []prove.Kind{Get, Echo, Bytes, Slow} {
		if r.Kinds[k].OK == 0 {
			t.Errorf("no request of kind %s", k)
		}
	}
	if r.Lost != 0 || r.Wrong != 0 || r.ServiceError == 0 || r.Kinds[Bytes].ServiceError != 0 || r.Kinds[Slow].ServiceError != 0 {
		t.Errorf("%s", r)
	}
	if len(r.Releases) != 1 || r.Releases[0].ID != "r3" || r.Releases[0].Answered[5] != r.ServiceError {
		t.Errorf("releases %+v", r.Releases)
	}
}
