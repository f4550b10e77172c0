//go:build linux

package process

import (
	"bytes"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/segue-deploy/segue/internal/driver"
)

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run instances as another user")
	}
}

func TestRunsAsUser(t *testing.T) {
	needRoot(t)
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	for name, want := range map[string]string{"nobody": nobody.Uid, "54321": "54321"} {
		m := newMachine(t)
		open(t, m.cfg.Dir)
		m.start()
		r := m.shell(`id -u; echo again >>/dev/stdout; echo "$HOME"; : >"$TMPDIR/ready"; exec sleep 3600`)
		open(t, r.Dir)
		r.User = name
		m.ensure(r, 1)
		in := m.ready(1)[0]
		var out bytes.Buffer
		if err := m.Logs(m.ctx(), &out, "web", "r1", driver.LogOptions{Instance: in.ID, Tail: -1}); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(out.String(), "\n"); lines[0] != want || lines[1] != "again" || lines[2] == os.Getenv("HOME") {
			t.Errorf("as %s: %q", name, out.String())
		}
		info, err := os.Stat(filepath.Join(m.cfg.Dir, "run", in.ID))
		if err != nil {
			t.Fatal(err)
		}
		proc, err := os.Stat("/proc/" + strconv.Itoa(in.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if uid := proc.Sys().(*syscall.Stat_t).Uid; uid == 0 || info.Sys().(*syscall.Stat_t).Uid != uid {
			t.Errorf("the process is of user %d, its run directory of %d", uid, info.Sys().(*syscall.Stat_t).Uid)
		}
		if output, err := m.Exec(m.ctx(), r, []string{"id", "-u"}, nil); err != nil || output == "0\n" {
			t.Errorf("Exec as %s: output %q, error %v", name, output, err)
		}
		m.remove(r)
		m.stop()
	}
}

func TestUserCannotPass(t *testing.T) {
	needRoot(t)
	m := startMachine(t)
	r := m.shell("")
	r.User = "nobody"
	closed := filepath.Join(t.TempDir(), "closed")
	r.Dir = filepath.Join(closed, "artifact")
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	open(t, filepath.Dir(closed))
	if err := m.Ensure(m.ctx(), r, 1); err == nil || !strings.Contains(err.Error(), "chmod o+x") || !strings.Contains(err.Error(), closed) {
		t.Errorf("got %v, want what to do with %s", err, closed)
	}
	notes, err := m.Check(m.ctx(), r)
	if err != nil || !strings.Contains(strings.Join(notes, " "), closed) {
		t.Errorf("Check: notes %q, error %v", notes, err)
	}
}

func TestOwnUser(t *testing.T) {
	for _, name := range []string{"", strconv.Itoa(os.Geteuid())} {
		if a, err := findAccount(name); err != nil || a.credential != nil {
			t.Errorf("%q: %+v, error %v", name, a, err)
		}
	}
}

// open lets everybody pass through a directory of the test and those above it.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
