package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The clock of the machine is everybody's, a time namespace doesn't move the time of day,
// and a static binary loads no libfaketime. But each process asks its own copy of a page of
// the kernel's code for the time (vdso(7)). The jump is made there: the function is replaced
// by one that asks the kernel and adds the jump to the time of day. The monotonic clock goes
// on as it does when somebody sets the time.

// clockJump sets the time of day of daemon and proxy to another for a while.
func (k *soak) clockJump() {
	if runtime.GOARCH != "amd64" {
		k.say("NOT TESTED: a clock jump; the code for it is only there for amd64")
		return
	}
	id := k.beside()
	jump := time.Duration(k.random.IntN(240)-120) * time.Minute
	// A machine has one clock.
	pids := map[string]int{"daemon": k.versions().Pid, "proxy": k.ProxyPid()}
	var undo []func() error
	for who, pid := range pids {
		back, err := jumpClock(pid, jump)
		if err != nil {
			k.t.Fatalf("set the clock of the %s: %v", who, err)
		}
		undo = append(undo, back)
		k.say("the clock of the %s jumps by %s", who, jump)
	}
	k.moment(3000)
	for _, back := range undo {
		if err := back(); err != nil {
			k.t.Fatalf("set a clock back: %v", err)
		}
	}
	k.ends(id, mayFail()...)
}

// jumpClock has a process's time of day jump; undo has it jump back.
func jumpClock(pid int, by time.Duration) (undo func() error, err error) {
	begin, size, err := vdsoOf(pid)
	if err != nil {
		return nil, err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	image := make([]byte, size)
	if _, err := mem.ReadAt(image, begin); err != nil {
		return nil, fmt.Errorf("read the vdso: %w", err)
	}
	at, room, err := clockFunction(image)
	code := clockCode(by)
	if err == nil && room < len(code) {
		err = fmt.Errorf("the function has %d bytes, %d are needed", room, len(code))
	}
	if err != nil {
		return nil, err
	}
	original := bytes.Clone(image[at : at+len(code)])
	patch := func(text []byte) error { return patchStopped(pid, mem, begin, size, int64(at), text) }
	if err := patch(code); err != nil {
		return nil, err
	}
	return func() error {
		defer mem.Close()
		return patch(original)
	}, nil
}

// clockCode is
//
//	mov eax, 228        // clock_gettime(2)
//	syscall
//	test edi, edi       // CLOCK_REALTIME
//	jne out
//	add qword [rsi], by // timespec.tv_sec
//	out: ret
func clockCode(by time.Duration) []byte {
	code := []byte{0xb8, 228, 0, 0, 0, 0x0f, 0x05, 0x85, 0xff, 0x75, 7, 0x48, 0x81, 0x06}
	code = binary.LittleEndian.AppendUint32(code, uint32(int32(by/time.Second)))
	return append(code, 0xc3)
}

// clockFunction finds the function in the image, and how long it is.
func clockFunction(image []byte) (at, room int, err error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, 0, fmt.Errorf("the vdso: %w", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, 0, fmt.Errorf("the vdso: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return int(s.Value), int(s.Size), nil
		}
	}
	return 0, 0, fmt.Errorf("the vdso has no __vdso_clock_gettime")
}

// vdsoOf finds where a process has the page.
func vdsoOf(pid int) (begin, size int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			var end int64
			_, err := fmt.Sscanf(line, "%x-%x", &begin, &end)
			return begin, end - begin, err
		}
	}
	return 0, 0, fmt.Errorf("process %d has no vdso", pid)
}

// patchStopped writes while the process is stopped and none of its threads is in the page.
func patchStopped(pid int, mem *os.File, begin, size, at int64, text []byte) error {
	for range 100 {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			return err
		}
		free, err := threadsOutside(pid, begin, begin+size)
		if err == nil && free {
			_, err = mem.WriteAt(text, begin+at)
		}
		if contErr := unix.Kill(pid, unix.SIGCONT); err == nil {
			err = contErr
		}
		if err != nil || free {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("process %d never stopped outside of its vdso", pid)
}

// threadsOutside waits until all threads have stopped, and says whether each is outside of
// a range of addresses.
func threadsOutside(pid int, begin, end int64) (bool, error) {
	deadline := time.Now().Add(5 * time.Second)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		return false, fmt.Errorf("process %d has no threads: %w", pid, io.ErrUnexpectedEOF)
	}
	for _, task := range tasks {
		for !stopped(task) {
			if time.Now().After(deadline) {
				return false, fmt.Errorf("%s doesn't stop", task)
			}
			time.Sleep(time.Millisecond)
		}
		// Its last field is where the thread is (proc_pid_syscall(5)).
		text, err := os.ReadFile(filepath.Join(task, "syscall"))
		fields := strings.Fields(string(text))
		if err != nil || len(fields) == 0 {
			continue // It has ended.
		}
		if len(fields) == 1 { // "running": about to stop
			return false, nil
		}
		pc, err := strconv.ParseUint(fields[len(fields)-1], 0, 64)
		if err != nil {
			return false, fmt.Errorf("where %s is: %w", task, err)
		}
		if pc >= uint64(begin) && pc < uint64(end) {
			return false, nil
		}
	}
	return true, nil
}

// stopped says whether a thread has stopped, or ended.
func stopped(task string) bool {
	stat, err := os.ReadFile(filepath.Join(task, "stat"))
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && bytes.ContainsAny(rest[:1], "TZX")
}
