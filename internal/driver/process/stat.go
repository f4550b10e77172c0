//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// stat is what the kernel says about a process in /proc/PID/stat, see proc(5).
type stat struct {
	pid, parent, group, session int
	// ticks is the start time in clock ticks since the boot. With the pid and
	// the boot it names a process for good.
	ticks uint64
	// zombie: has ended, with all its threads, and only waits to be reaped.
	zombie bool
}

// leads reports whether the process leads a session of its own.
func (s stat) leads() bool { return s.pid == s.group && s.pid == s.session }

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

func parseStat(text []byte) (stat, error) {
	malformed := fmt.Errorf("not a line of /proc/PID/stat: %q", text)
	// The second field is the program's name in parentheses; it may hold
	// spaces and parentheses itself.
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 1 || end < open {
		return stat{}, malformed
	}
	fields := strings.Fields(string(text[end+1:])) // from field 3, the state, on
	if len(fields) < 20 {
		return stat{}, malformed
	}
	var s stat
	var errs [5]error
	s.pid, errs[0] = strconv.Atoi(strings.TrimSpace(string(text[:open])))
	s.parent, errs[1] = strconv.Atoi(fields[1])
	s.group, errs[2] = strconv.Atoi(fields[2])
	s.session, errs[3] = strconv.Atoi(fields[3])
	s.ticks, errs[4] = strconv.ParseUint(fields[19], 10, 64)
	if errors.Join(errs[:]...) != nil {
		return stat{}, malformed
	}
	// The first thread can end before the others; the process lives on then.
	s.zombie = (fields[0] == "Z" || fields[0] == "X") && (fields[17] == "1" || fields[17] == "0")
	return s, nil
}

// pids returns the processes that there are now.
func pids() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var list []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			list = append(list, pid)
		}
	}
	return list, nil
}

// bootID names this boot of the machine.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot's ID; is /proc mounted?: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
