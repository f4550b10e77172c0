package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

func newFreeze(o *options) *cobra.Command {
	var (
		req   api.FreezeRequest
		until string
		limit time.Duration
	)
	cmd := &cobra.Command{
		Use:   "freeze [SERVICE]",
		Short: "Refuse deploys of a service from here on",
		Long: "Refuse deploys of a service from here on, until a time or until 'segue unfreeze'. Rollbacks and\n" +
			"aborts are never refused, and 'segue deploy --override REASON' goes through. Times of the week\n" +
			"belong into segue.yaml, under freeze.",
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if req.Until, err = freezeEnd(until, limit, cmd.Flags().Changed("for"), time.Now()); err != nil {
				return err
			}
			return commandService(o, cmd, args, func(ctx context.Context, c *api.Client, service string) (api.Freeze, error) {
				return c.Freeze(ctx, service, req)
			}, freezing)
		},
	}
	o.addCommand(cmd, &req.Reason)
	cmd.Flags().StringVar(&until, "until", "", `when it ends: "15:04", "2006-01-02 15:04" or RFC 3339`)
	cmd.Flags().DurationVar(&limit, "for", 0, "how long")
	cmd.MarkFlagsMutuallyExclusive("until", "for")
	return cmd
}

// freezeEnd is when a freeze ends, zero for never.
func freezeEnd(until string, limit time.Duration, limited bool, now time.Time) (time.Time, error) {
	switch {
	case limited && limit <= 0:
		return time.Time{}, fmt.Errorf("--for %s: want a time above 0", limit)
	case limited:
		return now.Add(limit), nil
	case until == "":
		return time.Time{}, nil
	}
	return comingTime(until, now)
}

// comingTime reads a time; one of day is the next such.
func comingTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.ParseInLocation("15:04", text, now.Location()); err == nil {
		t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
		if !t.After(now) {
			t = t.AddDate(0, 0, 1)
		}
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf(`--until %q: want "15:04", "2006-01-02 15:04" or RFC 3339`, text)
}

// freezing says what is refused, and until when.
func freezing(service string, f api.Freeze, now time.Time) string {
	until := "until 'segue unfreeze -s " + service + "'"
	if !f.Until.IsZero() {
		until = "until " + clock(now, f.Until)
	}
	return fmt.Sprintf("deploys of %s are refused %s; rollbacks are not", service, until)
}

func newUnfreeze(o *options) *cobra.Command {
	var req api.CommandRequest
	cmd := &cobra.Command{
		Use:   "unfreeze [SERVICE]",
		Short: "Allow deploys of a service again",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return commandService(o, cmd, args, func(ctx context.Context, c *api.Client, service string) (api.FreezeEnd, error) {
				return c.Unfreeze(ctx, service, req)
			}, unfreezing)
		},
	}
	o.addCommand(cmd, &req.Reason)
	return cmd
}

// unfreezing says what was refused. Times of the spec are not ended by it.
func unfreezing(service string, end api.FreezeEnd, now time.Time) string {
	if end.Freeze == nil {
		return fmt.Sprintf("nobody has frozen deploys of %s; those that its segue.yaml refuses need 'segue deploy --override'", service)
	}
	return fmt.Sprintf("deploys of %s are allowed again; %s since %s", service, who(end.Freeze.Actor, "frozen"), clock(now, end.Freeze.Since))
}
