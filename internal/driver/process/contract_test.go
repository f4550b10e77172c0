//go:build linux

package process

import (
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
	r := m.release(args...)
	r.Service, r.ID = service, id
	if b.CannotStart {
		r.Command = []string{"./missing"}
	}
	if b.NeverReady {
		r.StartDeadline = b.StartDeadline
	}
	r.StopGrace = patience
	if b.StopGrace != 0 {
		r.StopGrace = b.StopGrace
	}
	return r
}
