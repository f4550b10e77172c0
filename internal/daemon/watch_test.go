package daemon

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

// child starts a process that reads until its input ends.
func child(t *testing.T) (p *watchedProcess, end func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.CommandContext(t.Context(), "cat")
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if p, err = watchChild(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		p.kill()
		p.close()
	})
	return p, func() { w.Close() }
}

func TestWatchSeesTheEnd(t *testing.T) {
	p, end := child(t)
	if p.ended() {
		t.Fatal("it has ended before it was told to")
	}
	end()
	p.wait(t.Context())
	if !p.ended() {
		t.Error("it has not ended")
	}
	p.wait(t.Context()) // Again it returns at once.
}

func TestWatchEndsWithItsContext(t *testing.T) {
	p, _ := child(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.wait(ctx)
	if p.ended() {
		t.Fatal("waiting ended the process")
	}
	p.kill()
	if !p.ended() {
		t.Error("it outlived SIGKILL")
	}
}

// TestWatchStranger watches a process that is no child of the watcher.
func TestWatchStranger(t *testing.T) {
	p, end := child(t)
	stranger, err := watchProcess(p.child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.close()
	end()
	stranger.wait(t.Context())
	if !stranger.ended() {
		t.Error("its end went unnoticed")
	}
}
