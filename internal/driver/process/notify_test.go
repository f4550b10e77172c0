//go:build linux

package process

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

func TestTakeNotice(t *testing.T) {
	for _, c := range []struct {
		name, want string
		texts      []string
	}{
		{"nothing", "hasn't said READY=1 on its notify socket", []string{"", "\n", "READY", "READY=0", "ready=1", " READY=1", "READY=11", "X=READY=1"}},
		{"ready", "", []string{"MAINPID=7\nREADY=1\nWATCHDOG=1"}},
		{"status", "hasn't said READY=1 on its notify socket, but: migrating 2=3", []string{"STATUS=starting", "STATUS=migrating 2=3"}},
		{"status taken back", "hasn't said READY=1 on its notify socket", []string{"STATUS=starting", "STATUS="}},
		{"stopping", "has said STOPPING=1 on its notify socket, but: last job", []string{"READY=1", "STOPPING=1\nSTATUS=last job"}},
		{"reloading", "", []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=1", "READY=1"}},
		{"ready again", "", []string{"READY=1", "STOPPING=1", "READY=1"}},
		{"not for a terminal", "hasn't said READY=1 on its notify socket, but: [31m? red", []string{"STATUS=\x1b[31m\xff\tred\r"}},
		{"long", "hasn't said READY=1 on its notify socket, but: " + strings.Repeat("ä", maxStatus/2) + "…", []string{"STATUS=" + strings.Repeat("ä", 1000)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &notices{news: make(chan struct{}, 1)}
			for _, text := range c.texts {
				n.take(text)
			}
			got := ""
			if err := n.answer(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// send sends a datagram, with descriptors, from this process.
func send(t *testing.T, path, text string, fds ...int) error {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var control []byte
	if len(fds) > 0 {
		control = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(fd, []byte(text), control, &unix.SockaddrUnix{Name: path}, 0)
}

// worker is a release of a shell script that says itself when it is ready.
func (m *machine) worker(script string) driver.Release {
	r := m.shell(script)
	r.NoAddress = true
	r.Health.Command, r.Health.Notify = nil, true
	return r
}

func (m *machine) notifyPath(id string) string {
	return notifyPath(filepath.Join(m.Driver.cfg.RunDir, id))
}

// TestNoticeOfStranger: this process, which is none of the instance's, is not heard,
// and a socket that was taken over by the next process is no one's any more.
func TestNoticeOfStranger(t *testing.T) {
	m := startMachine(t)
	m.ensure(m.worker("exec sleep 3600"), 1)
	in := m.until("silent", func(l []driver.Instance) bool { return strings.Contains(l[0].Message, "hasn't said READY=1") })[0]
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	for _, text := range []string{"READY=1", strings.Repeat("READY=1\n", maxNotice)} {
		if err := send(t, m.notifyPath(in.ID), text); err != nil {
			t.Fatal(err)
		}
	}
	// All that was sent before has been read when the barrier's descriptor is closed.
	if err := send(t, m.notifyPath(in.ID), "BARRIER=1", int(write.Fd())); err != nil {
		t.Fatal(err)
	}
	write.Close()
	if n, _ := read.Read(make([]byte, 1)); n != 0 {
		t.Error("something was written into the barrier")
	}
	if now := m.until("there", func([]driver.Instance) bool { return true })[0]; now.State != driver.Starting {
		t.Errorf("a stranger has made it %s", now.State)
	}
}

// TestNoticeOfRelatives: children are heard, in the group and the session and out of
// them, without the marker and the lock, and after their end.
func TestNoticeOfRelatives(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string]string{
		"leader":            "exec SAY stay",
		"child":             "SAY",
		"child that stays":  "SAY stay & wait",
		"other session":     "setsid env -u SEGUE_START SAY stay & wait",
		"without lock":      "setsid env -u SEGUE_START SAY stay 99>&- & wait",
		"group of its own":  "set -m; env -u SEGUE_START SAY stay 99>&- & wait",
		"orphan in session": "set -m; (env -u SEGUE_START SAY stay 99>&- &) ; sleep 3600",
	} {
		t.Run(name, func(t *testing.T) {
			m := startMachine(t)
			r := m.worker(strings.ReplaceAll(command, "SAY", "'"+self+"' say READY=1") + "; sleep 3600")
			m.ensure(r, 1)
			m.ready(1)
			m.remove(r)
		})
	}
}

// TestReadyWordSurvives kills the daemon when the word is on disk, and has the next
// one know it without hearing it again.
func TestReadyWordSurvives(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	r := m.worker("'" + self + "' say READY=1; trap '' USR1; while :; do sleep 3600; done")
	m.daemon(order{Dir: m.cfg.Dir, Release: r, N: 1, Quiet: true, Fault: "word recorded", Nth: 1}, patience)
	d, err := Open(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	list, err := d.List(t.Context())
	if err != nil || len(list) != 1 || list[0].State != driver.Ready {
		t.Fatalf("right after its opening the driver has %+v, error %v", list, err)
	}
	m.start()
	defer func() { m.stop() }()
	if in := m.ready(1)[0]; in.Pid != list[0].Pid || in.Restarts != 0 {
		t.Errorf("adopted as %+v, it was %+v", in, list[0])
	}
	kill(t, list[0].Pid)
	m.until("started again", func(l []driver.Instance) bool { return l[0].Restarts == 1 && l[0].State == driver.Ready })
	m.remove(r)
}

// TestWordInAbsence: what is said while no daemon runs is refused at once, lost, and
// the verdict says so.
func TestWordInAbsence(t *testing.T) {
	m := startMachine(t)
	r := m.worker("exec sleep 3600")
	m.ensure(r, 1)
	in := m.until("silent", func(l []driver.Instance) bool { return l[0].Message != "" })[0]
	path := m.notifyPath(in.ID)
	m.stop()
	if err := send(t, path, "READY=1"); err == nil {
		t.Error("a datagram that nobody reads was taken")
	}
	rec := m.record(in.ID)
	rec.FirstStarted = rec.FirstStarted.Add(-r.StartDeadline)
	if err := rec.save(m.recordPath(in.ID)); err != nil {
		t.Fatal(err)
	}
	m.start()
	failed := m.in(driver.Failed)
	if want := "what it may have said while segue was being started again is lost"; !strings.Contains(failed.Message, want) {
		t.Errorf("message is %q, want %q in it", failed.Message, want)
	}
}

// TestNeverBlocksSender: one that is being stopped may say as much as it likes.
func TestNeverBlocksSender(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := startMachine(t)
	r := m.worker("trap 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do " + self + " say STATUS=$i; done; : >$SEGUE_ARTIFACT_DIR/finished; exit' USR1\n" +
		"'" + self + "' say READY=1; while :; do sleep 0.05; done")
	r.StopSignal = "USR1"
	m.ensure(r, 1)
	m.ready(1)
	m.remove(r)
	if _, err := os.Stat(filepath.Join(r.Dir, "finished")); err != nil {
		t.Errorf("it was kept from saying all that it had to say: %v", err)
	}
}

// TestWordThatCannotBeRecorded: on a full disk it doesn't count, and it does when
// there is room.
func TestWordThatCannotBeRecorded(t *testing.T) {
	m := newMachine(t)
	if err := unix.Mount("tmpfs", m.cfg.Dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("needs a small file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(m.cfg.Dir, unix.MNT_DETACH) })
	m.start()
	defer func() { m.stop() }()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := m.worker("until [ -e $SEGUE_ARTIFACT_DIR/full ]; do sleep 0.05; done; '" + self + "' say READY=1; exec sleep 3600")
	m.ensure(r, 1)
	full := fill(t, filepath.Join(m.cfg.Dir, "full"))
	if err := os.WriteFile(filepath.Join(r.Dir, "full"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	in := m.until("unable to record", func(l []driver.Instance) bool { return strings.Contains(l[0].Message, "no space left") })[0]
	if in.State != driver.Starting {
		t.Errorf("what isn't on disk has made it %s", in.State)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	if in := m.ready(1)[0]; in.Message != "" {
		t.Errorf("ready, and the message is %q", in.Message)
	}
	m.remove(r)
}

// TestNotifyAsUser: the instance's user gets at the socket, and others don't.
func TestNotifyAsUser(t *testing.T) {
	needRoot(t)
	m := newMachine(t)
	open(t, m.cfg.Dir)
	m.start()
	defer func() { m.stop() }()
	r := m.worker("exec sleep 3600")
	open(t, r.Dir)
	r.User = "54321"
	m.ensure(r, 1)
	in := m.until("there", func(l []driver.Instance) bool { return len(l) == 1 })[0]
	info, err := os.Lstat(m.notifyPath(in.ID))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 54321 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the socket is %v of user %d", info.Mode(), owner)
	}
	for uid, want := range map[uint32]bool{54321: true, 54322: false} {
		c := exec.Command(os.Args[0], "say", "READY=1", "once")
		if self, err := os.ReadFile(os.Args[0]); err != nil {
			t.Fatal(err)
		} else if err := os.WriteFile(filepath.Join(r.Dir, "self"), self, 0o755); err != nil {
			t.Fatal(err)
		}
		c.Path = filepath.Join(r.Dir, "self")
		c.Env = []string{"NOTIFY_SOCKET=" + m.notifyPath(in.ID)}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if err := c.Run(); (err == nil) != want {
			t.Errorf("user %d: %v, want it to succeed: %v", uid, err, want)
		}
	}
	m.remove(r)
	if left, err := os.ReadDir(filepath.Join(m.cfg.Dir, "run")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, error %v", left, err)
	}
}

func TestNotifyEnvironment(t *testing.T) {
	m := startMachine(t)
	r := m.worker("exec sleep 3600")
	r.Env["NOTIFY_SOCKET"] = "/mine"
	m.ensure(r, 1)
	in := m.until("there", func(l []driver.Instance) bool { return l[0].Pid != 0 })[0]
	env := environ(t, in.Pid)
	if !slices.Contains(env, "NOTIFY_SOCKET="+m.notifyPath(in.ID)) {
		t.Errorf("environment is %v", env)
	}
	for _, name := range []string{"PORT", "HOST", "SOCKET"} {
		if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
			t.Errorf("one without an address has %s in its environment", name)
		}
	}
	if m.record(in.ID).Port != 0 || len(m.ports.taken) != 0 {
		t.Errorf("it has taken a port: %v", m.ports.taken)
	}
	if out, err := m.Exec(m.ctx(), r, []string{"sh", "-c", `echo "$NOTIFY_SOCKET"`}, nil); err != nil || out != "/mine\n" {
		t.Errorf("a command beside it has %q as NOTIFY_SOCKET, error %v", out, err)
	}
}

// TestNotifyPathLength: the longer of its two sockets decides.
func TestNotifyPathLength(t *testing.T) {
	m := newMachine(t)
	base := t.TempDir()
	const id = "a-service-with-a-long-name-r1-1"
	m.cfg.RunDir = filepath.Join(base, strings.Repeat("x", maxSocketPath-len(base)-len("/")-len("/"+id+"/sock")))
	m.start()
	defer func() { m.stop() }()
	r := m.worker("exec sleep 3600")
	short, err := m.runDir(id, &r)
	if err != nil || filepath.Base(short) == id || len(notifyPath(short)) > maxSocketPath {
		t.Errorf("run directory %s with a notify socket, error %v", short, err)
	}
	r.Health.Notify, r.NoAddress, r.Socket = false, false, true
	if dir, err := m.runDir(id, &r); err != nil || filepath.Base(dir) != id {
		t.Errorf("run directory %s with a socket to listen on, error %v", dir, err)
	}
}

func TestWorkerIsRefused(t *testing.T) {
	m := startMachine(t)
	releases := 0
	for want, change := range map[string]func(*driver.Release){
		"over HTTP, gRPC or TCP":    func(r *driver.Release) { r.Health.Notify, r.Health.TCP = false, true },
		`the file "../ready"`:       func(r *driver.Release) { r.Health.Notify, r.Health.File = false, "../ready" },
		`the file "/ready"`:         func(r *driver.Release) { r.Health.Notify, r.Health.File = false, "/ready" },
		`the file "x/.."`:           func(r *driver.Release) { r.Health.Notify, r.Health.File = false, "x/.." },
		`signal "SIGTERM"`:          func(r *driver.Release) { r.StopSignal = "SIGTERM" },
		"neither port nor socket":   func(r *driver.Release) { r.Command = []string{"sleep", "{{.Socket}}"} },
		"argument 2 of the command": func(r *driver.Release) { r.Health.Command = []string{"test", "{{.Host}}"} },
	} {
		r := m.worker("exec sleep 3600")
		change(&r)
		// Each is a release of its own: an instance of one that may be started answers for
		// all that comes under its ID.
		releases++
		r.ID = fmt.Sprintf("r%d", releases)
		if _, err := m.Check(m.ctx(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check: got %v, want %q in it", err, want)
		}
		err := m.Ensure(m.ctx(), r, 1)
		if err == nil && len(r.Health.Command) == 0 || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Ensure: got %v, want %q in it", err, want)
		}
	}
}

// TestReadyFileComesAndGoes, and the next process doesn't find that of the one before.
func TestReadyFileComesAndGoes(t *testing.T) {
	m := startMachine(t)
	r := m.shell("exec sleep 3600")
	r.Health.Command, r.Health.File = nil, "ready"
	r.NoAddress = true
	m.ensure(r, 1)
	in := m.until("without its file", func(l []driver.Instance) bool { return l[0].Message != "" })[0]
	if want := "health: there is no file ready in its run directory"; in.Message != want || in.State != driver.Starting {
		t.Errorf("%s: %q, want %q", in.State, in.Message, want)
	}
	file := filepath.Join(m.Driver.cfg.RunDir, in.ID, "ready")
	touch := func() {
		t.Helper()
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch()
	m.in(driver.Ready)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	m.in(driver.Unready)
	// A link that leads out of the directory says nothing.
	outside := filepath.Join(r.Dir, "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, file); err != nil {
		t.Fatal(err)
	}
	m.until("led outside", func(l []driver.Instance) bool { return strings.Contains(l[0].Message, "escapes") })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	touch()
	m.in(driver.Ready)
	kill(t, in.Pid)
	m.until("started again", func(l []driver.Instance) bool { return l[0].Restarts == 1 && l[0].State == driver.Starting })
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file of the process before is there: %v", err)
	}
	m.remove(r)
}

// say is a program that sends a notice and then ends, or stays.
func say(args []string) {
	text, rest := args[0], args[1:]
	if slices.Contains(rest, "once") {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
		if err == nil {
			_, err = conn.Write([]byte(text))
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	notify(text)
	if slices.Contains(rest, "stay") {
		time.Sleep(time.Hour)
	}
}
