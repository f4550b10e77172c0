package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/journal"
)

const (
	// checkDeadline is how long a new binary may take to say what it is.
	checkDeadline = 10 * time.Second
	// socketVariable names, in the environment of a daemon that has replaced itself, the
	// descriptor of the API's socket.
	socketVariable = "SEGUE_API_SOCKET"
)

// Program is what `segue version --client -o json` prints.
type Program struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	// Journal is the format of the journals that the program writes.
	Journal int `json:"journal"`
}

// JournalFormat is that of this program.
const JournalFormat = journal.Format

// upgrade checks a binary and has the daemon go on as that one, if it is another. It
// returns beforehand: what has been asked by then is still answered.
func (d *Daemon) upgrade(ctx context.Context, req api.UpgradeRequest) (api.Upgrade, error) {
	path := req.Binary
	if path == "" {
		path = d.cfg.Binary
	}
	next, err := checkBinary(ctx, path)
	if err != nil {
		return api.Upgrade{}, refused(err)
	}
	u := api.Upgrade{Binary: path, From: d.cfg.Version, To: next.Version}
	same, err := sameProgram(path, "/proc/self/exe")
	if err != nil {
		return u, err
	}
	if u.Needed = !same; u.Needed {
		d.cfg.Logger.Info("going on as another binary", "binary", path, "from", u.From, "to", u.To)
		d.becomes(path)
	}
	return u, nil
}

func refused(err error) error {
	return &api.Problem{Status: 422, Detail: err.Error(), Hint: "nothing has changed"}
}

// checkBinary asks a binary what it is, and refuses one that could not go on here.
func checkBinary(ctx context.Context, path string) (Program, error) {
	var v Program
	if !filepath.IsAbs(path) {
		return v, fmt.Errorf("%s: want the whole path of the new binary", path)
	}
	ctx, cancel := context.WithTimeout(ctx, checkDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version", "--client", "-o", "json")
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	switch err := cmd.Run(); {
	case ctx.Err() != nil:
		return v, fmt.Errorf("%s version did not end within %s", path, checkDeadline)
	case err != nil:
		return v, errors.Join(fmt.Errorf("%s version: %w", path, err), lastLine(&stderr))
	}
	if err := json.Unmarshal(stdout.Bytes(), &v); err != nil || v.Version == "" {
		return v, fmt.Errorf("%s does not say which version of segue it is", path)
	}
	if v.Journal < JournalFormat {
		return v, fmt.Errorf("%s is %s, which reads journals up to format %d; this one has format %d", path, v.Version, v.Journal, JournalFormat)
	}
	return v, nil
}

func lastLine(b *bytes.Buffer) error {
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return errors.New(last)
	}
	return nil
}

// sameProgram says whether two files have the same bytes.
func sameProgram(a, b string) (bool, error) {
	infoA, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	infoB, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	if os.SameFile(infoA, infoB) {
		return true, nil
	}
	if infoA.Size() != infoB.Size() {
		return false, nil
	}
	sumA, err := digest(a)
	if err != nil {
		return false, err
	}
	sumB, err := digest(b)
	return bytes.Equal(sumA, sumB), err
}

func digest(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// upgradeProxy has the proxy be what this daemon would start, if it isn't.
func (d *Daemon) upgradeProxy(ctx context.Context, req api.ProxyUpgradeRequest) (api.ProxyUpgrade, error) {
	select {
	case <-d.proxy.up:
	case <-ctx.Done():
		return api.ProxyUpgrade{}, fmt.Errorf("no proxy has a table yet: %w", context.Cause(ctx))
	}
	before, err := d.proxies(ctx)
	if err != nil {
		return api.ProxyUpgrade{}, err
	}
	u := api.ProxyUpgrade{From: before, To: before}
	if before.Differs == "" {
		return u, nil
	}
	grace := req.Drain.Std()
	if grace == 0 {
		grace = drainDefault
	}
	if err := d.proxy.replaceProxy(ctx, grace); err != nil {
		return u, &api.Problem{Status: 409, Detail: err.Error(), Hint: "see " + d.proxy.logPath()}
	}
	u.To, err = d.proxies(ctx)
	return u, err
}

// proxies says which proxies run.
func (d *Daemon) proxies(ctx context.Context) (api.ProxyVersion, error) {
	info, err := infoOf(ctx, controlPath(d.cfg.StateDir))
	if err != nil {
		return api.ProxyVersion{}, err
	}
	v := api.ProxyVersion{Pid: info.Pid, Version: info.Version, Started: info.Started, Connections: info.Connections}
	v.Differs = d.differs(info.Pid, info.Version)
	for _, p := range info.Predecessors {
		// One that has just ended is left out.
		if old, err := infoOf(ctx, p.Socket); err == nil {
			v.Replaced = append(v.Replaced, api.ProxyVersion{Pid: p.Pid, Version: p.Version, Started: old.Started, Connections: old.Connections})
		}
	}
	return v, nil
}

// differs says in what a proxy is not as this daemon would start it; empty is in nothing.
func (d *Daemon) differs(pid int, version string) string {
	if version != d.cfg.Version {
		return "version"
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if same, err := sameProgram(filepath.Join(proc, "exe"), "/proc/self/exe"); err == nil && !same {
		return "binary"
	}
	cmdline, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return ""
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	if !slices.Equal(args[1:], d.proxy.arguments()) {
		return "settings"
	}
	return ""
}

// Become replaces this process by the binary that the daemon was asked to go on as, and
// returns only when that can't be done. Without such a binary it does nothing. It is to be
// called when Close has returned; the API's socket has stayed open, so that commands wait
// there meanwhile.
func (d *Daemon) Become() error {
	if d.next == "" {
		return nil
	}
	env := append(os.Environ(), fmt.Sprintf("%s=%d", socketVariable, d.keptSocket))
	args := append([]string{d.next}, os.Args[1:]...)
	err := syscall.Exec(d.next, args, env)
	d.cfg.Logger.Error("go on as another binary; the old one goes on", "binary", d.next, "error", err)
	return errors.Join(err, syscall.Exec("/proc/self/exe", os.Args, env))
}

// keepSocket keeps the API's socket open when all else is closed.
func (d *Daemon) keepSocket() error {
	l, ok := d.socket.(*net.UnixListener)
	if !ok {
		return fmt.Errorf("the API's socket is a %T", d.socket)
	}
	f, err := l.File()
	if err != nil {
		return fmt.Errorf("keep the API's socket: %w", err)
	}
	defer f.Close()
	// A copy that stays open in the next program.
	if d.keptSocket, err = syscall.Dup(int(f.Fd())); err != nil {
		return fmt.Errorf("keep the API's socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return nil
}

// inheritedSocket is the API's socket that an earlier program in this process has kept;
// nil is none.
func inheritedSocket() (net.Listener, error) {
	text, ok := os.LookupEnv(socketVariable)
	if !ok {
		return nil, nil
	}
	_ = os.Unsetenv(socketVariable)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: want a descriptor", socketVariable, text)
	}
	f := os.NewFile(uintptr(fd), "API socket")
	if f == nil {
		return nil, fmt.Errorf("%s=%s is not open", socketVariable, text)
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("%s=%s is no listening socket: %w", socketVariable, text, err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(true)
	}
	return l, nil
}
