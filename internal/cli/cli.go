// Package cli is the command line: a file for each verb, which parses its
// arguments, calls the API's client, and renders the answer. It decides nothing.
//
// # Exit codes
//
// 0 done (for a deployment: promoted), 1 an error in use, 2 a deployment failed
// and was taken back (or a proof failed), 3 it was aborted, 4 it goes on and was not
// waited for.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/spec"
)

// The exit codes.
const (
	exitOK        = 0
	exitUsage     = 1
	exitTakenBack = 2
	exitAborted   = 3
	exitGoesOn    = 4
	// exitNotProved is of `segue prove`.
	exitNotProved = 2
)

// exitCodes is what the verbs that follow a deployment say of them.
const exitCodes = "Exit codes: 0 promoted, 1 error in use, 2 failed and taken back, 3 aborted, 4 not waited for."

// Main runs the program and exits.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Run runs the program with its arguments and streams, and returns its exit
// code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return exitCode(err, stderr)
}

// exitError ends the program with a code; what there was to say has been said.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// exitCode is the one place where an error is shown and becomes a code.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	fmt.Fprintf(stderr, "segue: %v\n", err)
	return exitUsage
}

// options are the flags that most verbs share.
type options struct {
	stateDir string
	file     string
	service  string
	output   string
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "segue",
		Short: "Put a new release of a running service in place so that nobody can tell",
		Long: "Segue starts the new release beside the old, proves that it works, moves the traffic,\n" +
			"watches it, takes it back by itself when it is bad, and shows request by request that\n" +
			"nothing was lost.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; '%s --help' lists what there is", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&o.stateDir, "state-dir", defaultStateDir(), "the daemon's directory ($SEGUE_STATE_DIR)")
	root.AddGroup(
		&cobra.Group{ID: "deploy", Title: "Deploy:"},
		&cobra.Group{ID: "control", Title: "Control what is under way:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "spec", Title: "Write segue.yaml:"},
		&cobra.Group{ID: "run", Title: "Run Segue:"},
	)
	for group, verbs := range map[string][]*cobra.Command{
		"deploy":  {newPlan(o), newDeploy(o), newRollback(o), newScale(o), newRestart(o), newWait(o)},
		"control": {newPromote(o), newAbort(o), newPause(o), newResume(o), newHold(o), newRelease(o), newFreeze(o), newUnfreeze(o)},
		"look":    {newStatus(o), newExplain(o), newHistory(o), newLogs(o), newReceipt(o), newProve(o)},
		"spec":    {newInit(), newValidate(o), newSchema()},
		"run":     append(newRoles(o), newUpgrade(o), newVersion(o)),
	} {
		for _, v := range verbs {
			v.GroupID = group
			root.AddCommand(v)
		}
	}
	return root
}

// atMost allows up to n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return fmt.Errorf("%q is one argument too many; usage: %s", args[n], cmd.UseLine())
	}
}

// client is of the daemon of the state directory.
func (o *options) client() *api.Client { return api.NewClient(filepath.Join(o.stateDir, "segue.sock")) }

// addFile adds the flag that names the spec.
func (o *options) addFile(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.file, "file", "f", "segue.yaml", "the service's spec")
}

// addService adds the flags that name the service.
func (o *options) addService(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.service, "service", "s", "", "the service (default: that of ./segue.yaml, or the only one)")
}

// addOutput adds the flag for the form of the output.
func (o *options) addOutput(cmd *cobra.Command, forms string) {
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "the form of the output: text or "+forms)
}

// json says whether JSON is asked for.
func (o *options) json() (bool, error) {
	switch o.output {
	case "text":
		return false, nil
	case "json":
		return true, nil
	}
	return false, fmt.Errorf("--output %s: want text or json", o.output)
}

// serviceName finds out which service is meant.
func (o *options) serviceName(ctx context.Context) (string, error) {
	if o.service != "" {
		return o.service, nil
	}
	if s, err := spec.Load("segue.yaml"); err == nil {
		return s.Service, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w\n(--service NAME makes segue.yaml unnecessary here)", err)
	}
	services, err := o.client().Services(ctx)
	if err != nil {
		return "", err
	}
	if len(services) == 1 {
		return services[0].Service, nil
	}
	if len(services) == 0 {
		return "", errors.New("there is no service yet; 'segue init' and 'segue deploy' make one")
	}
	var names []string
	for _, s := range services {
		names = append(names, s.Service)
	}
	return "", fmt.Errorf("which service? name it with --service: %s", strings.Join(names, ", "))
}

// defaultStateDir is where a system's daemon keeps its state, or a user's.
func defaultStateDir() string {
	if dir := os.Getenv("SEGUE_STATE_DIR"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/segue"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "segue")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "segue-state"
	}
	return filepath.Join(home, ".local", "state", "segue")
}
