//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/segue-deploy/segue/internal/driver"
)

// Check is part of [driver.Driver].
func (d *Driver) Check(ctx context.Context, r driver.Release) (notes []string, err error) {
	if err := d.check(&r); err != nil {
		return nil, fmt.Errorf("%s of %s can't be run: %w", r.ID, r.Service, err)
	}
	if note := d.missingLimits(r.Limits); note != "" {
		notes = append(notes, note)
	}
	who, err := findAccount(r.User)
	if err != nil {
		return nil, err
	}
	paths := []string{filepath.Join(d.cfg.RunDir, "x")}
	if r.Dir != "" {
		paths = append(paths, filepath.Join(r.Dir, "x"))
	}
	for _, path := range paths {
		if dir := who.closed(path); dir != "" {
			notes = append(notes, fmt.Sprintf("user %s can't pass through %s by its permission bits; chmod o+x it", who.name, dir))
		}
	}
	return notes, ctx.Err()
}

func (d *Driver) check(r *driver.Release) error {
	hasArtifact := r.Dir != ""
	if err := checkRelease(r); err != nil {
		return err
	}
	runDir, err := d.runDir(instanceID(r.Service, r.ID, 1), r)
	if err != nil {
		return err
	}
	s, err := newSurroundings(r, instanceVars(r, runDir, d.cfg.PortMin, 1))
	if err != nil {
		return err
	}
	commands := [][]string{r.Command}
	if len(r.Health.Command) > 0 {
		commands = append(commands, r.Health.Command)
	}
	for _, command := range commands {
		args, err := r.Arguments(command, s.vars)
		if err != nil {
			return err
		}
		inArtifact := filepath.Base(args[0]) != args[0] && !filepath.IsAbs(args[0])
		if inArtifact && !hasArtifact {
			continue
		}
		if _, err := s.program(args[0]); err != nil {
			return err
		}
	}
	return nil
}

// checkPlaced refuses what no instance can be started of.
func checkPlaced(r *driver.Release) error {
	if r.Dir == "" {
		return errors.New("the artifact has no directory")
	}
	return checkRelease(r)
}

// checkRelease is about all but the artifact, which may not be there yet.
func checkRelease(r *driver.Release) error {
	if err := checkNames(r.Service, r.ID); err != nil {
		return err
	}
	if r.Dir != "" && !filepath.IsAbs(r.Dir) {
		return fmt.Errorf("the artifact's directory %q isn't an absolute path", r.Dir)
	}
	if _, err := r.Signal(); err != nil {
		return err
	}
	return checkHealth(r)
}

// checkHealth refuses a question that could never be answered.
func checkHealth(r *driver.Release) error {
	h := r.Health
	if r.NoAddress && h.ByAddress() {
		return errors.New("the instances have no address at which their health could be asked over HTTP, gRPC or TCP; take a command, a file or notify, or have them listen on a port or socket")
	}
	if h.File != "" && (!filepath.IsLocal(h.File) || filepath.Clean(h.File) == ".") {
		return fmt.Errorf("the file %q of the health check isn't in the instance's run directory; give a path relative to it, such as ready", h.File)
	}
	return nil
}

// instanceVars are the values for the commands of an instance.
func instanceVars(r *driver.Release, runDir string, port, index int) driver.Vars {
	vars := driver.Vars{RunDir: runDir, Instance: instanceID(r.Service, r.ID, index), Index: index}
	switch {
	case r.NoAddress:
	case r.Socket:
		vars.Socket = socketPath(runDir)
	default:
		vars.Host, vars.Port = host, port
	}
	return vars
}
