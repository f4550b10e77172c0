//go:build linux

package process

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestClosesOnExec(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := strconv.Itoa(int(f.Fd()))
	if !closesOnExec(os.Getpid(), fd) {
		t.Error("a file opened by Go isn't closed on exec")
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	if closesOnExec(os.Getpid(), fd) {
		t.Error("a file whose flag was taken off is closed on exec")
	}
	if closesOnExec(os.Getpid(), "987654") {
		t.Error("a descriptor that isn't open is closed on exec")
	}
}

// TestHolder finds the lock at any descriptor when told to look thoroughly, and
// ends only the one who holds it.
func TestHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	start := func(extra ...*os.File) *exec.Cmd {
		c := exec.Command("sleep", "3600")
		c.ExtraFiles = extra
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		return c
	}
	holder, bystander := start(lock), start()
	lock.Close()
	if _, err := tryLock(path); !errors.Is(err, errLocked) {
		t.Fatalf("the lock isn't inherited: %v", err)
	}
	id := identity{lock: path}
	if list, err := id.living(); err != nil || len(list) > 0 {
		t.Errorf("found without a thorough look: %v, error %v", list, err)
	}
	id.thorough = true
	if found, err := id.signal(unix.SIGKILL); found != 1 || err != nil {
		t.Errorf("%d found, error %v", found, err)
	}
	_ = holder.Wait()
	if lock, err := tryLock(path); err != nil {
		t.Errorf("the lock isn't free: %v", err)
	} else {
		lock.Close()
	}
	if s, err := readStat(bystander.Process.Pid); err != nil || s.zombie {
		t.Errorf("the bystander has ended: %+v, error %v", s, err)
	}
}
