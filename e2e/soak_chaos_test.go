package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mayFail is how a deployment may end in which something breaks.
func mayFail() []string { return []string{"promoted", "failed"} }

// upgrade replaces daemon and proxy.
func (k *soak) upgrade() {
	id := k.beside()
	binary := filepath.Join(k.dir, "segue-1")
	if k.Segue == binary {
		binary = filepath.Join(k.dir, "segue-2")
	}
	if res := k.Run(k.t.Context(), "upgrade", "--binary", binary); res.Code != 0 {
		k.t.Errorf("upgrade: exit code %d: %s%s", res.Code, res.Stdout, res.Stderr)
	}
	k.Segue = binary
	k.promoted(id)
}

// killDaemon kills the daemon and starts another.
func (k *soak) killDaemon() {
	id := k.beside()
	if err := k.Signal(syscall.SIGKILL); err != nil {
		k.t.Fatal(err)
	}
	<-k.Ended()
	k.moment(2000)
	k.serve()
	k.promoted(id)
}

// killProxy kills the proxy, of which the daemon starts another.
func (k *soak) killProxy() {
	id := k.beside()
	p, ok := k.victim(k.ProxyPid())
	if !ok {
		k.t.Fatal("no proxy runs")
	}
	k.killed = true
	k.account.proxyDied(p.kill())
	k.ends(id, mayFail()...)
}

// killInstance kills an instance of a release that has others.
func (k *soak) killInstance() {
	id := k.beside()
	if in, p, ok := k.instance(); ok {
		from, to := p.kill()
		k.account.instanceDied(in, from, to)
	}
	k.ends(id, mayFail()...)
}

// hang stops an instance, and either lets it go on or kills it.
func (k *soak) hang() {
	id := k.beside()
	if in, p, ok := k.instance(); ok {
		from := time.Now()
		p.signal(unix.SIGSTOP)
		k.moment(4000)
		if k.random.IntN(2) == 0 {
			p.signal(unix.SIGCONT)
			p.close()
		} else {
			_, to := p.kill()
			k.account.instanceDied(in, from, to)
		}
	}
	k.ends(id, mayFail()...)
}

// fullDisk fills the file system of the state directory for a while.
func (k *soak) fullDisk() {
	if !k.unmount {
		k.say("NOT TESTED: a full disk")
		return
	}
	id := k.beside()
	fill := filepath.Join(k.Dir, "fill")
	fillDisk(k.t, fill)
	k.moment(3000)
	if err := os.Remove(fill); err != nil {
		k.t.Fatal(err)
	}
	k.ends(id, mayFail()...)
}

// descriptors leaves the proxy, or the daemon, no more descriptors than it has open.
func (k *soak) descriptors() {
	id := k.beside()
	pid, who := k.ProxyPid(), "proxy"
	if k.random.IntN(2) == 0 {
		pid, who, k.deaf = k.versions().Pid, "daemon", true
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		k.t.Fatal(err)
	}
	var before unix.Rlimit
	limit := func(to, old *unix.Rlimit) {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, to, old); err != nil {
			k.t.Fatalf("limit the descriptors of the %s: %v", who, err)
		}
	}
	limit(nil, &before)
	limit(&unix.Rlimit{Cur: uint64(len(open)), Max: before.Max}, nil)
	k.say("the %s has %d descriptors, and gets no more", who, len(open))
	k.moment(3000)
	limit(&before, nil)
	k.ends(id, mayFail()...)
}

// ---- Processes ----

// victim is a process that is known for certain, whatever becomes of its pid.
type victim struct{ pidfd int }

// victim takes hold of a process of this stage; there may be none any more.
func (k *soak) victim(pid int) (victim, bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return victim{}, false
	}
	// The pid may have been given to somebody else before.
	for _, p := range k.Processes() {
		if strings.HasPrefix(p, fmt.Sprintf("%d ", pid)) {
			return victim{fd}, true
		}
	}
	unix.Close(fd)
	return victim{}, false
}

// instance takes hold of an instance of a release that has another one.
func (k *soak) instance() (id string, v victim, ok bool) {
	st, err := k.look()
	if err != nil {
		return "", victim{}, false
	}
	type one struct {
		id  string
		pid int
	}
	var all []one
	for _, r := range st.Releases {
		var ready []one
		for _, in := range r.Instances {
			if in.State == "ready" {
				ready = append(ready, one{in.ID, in.Pid})
			}
		}
		if len(ready) > 1 {
			all = append(all, ready...)
		}
	}
	if len(all) == 0 {
		return "", victim{}, false
	}
	chosen := all[k.random.IntN(len(all))]
	v, ok = k.victim(chosen.pid)
	return chosen.id, v, ok
}

func (v victim) signal(sig syscall.Signal) { _ = unix.PidfdSendSignal(v.pidfd, sig, nil, 0) }

func (v victim) close() { unix.Close(v.pidfd) }

// kill kills it, and returns from when to when it ended: until then it may still have taken
// requests.
func (v victim) kill() (from, to time.Time) {
	from = time.Now()
	v.signal(unix.SIGKILL)
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(v.pidfd), Events: unix.POLLIN}}, -1)
	v.close()
	return from, time.Now()
}
