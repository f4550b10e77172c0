package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
)

// The control socket of the proxy that serves is proxy.sock. One that was replaced is
// reached by its pid, as in proxy-123.sock, and one that is to take over by
// proxy-next.sock until it has. Whatever ends in the middle of that, the proxies
// themselves know who serves; a survey brings the names in line.

func controlPath(stateDir string) string { return filepath.Join(stateDir, "proxy.sock") }

func nextPath(stateDir string) string { return filepath.Join(stateDir, "proxy-next.sock") }

func replacedPath(stateDir string, pid int) string {
	return filepath.Join(stateDir, fmt.Sprintf("proxy-%d.sock", pid))
}

// found is a proxy that runs.
type found struct {
	path string
	info proxy.Info
}

// survey returns the proxy that serves, if one does, and those that were replaced and have
// not ended. It ends those that were to take over and have not.
func (k *proxyKeeper) survey(ctx context.Context) (serves *found, replaced []found, err error) {
	all, err := k.findProxies(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i, f := range all {
		switch {
		case f.info.Leaving:
			replaced = append(replaced, f)
		case serves == nil && (f.info.Table > 0 || f.path == controlPath(k.cfg.StateDir)):
			serves = &all[i]
		default:
			k.cfg.Logger.Warn("ending a proxy that was to take over and has not", "pid", f.info.Pid)
			if p, err := watchProcess(f.info.Pid); err == nil {
				p.kill()
				p.close()
			}
			_ = os.Remove(f.path)
		}
	}
	for i := range replaced {
		if replaced[i].path, err = k.nameReplaced(replaced[i]); err != nil {
			return nil, nil, err
		}
	}
	if serves != nil && serves.path != controlPath(k.cfg.StateDir) {
		if err := os.Rename(serves.path, controlPath(k.cfg.StateDir)); err != nil {
			return nil, nil, fmt.Errorf("give the control socket its name: %w", err)
		}
	}
	return serves, replaced, nil
}

// findProxies asks behind every control socket, and removes those that nobody answers.
func (k *proxyKeeper) findProxies(ctx context.Context) ([]found, error) {
	paths, err := filepath.Glob(filepath.Join(globEscape(k.cfg.StateDir), "proxy*.sock"))
	if err != nil {
		return nil, err
	}
	var all []found
	seen := map[int]bool{}
	for _, path := range paths {
		info, err := infoOf(ctx, path)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(path)
			continue
		}
		if err != nil && path != controlPath(k.cfg.StateDir) {
			k.cfg.Logger.Warn("a proxy that was replaced does not answer", "socket", path, "error", err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("a proxy holds %s and does not answer: %w; if it hangs, end it with: pkill -9 -f 'segue proxy --state-dir %s'",
				path, err, k.cfg.StateDir)
		}
		if seen[info.Pid] {
			continue // by another name
		}
		seen[info.Pid] = true
		all = append(all, found{path, info})
	}
	return all, nil
}

func infoOf(ctx context.Context, path string) (proxy.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*askEvery)
	defer cancel()
	return proxy.NewClient(path).Info(ctx)
}

// nameReplaced gives a proxy's socket the name that stays to it.
func (k *proxyKeeper) nameReplaced(f found) (path string, err error) {
	path = replacedPath(k.cfg.StateDir, f.info.Pid)
	if f.path == path {
		return path, nil
	}
	_ = os.Remove(path) // of another process with that pid, long ago
	if err := os.Link(f.path, path); err != nil {
		return "", fmt.Errorf("give the control socket of a proxy another name: %w", err)
	}
	return path, nil
}

// globEscape has a directory's name stand for itself in a pattern.
func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// follow has a goroutine wait for the end of a proxy that was replaced.
func (k *proxyKeeper) follow(ctx context.Context, p *watchedProcess) {
	k.followed[p.pid] = true
	k.following.Go(func() {
		k.awaitEnd(ctx, p, replacedPath(k.cfg.StateDir, p.pid))
		p.close()
	})
}

// followAll is follow for those that were found.
func (k *proxyKeeper) followAll(ctx context.Context, replaced []found) {
	for _, f := range replaced {
		if k.followed[f.info.Pid] {
			continue
		}
		if p, err := watchProcess(f.info.Pid); err == nil { // or else it has ended
			k.follow(ctx, p)
		}
	}
}

// awaitEnd waits for the end of a proxy that was replaced, and sees to it that it comes: one
// that hangs is killed, since tables can't be put in force without it.
func (k *proxyKeeper) awaitEnd(ctx context.Context, p *watchedProcess, path string) {
	ended := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		p.wait(watching)
	}()
	defer func() {
		stop()
		<-ended
	}()
	for answered := time.Now(); ; {
		select {
		case <-ended:
			if ctx.Err() == nil {
				_ = os.Remove(path)
				k.cfg.Logger.Info("a proxy that was replaced has ended", "socket", filepath.Base(path))
			}
			return
		case <-time.After(askEvery):
		}
		if _, err := infoOf(ctx, path); err == nil {
			answered = time.Now()
		}
		if time.Since(answered) > hungAfter && ctx.Err() == nil {
			k.cfg.Logger.Error("a proxy that was replaced hangs and is killed", "socket", filepath.Base(path))
			p.kill()
		}
	}
}
