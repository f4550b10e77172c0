//go:build !linux

package cli

import "github.com/spf13/cobra"

// newRoles is empty: the daemon and the proxy run on Linux, and elsewhere the
// command line talks to one there.
func newRoles(*options) []*cobra.Command { return nil }
