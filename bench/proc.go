package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// procfs is where the kernel tells of processes, as described in proc(5): /proc.
type procfs string

// usage is what processes have used until some moment.
type usage struct {
	// cpu is the time that they ran, to the nanosecond, of which the kernel tells
	// user from system only by where it found them at its ticks.
	cpu          time.Duration
	user, system uint64
	// memory is what they have resident, in bytes; what several share counts once.
	memory int64
}

// since returns what was used from before to u.
func (u usage) since(before usage) usage {
	return usage{u.cpu - before.cpu, u.user - before.user, u.system - before.system, u.memory - before.memory}
}

// split divides the CPU time into user and system.
func (u usage) split() (user, system time.Duration) {
	if u.user+u.system == 0 {
		return 0, u.cpu
	}
	user = time.Duration(float64(u.cpu) * float64(u.user) / float64(u.user+u.system))
	return user, u.cpu - user
}

// usage sums up what a process and all its descendants have used.
func (p procfs) usage(pid int) (usage, error) {
	family, err := p.family(pid)
	if err != nil {
		return usage{}, err
	}
	var sum usage
	for _, pid := range family {
		if err := p.add(pid, &sum); err != nil {
			return usage{}, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return sum, nil
}

func (p procfs) add(pid int, sum *usage) error {
	stat, err := p.stat(pid)
	if err != nil {
		return err
	}
	threads, err := filepath.Glob(p.path(pid, "task/*/schedstat"))
	if err != nil || len(threads) == 0 {
		return errors.Join(err, errors.New("the kernel tells no CPU time of its threads (CONFIG_SCHED_INFO)"))
	}
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that has just ended
		}
		if err != nil {
			return err
		}
		ran, err := parseSchedstat(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		sum.cpu += ran
	}
	text, err := os.ReadFile(p.path(pid, "smaps_rollup"))
	if err != nil {
		return err
	}
	memory, err := parsePss(string(text))
	sum.user, sum.system, sum.memory = sum.user+stat.user, sum.system+stat.system, sum.memory+memory
	return err
}

func (p procfs) path(pid int, name string) string {
	return filepath.Join(string(p), strconv.Itoa(pid), name)
}

// family returns pid and the processes below it.
func (p procfs) family(pid int) ([]int, error) {
	entries, err := os.ReadDir(string(p))
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, e := range entries {
		other, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if stat, err := p.stat(other); err == nil { // else it has just ended
			children[stat.parent] = append(children[stat.parent], other)
		}
	}
	family := []int{pid}
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i]]...)
	}
	return family, nil
}

// stat is what /proc/PID/stat says of a process.
type stat struct {
	parent int
	// user and system are in ticks.
	user, system uint64
}

func (p procfs) stat(pid int) (stat, error) {
	text, err := os.ReadFile(p.path(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(text))
}

// parseStat reads a line of /proc/PID/stat, whose second field, the name, may have
// anything in its parentheses.
func parseStat(line string) (stat, error) {
	// What follows the name begins with the third field, the state.
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 13 {
		return stat{}, fmt.Errorf("%q is no line of /proc/PID/stat", line)
	}
	parent, err1 := strconv.Atoi(fields[4-3])
	user, err2 := strconv.ParseUint(fields[14-3], 10, 64)
	system, err3 := strconv.ParseUint(fields[15-3], 10, 64)
	return stat{parent, user, system}, errors.Join(err1, err2, err3)
}

// parseSchedstat reads the time that a thread ran, the first of three numbers.
func parseSchedstat(line string) (time.Duration, error) {
	ran, _, _ := strings.Cut(line, " ")
	n, err := strconv.ParseInt(ran, 10, 64)
	return time.Duration(n), err
}

// parsePss reads the proportional set size, in bytes.
func parsePss(text string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no Pss in smaps_rollup")
}
