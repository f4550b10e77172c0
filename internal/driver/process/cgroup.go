//go:build linux

package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

// cgroups enforces limits by control groups, version 2: one group per instance
// that has limits, below one directory. See the kernel's
// Documentation/admin-guide/cgroup-v2.rst.
type cgroups struct {
	// dir is the directory; empty when there is none.
	dir string
	// The controllers that instances' groups have.
	memory, cpu, pids bool
	// why says what is missing, and how to get it.
	why string
}

// cpuPeriod is the window over which a CPU limit holds, in microseconds; the
// kernel's default.
const cpuPeriod = 100_000

// findCgroups makes the group below which instances get theirs. parent is a
// cgroup2 directory without processes of its own; empty looks for the one that was
// delegated to this process.
func findCgroups(parent string) cgroups {
	if parent == "" {
		var err error
		if parent, err = delegated("/proc/self/mountinfo", "/proc/self/cgroup"); err != nil {
			return cgroups{why: err.Error()}
		}
	}
	c := cgroups{dir: filepath.Join(parent, "segue")}
	if err := os.Mkdir(c.dir, 0o755); err != nil && !os.IsExist(err) {
		return cgroups{why: fmt.Sprintf("can't make a control group: %v; run the daemon as root, or delegate a group to it (systemd: Delegate=yes)", err)}
	}
	var whys []string
	for controller, has := range map[string]*bool{"memory": &c.memory, "cpu": &c.cpu, "pids": &c.pids} {
		err := c.enable(parent, controller)
		if *has = err == nil; !*has {
			whys = append(whys, err.Error())
		}
	}
	// What several lack for the same reason is said once.
	slices.Sort(whys)
	c.why = strings.Join(slices.Compact(whys), "; ")
	return c
}

// enable hands a controller down from parent to the instances' groups.
func (c *cgroups) enable(parent, controller string) error {
	has, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(has)), controller) {
		return fmt.Errorf("%s lacks the controller: the machine has it in cgroup version 1, or it wasn't delegated", parent)
	}
	for _, dir := range []string{parent, c.dir} {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		if errors.Is(err, unix.EBUSY) {
			err = fmt.Errorf("%s has processes of its own, so it can't pass on the controller (systemd: DelegateSubgroup=daemon)", dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// delegated finds this process's own group, or the one above it when it is the
// daemon's part of a delegated group (systemd's DelegateSubgroup=daemon).
func delegated(mountinfo, own string) (string, error) {
	mount, root, err := cgroup2Mount(mountinfo)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(own)
	if err != nil {
		return "", fmt.Errorf("find the daemon's control group: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		path, found := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !found {
			continue
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return "", fmt.Errorf("the daemon's control group %s isn't in the part of the hierarchy that is mounted on %s", path, mount)
		}
		dir := filepath.Join(mount, rel)
		if filepath.Base(dir) == "daemon" {
			dir = filepath.Dir(dir)
		}
		return dir, nil
	}
	return "", errors.New("the daemon is in no version 2 control group")
}

// cgroup2Mount reads mountinfo, see proc_pid_mountinfo(5).
func cgroup2Mount(mountinfo string) (mount, root string, err error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", "", fmt.Errorf("find the cgroup2 file system: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) >= 5 {
			return fields[4], fields[3], nil
		}
	}
	return "", "", errors.New("no cgroup2 file system is mounted")
}

// missing says which of the limits can't be enforced here, and why; "" when all
// can.
func (c *cgroups) missing(l driver.Limits) string {
	var names []string
	for _, limit := range []struct {
		name        string
		wanted, has bool
	}{
		{"memory", l.MemoryBytes > 0, c.memory},
		{"cpu", l.CPU > 0, c.cpu},
		{"processes", l.Processes > 0, c.pids},
	} {
		if limit.wanted && !limit.has {
			names = append(names, limit.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("limits of %s aren't enforced on this machine: %s", strings.Join(names, ", "), c.why)
}

// make makes the instance's group with what can be had of its limits and returns
// the group's directory, or "" when it needs none.
func (c *cgroups) make(id string, l driver.Limits) (string, error) {
	limits := c.settings(l)
	if len(limits) == 0 {
		return "", nil
	}
	dir := filepath.Join(c.dir, id)
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("make its control group: %w", err)
	}
	for file, value := range limits {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
			return "", fmt.Errorf("set its limit: %w", err)
		}
	}
	return dir, nil
}

// settings are the contents of the group's files.
func (c *cgroups) settings(l driver.Limits) map[string]string {
	s := map[string]string{}
	if c.memory && l.MemoryBytes > 0 {
		s["memory.max"] = strconv.FormatInt(l.MemoryBytes, 10)
	}
	if c.cpu && l.CPU > 0 {
		// The kernel takes no quota below 1 ms.
		s["cpu.max"] = fmt.Sprintf("%d %d", max(int64(l.CPU*cpuPeriod), 1000), cpuPeriod)
	}
	if c.pids && l.Processes > 0 {
		s["pids.max"] = strconv.Itoa(l.Processes)
	}
	return s
}

// remove removes the instance's group, if it has one. The kernel needs a moment
// after the last process's end.
func (c *cgroups) remove(ctx context.Context, id string) error {
	if c.dir == "" {
		return nil
	}
	dir := filepath.Join(c.dir, id)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var err error
	waited := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		if err = unix.Rmdir(dir); errors.Is(err, unix.EBUSY) {
			return false, nil
		}
		return true, nil
	})
	if waited == nil && (err == nil || os.IsNotExist(err)) {
		return nil
	}
	return fmt.Errorf("remove control group %s: %w", dir, err)
}

// outOfMemory reports whether the kernel has killed processes of the instance's
// group for their use of memory.
func (c *cgroups) outOfMemory(id string) bool {
	if !c.memory {
		return false
	}
	text, err := os.ReadFile(filepath.Join(c.dir, id, "memory.events"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if n, found := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); found {
			return n != "0"
		}
	}
	return false
}
