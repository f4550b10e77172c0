//go:build linux

package process

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
)

// environ returns a living process's environment, sorted.
func environ(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	slices.Sort(list)
	return list
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_DAEMON", "x")
	t.Setenv("HOME", "/home/daemon")
	t.Setenv("LANG", "C.UTF-8")
	t.Setenv("TZ", "UTC")
	m := startMachine(t)
	r := m.release()
	r.Env = map[string]string{"A": "1", "TZ": "Asia/Tokyo", "PORT": "mine", "EMPTY": ""}
	m.ensure(r, 1)
	in := m.ready(1)[0]
	_, port, err := net.SplitHostPort(in.Target.Address)
	if err != nil {
		t.Fatal(err)
	}
	runDir := filepath.Join(m.cfg.Dir, "run", "web-r1-1")
	want := []string{
		"A=1", "EMPTY=", "HOME=/home/daemon", "HOST=127.0.0.1", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH"), "PORT=" + port,
		"SEGUE_ARTIFACT_DIR=" + r.Dir, "SEGUE_INSTANCE=web-r1-1", "SEGUE_RELEASE=r1", "SEGUE_RUN_DIR=" + runDir, "SEGUE_SERVICE=web",
		"TMPDIR=" + runDir, "TZ=Asia/Tokyo",
	}
	got := slices.DeleteFunc(environ(t, in.Pid), func(v string) bool { return strings.HasPrefix(v, "SEGUE_START=") })
	if !slices.Equal(got, want) {
		t.Errorf("environment is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSurroundings(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`
		pwd; readlink /proc/$$/fd/0
		(: </dev/tty) 2>/dev/null && echo terminal
		ls /proc/$$/fd | tr '\n' ' '; echo
		: >"$TMPDIR/ready"
		exec sleep 3600`)
	r.WorkDir = "sub"
	dir := filepath.Join(r.Dir, "sub")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m.ensure(r, 1)
	in := m.ready(1)[0]
	s, err := readStat(in.Pid)
	if err != nil || !s.leads() {
		t.Errorf("it doesn't lead a session: %+v, error %v", s, err)
	}
	info, err := os.Stat(filepath.Join(m.cfg.Dir, "run", in.ID))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run directory: %v, error %v, want mode 0700", info, err)
	}
	var out bytes.Buffer
	if err := m.Logs(m.ctx(), &out, "web", "r1", driver.LogOptions{Instance: in.ID, Tail: -1}); err != nil {
		t.Fatal(err)
	}
	if want := dir + "\n/dev/null\n0 1 2 99 \n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	m.remove(r)
	if _, err := os.Stat(filepath.Join(m.cfg.Dir, "run", in.ID)); !os.IsNotExist(err) {
		t.Errorf("the run directory is left over: %v", err)
	}
}

func TestSocket(t *testing.T) {
	for _, long := range []bool{false, true} {
		m := newMachine(t)
		m.cfg.RunDir = t.TempDir()
		if long {
			m.cfg.RunDir = filepath.Join(m.cfg.RunDir, strings.Repeat("x", maxSocketPath-20-len(m.cfg.RunDir)))
		}
		m.start()
		r := m.release("-socket={{.Socket}}")
		r.Command[2] = "-port={{.Port}}" // 0
		r.Socket = true
		m.ensure(r, 2)
		list := m.ready(2)
		if list[0].Target.Network != "unix" || list[0].Target == list[1].Target || len(list[0].Target.Address) > maxSocketPath {
			t.Errorf("targets %v, %v", list[0].Target, list[1].Target)
		}
		if env := environ(t, list[0].Pid); !slices.Contains(env, "SOCKET="+list[0].Target.Address) || slices.ContainsFunc(env, func(v string) bool {
			return strings.HasPrefix(v, "PORT=") || strings.HasPrefix(v, "HOST=")
		}) {
			t.Errorf("environment of an instance with a socket: %v", env)
		}
		// A killed process leaves its socket file behind, in the way of the next.
		kill(t, list[0].Pid)
		m.until("started again", func(l []driver.Instance) bool { return l[0].Restarts == 1 && l[0].State == driver.Ready })
		m.remove(r)
		m.stop()
	}
}

func TestSocketPathTooLong(t *testing.T) {
	m := newMachine(t)
	m.cfg.RunDir = filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))
	m.start()
	defer func() { m.stop() }()
	r := m.release()
	r.Socket = true
	if err := m.Ensure(m.ctx(), r, 1); err == nil || !strings.Contains(err.Error(), "shorter run directory") {
		t.Errorf("got %v, want the remedy", err)
	}
}

func TestCannotStart(t *testing.T) {
	m := startMachine(t)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("plain", "text", 0o644)
	write("garbage", "\x00\x01\x02 nothing that a kernel knows", 0o755)
	write("interpreter", "#!/no/such/interpreter\n", 0o755)
	for _, c := range []struct {
		name, want string
		change     func(*driver.Release)
	}{
		{"empty command", "the command is empty", func(r *driver.Release) { r.Command = nil }},
		{"not in PATH", "in PATH", func(r *driver.Release) { r.Command = []string{"no-such-program"} }},
		{"not in PATH of release", "in PATH (/nowhere)", func(r *driver.Release) {
			r.Command, r.Env = []string{"sh"}, map[string]string{"PATH": "/nowhere"}
		}},
		{"missing file", "is it in the artifact?", func(r *driver.Release) { r.Command = []string{"./missing"} }},
		{"directory", "is a directory", func(r *driver.Release) { r.Command = []string{"./."} }},
		{"not executable", "chmod +x", func(r *driver.Release) { r.Command = []string{"./plain"} }},
		{"unknown format", "another kind of machine", func(r *driver.Release) { r.Command = []string{"./garbage"} }},
		{"no interpreter", "interpreter in its #! line", func(r *driver.Release) { r.Command = []string{"./interpreter"} }},
		{"bad template", "{{.Prot}}", func(r *driver.Release) { r.Command = []string{"sh", "{{.Prot}}"} }},
		{"broken template", "{{.Port", func(r *driver.Release) { r.Command = []string{"sh", "{{.Port"} }},
		{"unknown user", "useradd", func(r *driver.Release) { r.User = "no-such-user" }},
		{"no working directory", "the working directory", func(r *driver.Release) { r.Command, r.WorkDir = []string{"sh"}, "missing" }},
		{"working directory outside", "outside of the artifact", func(r *driver.Release) { r.WorkDir = "../.." }},
		{"relative artifact", "absolute", func(r *driver.Release) { r.Dir = "here" }},
		{"name with a slash", "no name", func(r *driver.Release) { r.Service = "../web" }},
		{"name with dots", "no name", func(r *driver.Release) { r.ID = ".." }},
		{"NUL in environment", "invalid argument", func(r *driver.Release) { r.Env = map[string]string{"A": "\x00"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := m.release()
			r.Dir = dir
			c.change(&r)
			err := m.Ensure(m.ctx(), r, 1)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Ensure: got %v, want %q in it", err, c.want)
			}
			if list, err := m.List(m.ctx()); err != nil || len(list) > 0 {
				t.Errorf("what couldn't be started exists: %v, error %v", list, err)
			}
			if left, err := os.ReadDir(m.instancesDir()); err != nil || len(left) > 0 {
				t.Errorf("left over: %v, error %v", left, err)
			}
		})
	}
}

func TestProgramOfArtifact(t *testing.T) {
	m := startMachine(t)
	r := m.shell("")
	if err := os.WriteFile(filepath.Join(r.Dir, "serve"), []byte("#!/bin/sh\n: >$SEGUE_RUN_DIR/ready; exec sleep 3600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.Command = []string{"./serve"}
	m.ensure(r, 1)
	m.ready(1)
}

func TestPortTakenByStranger(t *testing.T) {
	m := startMachine(t)
	r := m.release()
	m.ensure(r, 1)
	before := m.ready(1)[0]
	m.stop()
	kill(t, before.Pid)
	var stranger net.Listener
	eventually(t, "taken", func() bool {
		var err error
		stranger, err = net.Listen("tcp", before.Target.Address)
		return err == nil
	})
	defer stranger.Close()
	m.start()
	after := m.until("started again", func(l []driver.Instance) bool { return l[0].Restarts == 1 && l[0].State == driver.Ready })[0]
	if after.Target == before.Target {
		t.Errorf("with its port taken it has come back as %+v", after)
	}
}

func TestNoFreePort(t *testing.T) {
	m := newMachine(t)
	p := newPorts(21000, 21999)
	port, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	m.cfg.PortMin, m.cfg.PortMax = port, port
	m.start()
	defer func() { m.stop() }()
	r := m.release()
	m.ensure(r, 1)
	m.ready(1)
	if err := m.Ensure(m.ctx(), r, 2); err == nil || !strings.Contains(err.Error(), "no free port") {
		t.Errorf("two instances on one port: %v", err)
	}
	m.ready(1)
	m.remove(r)
	m.ensure(r, 1)
	m.ready(1)
}

func TestCheck(t *testing.T) {
	m := startMachine(t)
	good := m.release()
	if notes, err := m.Check(m.ctx(), good); err != nil || len(notes) > 0 {
		t.Errorf("a good release: notes %v, error %v", notes, err)
	}
	good.Limits = driver.Limits{MemoryBytes: 1 << 30, CPU: 1, Processes: 100}
	m.cgroups = func() *cgroups { return &cgroups{pids: true, why: "the reason"} }
	notes, err := m.Check(m.ctx(), good)
	if want := "limits of memory, cpu aren't enforced on this machine: the reason"; err != nil || !slices.Equal(notes, []string{want}) {
		t.Errorf("notes %q, error %v; want %q", notes, err, want)
	}
	bad := m.release()
	bad.Command = []string{"./missing"}
	if _, err := m.Check(m.ctx(), bad); err == nil {
		t.Error("a missing program is no error")
	}
	bad.Dir = ""
	if _, err := m.Check(m.ctx(), bad); err != nil {
		t.Errorf("without an artifact, a program in it is an error: %v", err)
	}
	bad = m.release()
	bad.Health = health.Check{Command: []string{"no-such-check"}}
	if _, err := m.Check(m.ctx(), bad); err == nil {
		t.Error("a missing check is no error")
	}
	if left := m.processes(""); len(left) > 0 {
		t.Errorf("Check has started %v", left)
	}
}
