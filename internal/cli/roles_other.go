//go:build !linux

package cli

import (
	"runtime"

	"github.com/spf13/cobra"
)

// newRoles is empty: the daemon and the proxy run on Linux, and elsewhere the
// command line talks to one there.
func newRoles(*options) []*cobra.Command { return nil }

// program says what this program is.
type program struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

func thisProgram() program { return program{version(), runtime.Version()} }
