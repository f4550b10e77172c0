package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/spec"
)

func newHold(o *options) *cobra.Command {
	var (
		req   api.HoldRequest
		limit time.Duration
		bytes string
	)
	cmd := &cobra.Command{
		Use:   "hold [SERVICE]",
		Short: "Keep a service's new requests waiting in the proxy",
		Long: "Keep a service's new requests waiting in the proxy, until 'segue release' or for a time at most.\n" +
			"Those in flight finish. A request waits as long as the hold at most and then goes on; what is\n" +
			"over --requests or --bytes is answered with 503 and Retry-After. To hold again changes time\n" +
			"and limits; a request that has waited for that long by then, or later, is answered with 503.",
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit <= 0 {
				return fmt.Errorf("--for %s: want a time above 0", limit)
			}
			if req.Limits.Requests <= 0 {
				return fmt.Errorf("--requests %d: want a number above 0", req.Limits.Requests)
			}
			size, err := spec.ParseSize(bytes)
			if err != nil {
				return fmt.Errorf("--bytes %s: %w", bytes, err)
			}
			if size <= 0 {
				return fmt.Errorf("--bytes %s: want a size above 0", bytes)
			}
			req.For, req.Limits.Time, req.Limits.Bytes = spec.Duration(limit), spec.Duration(limit), size
			return commandService(o, cmd, args, func(ctx context.Context, c *api.Client, service string) (api.Hold, error) {
				return c.Hold(ctx, service, req)
			}, holding)
		},
	}
	o.addCommand(cmd, &req.Reason)
	cmd.Flags().DurationVar(&limit, "for", 30*time.Second, "how long")
	cmd.Flags().IntVar(&req.Limits.Requests, "requests", 1000, "how many may wait")
	cmd.Flags().StringVar(&bytes, "bytes", "32MiB", "how much memory they may take")
	return cmd
}

// holding says what is held, until when, and how it ends.
func holding(service string, h api.Hold, now time.Time) string {
	return fmt.Sprintf("new requests of %s are held until %s, at most %d of them and %s; 'segue release -s %s' lets them go",
		service, clock(now, h.Until), h.Limits.Requests, h.Limits.Bytes, service)
}

func newRelease(o *options) *cobra.Command {
	var req api.CommandRequest
	cmd := &cobra.Command{
		Use:   "release [SERVICE]",
		Short: "Let the requests go that 'segue hold' keeps waiting",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return commandService(o, cmd, args, func(ctx context.Context, c *api.Client, service string) (api.HoldEnd, error) {
				return c.Release(ctx, service, req)
			}, releasing)
		},
	}
	o.addCommand(cmd, &req.Reason)
	return cmd
}

// releasing says what was held.
func releasing(service string, end api.HoldEnd, now time.Time) string {
	if end.Hold == nil {
		return fmt.Sprintf("nobody holds requests of %s; those of a deployment go with its next shift", service)
	}
	return fmt.Sprintf("the requests of %s are let go; %s since %s", service, who(end.Hold.Actor, "held"), clock(now, end.Hold.Since))
}
