//go:build linux

package process

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/driver"
)

// tree makes files in a new directory, as a cgroup2 file system has them.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCgroupOfInstance(t *testing.T) {
	root := tree(t, map[string]string{"cgroup.controllers": "cpu io memory pids\n"})
	c := findCgroups(root)
	if !c.memory || !c.cpu || !c.pids || c.why != "" {
		t.Fatalf("got %+v, want all controllers", c)
	}
	dir, err := c.make("web-r1-1", driver.Limits{MemoryBytes: 64 << 20, CPU: 0.5, Processes: 10})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "67108864", "cpu.max": "50000 100000", "pids.max": "10"} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, error %v, want %q", file, got, err, want)
		}
	}
	if dir, err := c.make("web-r1-2", driver.Limits{}); dir != "" || err != nil {
		t.Errorf("without limits: group %q, error %v", dir, err)
	}
	if got := c.settings(driver.Limits{CPU: 0.0001})["cpu.max"]; got != "1000 100000" {
		t.Errorf("the smallest share of a core: %q", got)
	}
	if err := c.remove(t.Context(), "web-r9-9"); err != nil {
		t.Errorf("remove what isn't there: %v", err)
	}
	if err := os.Mkdir(filepath.Join(c.dir, "web-r1-3"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.remove(t.Context(), "web-r1-3"); err != nil {
		t.Error(err)
	}

	if c.outOfMemory("web-r1-1") {
		t.Error("out of memory without events")
	}
	for events, want := range map[string]bool{"low 0\noom 1\noom_kill 0\n": false, "oom 1\noom_kill 2\n": true} {
		if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte(events), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := c.outOfMemory("web-r1-1"); got != want {
			t.Errorf("%q: out of memory is %v", events, got)
		}
	}
}

func TestCgroupControllersMissing(t *testing.T) {
	c := findCgroups(tree(t, map[string]string{"cgroup.controllers": "hugetlb pids\n"}))
	if c.memory || c.cpu || !c.pids || strings.Count(c.why, "lacks the controller") != 1 {
		t.Errorf("got %+v, want pids alone", c)
	}
	l := driver.Limits{MemoryBytes: 1, Processes: 5}
	if note := c.missing(l); !strings.HasPrefix(note, "limits of memory aren't enforced on this machine: ") {
		t.Errorf("note is %q", note)
	}
	if note := c.missing(driver.Limits{Processes: 5}); note != "" {
		t.Errorf("note on what is enforced: %q", note)
	}
	if s := c.settings(l); len(s) != 1 {
		t.Errorf("settings %v, want pids.max alone", s)
	}
	c = findCgroups(filepath.Join(t.TempDir(), "missing"))
	if c.memory || c.why == "" {
		t.Errorf("without a directory: %+v", c)
	}
}

func TestDelegatedGroup(t *testing.T) {
	const mounts = "25 30 0:22 / /proc rw shared:1 - proc proc rw\n36 25 0:31 %ROOT% /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
	for _, c := range []struct{ name, root, own, want string }{
		{"service", "/", "0::/system.slice/segue.service\n", "/sys/fs/cgroup/system.slice/segue.service"},
		{"its own part of it", "/", "0::/system.slice/segue.service/daemon\n", "/sys/fs/cgroup/system.slice/segue.service"},
		{"root", "/", "12:pids:/x\n0::/\n", "/sys/fs/cgroup"},
		{"part of the hierarchy", "/box", "0::/box/in\n", "/sys/fs/cgroup/in"},
		{"outside of it", "/box", "0::/elsewhere\n", ""},
		{"version 1", "/", "12:pids:/x\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, map[string]string{"mountinfo": strings.ReplaceAll(mounts, "%ROOT%", c.root), "cgroup": c.own})
			got, err := delegated(filepath.Join(dir, "mountinfo"), filepath.Join(dir, "cgroup"))
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, error %v, want %q", got, err, c.want)
			}
		})
	}
	none := tree(t, map[string]string{"mountinfo": "25 30 0:22 / /proc rw - proc proc rw\n", "cgroup": "0::/\n"})
	if _, err := delegated(filepath.Join(none, "mountinfo"), filepath.Join(none, "cgroup")); err == nil {
		t.Error("a group is found where no cgroup2 is mounted")
	}
}

// TestRealCgroup runs where a cgroup2 directory with a pids controller is given.
func TestRealCgroup(t *testing.T) {
	parent := os.Getenv("SEGUE_TEST_CGROUP")
	if parent == "" {
		t.Skip("SEGUE_TEST_CGROUP names no cgroup2 directory")
	}
	m := newMachine(t)
	m.cfg.Cgroup = parent
	m.start()
	defer func() { m.stop() }()
	if c := m.cgroups(); !c.pids {
		t.Fatal(c.why)
	}
	r := m.shell(`: >"$SEGUE_RUN_DIR/ready"; for i in 1 2 3 4 5 6 7 8 9; do sleep 3600 & done; wait`)
	r.Limits.Processes = 5
	m.ensure(r, 1)
	in := m.until("started", func(l []driver.Instance) bool { return len(l) == 1 && l[0].Pid != 0 })[0]
	text, err := os.ReadFile("/proc/" + strconv.Itoa(in.Pid) + "/cgroup")
	if err != nil || !strings.Contains(string(text), "/segue/"+in.ID+"\n") {
		t.Errorf("the instance is in %q, error %v", text, err)
	}
	if n := len(m.processes(in.ID)); n > 5 {
		t.Errorf("%d processes in spite of a limit of 5", n)
	}
	m.remove(r)
	if _, err := os.Stat(filepath.Join(parent, "segue", in.ID)); !os.IsNotExist(err) {
		t.Errorf("the group is left over: %v", err)
	}
}

// TestStartsInGroup needs no controller.
func TestStartsInGroup(t *testing.T) {
	parent := os.Getenv("SEGUE_TEST_CGROUP")
	if parent == "" {
		t.Skip("SEGUE_TEST_CGROUP names no cgroup2 directory")
	}
	c := cgroups{dir: filepath.Join(parent, "segue-test")}
	dir := filepath.Join(c.dir, "web-r1-1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(c.dir)
	s := surroundings{workDir: "/"}
	pid, err := s.startProcess(spawn{path: "/bin/sleep", args: []string{"sleep", "3600"}, out: os.Stdout, cgroup: dir})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil || !strings.Contains(string(text), "/segue-test/web-r1-1\n") {
		t.Errorf("the process is in %q, error %v", text, err)
	}
	kill(t, pid)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := finish(ctx, pid); err == nil || err.Error() != "killed by SIGKILL" {
		t.Error(err)
	}
	if err := c.remove(t.Context(), "web-r1-1"); err != nil {
		t.Error(err)
	}
}
