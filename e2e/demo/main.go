// Command demo shows Segue's main job on real processes: releases of a service
// are deployed, refused and rolled back while a load client of its own, which
// counts every request, talks to the service through the proxy.
//
// It ends with exit code 0 only if that client saw no request lost and its count
// agrees with the proxy's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/e2e/rig"
	"github.com/segue-deploy/segue/internal/prove"
)

func main() {
	segue := flag.String("segue", "bin/segue", "the segue binary")
	service := flag.String("service", "bin/demo-service", "the demo service's binary")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *segue, *service)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run sets the stage, plays, and leaves nothing behind.
func run(ctx context.Context, segue, service string) (err error) {
	dir, err := os.MkdirTemp("", "segue-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	artifact := filepath.Join(dir, "artifact")
	if err := copyFile(service, filepath.Join(artifact, "demo-service")); err != nil {
		return err
	}
	r, err := rig.New(segue, filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	say("segue serve --listen %s", r.Address)
	if err := r.Serve(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.StopAll(), makeWritable(dir)) }()
	d := demo{rig: r, dir: dir}
	return d.play(ctx)
}

type demo struct {
	rig *rig.Rig
	dir string
}

// act is one deployment and how it has to end.
type act struct {
	title   string
	spec    string
	args    []string
	code    int
	outcome string
}

func (d *demo) play(ctx context.Context) error {
	first := act{title: "r1, the first release: three instances", spec: spec("1.0", "ok"), outcome: "promoted"}
	if err := d.perform(ctx, first); err != nil {
		return err
	}
	say("load: 12 keep-alive and 4 fresh connections, GET and POST with bodies, and slow answers, from here to the end")
	gen, err := prove.New(prove.Config{Target: d.rig.Address, Marked: true, KeepAlive: 12, Fresh: 4, Slow: 3, Rate: 400,
		Requests: load.Demo{SlowFor: 3 * time.Second}.Requests,
	})
	if err != nil {
		return err
	}
	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	loaded := make(chan error, 1)
	go func() { loaded <- gen.Run(loadCtx) }()

	var failed error
	for _, a := range []act{
		{title: "r2, a good release, blue-green under load", spec: spec("2.0", "ok"), outcome: "promoted"},
		{title: "r3 never becomes healthy: refused before it gets traffic", spec: spec("3.0", "unhealthy"), code: 2, outcome: "failed"},
		{title: "r4 is healthy but fails its smoke test: refused, too", spec: spec("4.0", "smoke-fails"), code: 2, outcome: "failed"},
		{title: "back from r2 to r1, which is still warm", args: []string{"rollback", "-s", "demo"}, outcome: "promoted"},
	} {
		if failed = d.perform(ctx, a); failed != nil {
			break
		}
	}
	stopLoad()
	if err := <-loaded; err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, d.account(ctx, gen.Report()))
}

// perform runs an act and prints its receipt.
func (d *demo) perform(ctx context.Context, a act) error {
	fmt.Printf("\n=== %s\n", a.title)
	args := a.args
	if a.spec != "" {
		file := filepath.Join(d.dir, "segue.yaml")
		if err := os.WriteFile(file, []byte(a.spec), 0o644); err != nil {
			return err
		}
		args = []string{"deploy", "-f", file}
	}
	say("segue %s", strings.Join(args, " "))
	if code := d.rig.Stream(ctx, os.Stdout, os.Stderr, args...); code != a.code {
		return fmt.Errorf("segue %s ended with exit code %d, want %d (%s)", args[0], code, a.code, a.outcome)
	}
	say("segue receipt")
	if code := d.rig.Stream(ctx, os.Stdout, os.Stderr, "receipt", "-s", "demo"); code != 0 {
		return fmt.Errorf("segue receipt ended with exit code %d", code)
	}
	return nil
}

// account holds the load client's count against the proxy's and prints the last
// line.
func (d *demo) account(ctx context.Context, report prove.Report) error {
	var services []struct {
		Traffic struct {
			Releases []struct {
				Accepted uint64 `json:"accepted"`
			} `json:"releases"`
		} `json:"traffic"`
	}
	if err := d.rig.JSON(ctx, &services, "status"); err != nil {
		return err
	}
	var counted uint64
	for _, s := range services {
		for _, r := range s.Traffic.Releases {
			counted += r.Accepted
		}
	}
	total := report.Ended()
	fmt.Printf("\n=== the account\nthe load client: %s\nthe proxy: %d accepted\n", report.Counts, counted)
	for _, f := range report.Failures {
		fmt.Println("  ", f)
	}
	defer fmt.Printf("lost %d of %d requests\n", report.Lost+report.Wrong, total)
	switch {
	case report.OK != total:
		return fmt.Errorf("%d requests did not end well", total-report.OK)
	case counted != total:
		return fmt.Errorf("the load client counted %d requests, the proxy %d", total, counted)
	}
	return nil
}

func say(format string, args ...any) { fmt.Printf("$ "+format+"\n", args...) }

// spec is the service's segue.yaml; times are short so that the demo is.
func spec(version, behaviour string) string {
	return fmt.Sprintf(`service: demo
artifact: artifact
command: [./demo-service]
instances: 3
env:
  DEMO_VERSION: "%s"
  DEMO_BEHAVIOUR: %s
health:
  http: {path: /healthz}
  interval: 200ms
  timeout: 2s
  start_deadline: 4s
smoke:
  - http: {path: /smoke, contains: "%s"}
strategy:
  blue-green: {bake: 3s}
drain: 10s
warm: 5m
stop_grace: 5s
`, version, behaviour, version)
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}

// makeWritable lets the artifacts' read-only directories be removed.
func makeWritable(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}
