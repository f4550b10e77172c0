//go:build linux

package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"golang.org/x/sys/unix"
)

func TestContract(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		m := startMachine(t)
		return drivertest.Harness{
			Driver:  m.Driver,
			Restart: func() driver.Driver { return m.restart() },
			Release: m.behaving,
			Kill:    func(in driver.Instance) { _ = unix.Kill(in.Pid, unix.SIGKILL) },
			SetReady: func(in driver.Instance, ready bool) {
				if ready {
					m.tell(in, unix.SIGIO)
				} else {
					m.tell(in, unix.SIGPWR)
				}
			},
			StopSignals: m.stopSignals,
			Alive: func(service, release string) int {
				n := 0
				for _, in := range []string{"1", "2", "3", "4"} {
					n += len(m.processes(service + "-" + release + "-" + in))
				}
				return n
			},
		}
	})
}

func (m *machine) behaving(service, id string, b drivertest.Behavior) driver.Release {
	args := []string{"-prints=" + strings.Join(b.Prints, ","), "-stops-after=" + b.StopsAfter.String()}
	if b.Exits {
		args = append(args, "-exit=3")
	}
	if b.NeverReady {
		args = append(args, "-status=503")
	}
	if b.StopSignal != "" || b.NoAddress {
		args = append(args, "-prints-stop")
	}
	if b.ReadyBy != "" {
		args = append(args, "-ready-by="+b.ReadyBy)
	}
	r := m.release(args...)
	r.Service, r.ID = service, id
	r.NoAddress, r.StopSignal = b.NoAddress, b.StopSignal
	switch b.ReadyBy {
	case "file":
		r.Health.HTTP, r.Health.File = nil, "said/ready"
	case "notify":
		r.Health.HTTP, r.Health.Notify = nil, true
	}
	if b.NoAddress && !b.NamesPort {
		r.Command[2] = "-port=0"
	}
	if b.CannotStart {
		r.Command = []string{"./missing"}
	}
	if b.StartDeadline != 0 {
		r.StartDeadline = b.StartDeadline
	}
	r.StopGrace = patience
	if b.StopGrace != 0 {
		r.StopGrace = b.StopGrace
	}
	return r
}

// tell sends a signal to an instance that is there to understand it.
func (m *machine) tell(in driver.Instance, sig unix.Signal) {
	m.t.Helper()
	eventually(m.t, "up", func() bool {
		text, err := os.ReadFile(filepath.Join(m.Driver.cfg.RunDir, in.ID, "up"))
		return err == nil && string(text) == strconv.Itoa(in.Pid)
	})
	if err := unix.Kill(in.Pid, sig); err != nil {
		m.t.Fatal(err)
	}
}

// stopSignals reads in the logs by which signals instances were asked to stop.
func (m *machine) stopSignals(service, release string) []string {
	m.t.Helper()
	var logs bytes.Buffer
	if err := m.Logs(m.ctx(), &logs, service, release, driver.LogOptions{Tail: -1}); err != nil {
		m.t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(logs.String()) {
		if _, signal, found := strings.Cut(line, "| stopped by SIG"); found {
			list = append(list, strings.TrimSpace(signal))
		}
	}
	return list
}
