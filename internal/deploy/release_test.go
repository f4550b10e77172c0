package deploy

import (
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/spec"
)

// unplacedOf is what the engine makes of a spec for the driver.
func unplacedOf(t *testing.T, text string) driver.Release {
	t.Helper()
	sp, err := spec.Parse("segue.yaml", []byte("service: web\ncommand: [serve]\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := (&Engine{cfg: Config{LookupEnv: os.LookupEnv}}).unplaced(sp, "r1")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestUnplacedHasAllOfTheSpec(t *testing.T) {
	got := unplacedOf(t, `
artifact: .
dir: sub
env: {A: b}
listen: socket
protocol: h2c
user: nobody
limits: {memory: 64MiB, cpu: 0.5, processes: 9}
health: {http: {path: /h, host: x, status: 204}, interval: 2s, timeout: 3s, healthy: 4, unhealthy: 5, start_deadline: 70s}
stop_signal: SIGUSR1
stop_grace: 7s
logs: {max_size: 1MiB}
`)
	want := driver.Release{
		Service: "web", ID: "r1", Command: []string{"serve"}, WorkDir: "sub", Env: map[string]string{"A": "b"}, User: "nobody", Socket: true, H2C: true,
		Health: health.Check{
			HTTP:     &health.HTTP{Path: "/h", Host: "x", Status: 204},
			Interval: 2 * time.Second, Timeout: 3 * time.Second, Healthy: 4, Unhealthy: 5,
		},
		StartDeadline: 70 * time.Second, StopSignal: "USR1", StopGrace: 7 * time.Second,
		Limits:      driver.Limits{MemoryBytes: 64 << 20, CPU: 0.5, Processes: 9},
		LogMaxBytes: 1 << 20,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// What one spec can't have all at once is in the tests below.
	checkFilled(t, reflect.ValueOf(got), "Dir", "NoAddress")
	checkFilled(t, reflect.ValueOf(got.Health), "GRPC", "TCP", "Command", "File", "Notify")
}

// checkFilled finds a field that was added to the driver's contract and that the
// engine leaves out.
func checkFilled(t *testing.T, v reflect.Value, but ...string) {
	t.Helper()
	left := map[string]bool{}
	for _, name := range but {
		left[name] = true
	}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() != left[name] {
			t.Errorf("%s.%s is %v", v.Type(), name, v.Field(i))
		}
	}
}

func TestUnplacedWorkers(t *testing.T) {
	for text, want := range map[string]health.Check{
		"listen: none\n": {Notify: true},
		"strategy: {worker: {order: exclusive}}\nhealth: {notify: true}\n": {Notify: true},
		"strategy: worker\nhealth: {file: said/ready}\n":                   {File: "said/ready"},
		"listen: none\nhealth: {command: [./check, \"{{.RunDir}}\"]}\n":    {Command: []string{"./check", "{{.RunDir}}"}},
	} {
		r := unplacedOf(t, text+"artifact: .\nstop_signal: quit\nstop_grace: 1h\n")
		if !r.NoAddress || r.Socket || r.StopSignal != "QUIT" || r.StopGrace != time.Hour {
			t.Errorf("%q: got %+v", text, r)
		}
		want.Interval, want.Timeout, want.Healthy, want.Unhealthy = time.Second, 5*time.Second, 1, 3
		if !reflect.DeepEqual(r.Health, want) {
			t.Errorf("%q: got %+v, want %+v", text, r.Health, want)
		}
	}
}

func TestUnplacedByDefault(t *testing.T) {
	r := unplacedOf(t, "")
	if r.NoAddress || r.Socket || !r.Health.TCP || r.StopSignal != "TERM" {
		t.Errorf("got %+v", r)
	}
}
