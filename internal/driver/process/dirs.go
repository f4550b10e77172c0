//go:build linux

package process

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/segue-deploy/segue/internal/driver"
)

// maxSocketPath is the longest path of a unix socket, in bytes; see unix(7).
const maxSocketPath = 107

// makeDirs makes the driver's directories and replaces cfg's by their real paths,
// by which the kernel reports open files.
//
//	Dir/instances/ID.json       the instance's record
//	Dir/instances/ID.lock       its lock
//	Dir/logs/SERVICE/RELEASE/ID.log
//	RunDir/ID/                  its run directory
func (d *Driver) makeDirs() error {
	if d.cfg.Dir == "" {
		return fmt.Errorf("no directory is configured")
	}
	if d.cfg.RunDir == "" {
		d.cfg.RunDir = filepath.Join(d.cfg.Dir, "run")
	}
	for dir, mode := range map[*string]os.FileMode{
		// Passing through is for instances that run as another user; what lies
		// beside the run directories is closed to them.
		&d.cfg.Dir: 0o711, &d.cfg.RunDir: 0o711,
	} {
		if err := os.MkdirAll(*dir, mode); err != nil {
			return err
		}
		abs, err := filepath.Abs(*dir)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return err
		}
		*dir = abs
	}
	for _, dir := range []string{d.instancesDir(), filepath.Join(d.cfg.Dir, "logs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) instancesDir() string          { return filepath.Join(d.cfg.Dir, "instances") }
func (d *Driver) recordPath(id string) string   { return filepath.Join(d.instancesDir(), id+".json") }
func (d *Driver) lockPath(id string) string     { return filepath.Join(d.instancesDir(), id+".lock") }
func (d *Driver) logDir(s, r string) string     { return filepath.Join(d.cfg.Dir, "logs", s, r) }
func (d *Driver) logPath(s, r, i string) string { return filepath.Join(d.logDir(s, r), i+".log") }

// runDir is the path of an instance's run directory: named after the instance, or
// by a short digest of its name where a socket's path would be too long otherwise.
func (d *Driver) runDir(id string, r *driver.Release) (string, error) {
	longest := func(dir string) string {
		switch {
		case r.Health.Notify:
			return notifyPath(dir)
		case r.Socket:
			return socketPath(dir)
		}
		return ""
	}
	dir := filepath.Join(d.cfg.RunDir, id)
	if len(longest(dir)) <= maxSocketPath {
		return dir, nil
	}
	digest := sha256.Sum256([]byte(id))
	dir = filepath.Join(d.cfg.RunDir, hex.EncodeToString(digest[:6]))
	if path := longest(dir); len(path) > maxSocketPath {
		return "", fmt.Errorf("the path of its socket, %s, has %d bytes, and the kernel takes %d; give the daemon a shorter run directory", path, len(path), maxSocketPath)
	}
	return dir, nil
}

// socketPath is where an instance listens, notifyPath where it is listened to.
func socketPath(runDir string) string { return filepath.Join(runDir, "sock") }
func notifyPath(runDir string) string { return filepath.Join(runDir, "notify") }

// notifyTemp is where it is made; no instance has a name with a dot in front.
func notifyTemp(runDir string) string {
	return filepath.Join(filepath.Dir(runDir), "."+filepath.Base(runDir))
}

// makeRunDir makes an instance's run directory, for its user alone, and removes what
// an earlier process has left there that the next would be taken for it by: its
// socket, and the file that says that it is ready.
func makeRunDir(dir string, who account, r *driver.Release) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make its run directory: %w", err)
	}
	if err := who.own(dir); err != nil {
		return fmt.Errorf("give its run directory to user %s: %w", who.name, err)
	}
	if r.Socket {
		if err := os.Remove(socketPath(dir)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove its old socket: %w", err)
		}
	}
	if r.Health.File == "" {
		return nil
	}
	// Its user owns the directory: a symbolic link must not lead out of it.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("remove its old file %s: %w", r.Health.File, err)
	}
	defer root.Close()
	if err := root.RemoveAll(r.Health.File); err != nil {
		return fmt.Errorf("remove its old file %s: %w", r.Health.File, err)
	}
	return nil
}
