//go:build linux && crashpoints

package cli

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/segue-deploy/segue/internal/api"
)

// crashPoint makes the daemon kill itself right after it has journalled the event
// that SEGUE_CRASH_AFTER names, so that tests can crash it at every point of a
// deployment: "web/d2/intended/3" or "web/d2/began".
func crashPoint() func(api.Event) {
	point := os.Getenv("SEGUE_CRASH_AFTER")
	if point == "" {
		return nil
	}
	return func(ev api.Event) {
		if pointOf(ev) == point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // Nothing more is to happen until the signal has arrived.
		}
	}
}

// upgradeCrashPoint kills the daemon or the new proxy at a point of an upgrade, which
// SEGUE_CRASH_UPGRADE names: "launched/proxy", "taken/daemon".
func upgradeCrashPoint() func(point string, pid int) {
	crash := os.Getenv("SEGUE_CRASH_UPGRADE")
	if crash == "" {
		return nil
	}
	return func(point string, pid int) {
		switch crash {
		case point + "/proxy":
			_ = syscall.Kill(pid, syscall.SIGKILL)
		case point + "/daemon":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}

// proxyFault has the proxy not work, as SEGUE_PROXY_FAULT says.
func proxyFault() error {
	switch fault := os.Getenv("SEGUE_PROXY_FAULT"); fault {
	case "":
		return nil
	case "hangs":
		select {}
	default:
		return errors.New(fault)
	}
}

func pointOf(ev api.Event) string {
	at := fmt.Sprintf("%s/d%d/%s", ev.Service, ev.Deployment, ev.Kind())
	switch b := ev.Body.(type) {
	case api.Intended:
		return fmt.Sprintf("%s/%d", at, b.Step)
	case api.Did:
		return fmt.Sprintf("%s/%d", at, b.Step)
	case api.Failed:
		return fmt.Sprintf("%s/%d", at, b.Step)
	}
	return at
}
