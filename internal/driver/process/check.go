//go:build linux

package process

import (
	"context"
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
	if err := checkNames(r.Service, r.ID); err != nil {
		return err
	}
	hasArtifact := r.Dir != ""
	if hasArtifact && !filepath.IsAbs(r.Dir) {
		return fmt.Errorf("the artifact's directory %q isn't an absolute path", r.Dir)
	}
	id := instanceID(r.Service, r.ID, 1)
	runDir, err := d.runDir(id, r.Socket)
	if err != nil {
		return err
	}
	vars := driver.Vars{RunDir: runDir, Instance: id, Index: 1}
	if r.Socket {
		vars.Socket = socketPath(runDir)
	} else {
		vars.Host, vars.Port = host, d.cfg.PortMin
	}
	s, err := newSurroundings(r, vars)
	if err != nil {
		return err
	}
	commands := [][]string{r.Command}
	if len(r.Health.Command) > 0 {
		commands = append(commands, r.Health.Command)
	}
	for _, command := range commands {
		args, err := s.arguments(command)
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
