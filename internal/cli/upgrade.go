package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/spec"
)

const (
	// daemonPatience is how long a daemon may take to come back as another binary, and
	// daemonTick how often it is asked.
	daemonPatience = time.Minute
	daemonTick     = 50 * time.Millisecond
)

func newUpgrade(o *options) *cobra.Command {
	var (
		binary string
		drain  time.Duration
	)
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace daemon and proxy by a new binary while traffic goes on",
		Long: "Replace the daemon and then the proxy by a new binary while traffic goes on. Clients keep their\n" +
			"connections. What can't be passed on, such as WebSockets, stays with the old proxy until it ends,\n" +
			"or is cut after --drain. A binary that doesn't work is given up, and what ran goes on.\n\n" +
			"A proxy that was started with other settings than the daemon has now is replaced, too.",
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			if drain <= 0 {
				return fmt.Errorf("--drain %s: want more than 0", drain)
			}
			if binary != "" {
				if binary, err = filepath.Abs(binary); err != nil {
					return err
				}
			}
			u := upgrade{client: o.client(), out: cmd.OutOrStdout(), silent: asJSON}
			if err := u.run(cmd.Context(), binary, drain); err != nil {
				return err
			}
			if asJSON {
				return printJSON(u.out, u.result)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&binary, "binary", "", "the new binary (default: where the daemon's own is)")
	cmd.Flags().DurationVar(&drain, "drain", 10*time.Minute, "how long the old proxy may go on with WebSockets and long answers")
	o.addOutput(cmd, "json")
	return cmd
}

// upgrade is one on its way.
type upgrade struct {
	client *api.Client
	out    io.Writer
	silent bool
	result struct {
		Daemon api.Upgrade      `json:"daemon"`
		Proxy  api.ProxyUpgrade `json:"proxy"`
	}
}

func (u *upgrade) say(format string, args ...any) {
	if !u.silent {
		fmt.Fprintf(u.out, format+"\n", args...)
	}
}

func (u *upgrade) run(ctx context.Context, binary string, drain time.Duration) error {
	before, err := u.client.Version(ctx)
	if err != nil {
		return err
	}
	if u.result.Daemon, err = u.client.Upgrade(ctx, api.UpgradeRequest{Binary: binary}); err != nil {
		return err
	}
	d := u.result.Daemon
	if d.Needed {
		u.say("binary  %s is %s and works", d.Binary, d.To)
		if err := u.awaitDaemon(ctx, before.Started); err != nil {
			return err
		}
		u.say("daemon  %s -> %s (pid %d)", d.From, d.To, before.Pid)
	} else {
		u.say("daemon  is %s already", d.To)
	}
	if u.result.Proxy, err = u.client.UpgradeProxy(ctx, api.ProxyUpgradeRequest{Drain: spec.Duration(drain)}); err != nil {
		return fmt.Errorf("the daemon is %s, the proxy is not: %w", d.To, err)
	}
	from, to := u.result.Proxy.From, u.result.Proxy.To
	if from.Pid == to.Pid {
		u.say("proxy   is %s already", to.Version)
		return nil
	}
	u.say("proxy   %s (pid %d) -> %s (pid %d)", from.Version, from.Pid, to.Version, to.Pid)
	for _, old := range to.Replaced {
		u.say("        pid %d goes on with %d connections in use, for %s at most", old.Pid, old.Connections, drain)
	}
	return nil
}

// awaitDaemon returns when another run of the daemon answers than that which began then.
func (u *upgrade) awaitDaemon(ctx context.Context, began time.Time) error {
	deadline := time.Now().Add(daemonPatience)
	for {
		// A daemon that hangs must not hold this for ever.
		asked, cancel := context.WithTimeout(ctx, daemonPatience)
		v, err := u.client.Version(asked)
		cancel()
		if err == nil && !v.Started.Equal(began) {
			return nil
		}
		if err == nil {
			err = errors.New("it has not gone on as the new binary")
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the daemon did not come back within %s: %w; traffic goes on; its log says why", daemonPatience, err)
		}
		select {
		case <-time.After(daemonTick):
		case <-ctx.Done():
			return errors.New("not waited for: the daemon goes on as the new binary; 'segue upgrade' again sees to the proxy")
		}
	}
}
