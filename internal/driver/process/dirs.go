//go:build linux

package process

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
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
func (d *Driver) runDir(id string, socket bool) (string, error) {
	dir := filepath.Join(d.cfg.RunDir, id)
	if !socket || len(socketPath(dir)) <= maxSocketPath {
		return dir, nil
	}
	digest := sha256.Sum256([]byte(id))
	dir = filepath.Join(d.cfg.RunDir, hex.EncodeToString(digest[:6]))
	if n := len(socketPath(dir)); n > maxSocketPath {
		return "", fmt.Errorf("the path of its socket, %s, has %d bytes, and the kernel takes %d; give the daemon a shorter run directory", socketPath(dir), n, maxSocketPath)
	}
	return dir, nil
}

func socketPath(runDir string) string { return filepath.Join(runDir, "sock") }

// makeRunDir makes an instance's run directory, for its user alone, and removes a
// socket that an earlier process has left there.
func makeRunDir(dir string, who account, socket bool) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make its run directory: %w", err)
	}
	if err := who.own(dir); err != nil {
		return fmt.Errorf("give its run directory to user %s: %w", who.name, err)
	}
	if !socket {
		return nil
	}
	if err := os.Remove(socketPath(dir)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove its old socket: %w", err)
	}
	return nil
}
