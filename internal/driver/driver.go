// Package driver is the contract between the deploy engine and whatever runs
// instances: processes on this machine, containers, pods.
//
// The contract stands at the level of a release: ensure that n instances of it
// run, list what runs, remove it, show its logs, say when something changed.
// Every method is idempotent: after a crash the engine calls the same method
// again and gets the same result, never a second copy of an instance that lives.
//
// [Driver.List] is the truth. [Driver.Watch] only says that it is worth asking
// again, so a change can be told late or together with another, but not lost.
//
// The suite in drivertest holds every driver to this contract.
package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segue-deploy/segue/internal/health"
)

// Release is an immutable artifact and configuration, as a driver needs it to
// run instances. Service and ID name it; two calls with the same names have the
// same content.
type Release struct {
	Service string
	// ID is "r1", "r2", ….
	ID string

	// Dir is the absolute path of the unpacked artifact. Instances run from it
	// and must not write to it.
	Dir string
	// Command is the argument vector, with templates as in {{.Port}} still in
	// it; see [Vars]. The command of Health may have the same.
	Command []string
	// WorkDir is relative to Dir.
	WorkDir string
	// Env holds the variables of the service; their values are final. The
	// driver adds its own (PORT and others) and nothing of its surroundings but
	// PATH, HOME, LANG and TZ; HOME is that of User, if there is one.
	Env map[string]string
	// User is a user name or number to run as; empty is the daemon's own.
	User string
	// Socket asks for a unix socket in place of a TCP port, NoAddress for neither.
	Socket    bool
	NoAddress bool
	// H2C is set when an instance speaks HTTP/2 without TLS and nothing else.
	H2C bool

	Health health.Check
	// StartDeadline is how long an instance may take to get ready after it was
	// started for the first time.
	StartDeadline time.Duration
	// StopSignal asks an instance to stop: "TERM", "USR1", …; empty is "TERM".
	StopSignal string
	// StopGrace is how long an instance has between the request to stop and its
	// end by force (SIGKILL).
	StopGrace time.Duration

	Limits Limits
	// LogMaxBytes is how much of an instance's output is kept.
	LogMaxBytes int64
}

// Vars are the values that a command's templates can name.
type Vars struct {
	// Port is the TCP port that the instance must listen on at Host; 0 when
	// the release asks for a socket or has no address.
	Port int
	// Host is the address that it must listen on; empty when it has none.
	Host string
	// Socket is the path of the unix socket that the instance must listen on;
	// empty when it has a port or no address.
	Socket string
	// Dir is the artifact's directory, RunDir one that belongs to this instance
	// alone, is writable, and goes when it goes.
	Dir, RunDir string
	Service     string
	Release     string
	// Instance is the instance's ID, Index its number from 1.
	Instance string
	Index    int
}

// Limits bounds what one instance may use. Zero is no limit.
type Limits struct {
	MemoryBytes int64
	// CPU is in cores: 0.5 is half of one.
	CPU       float64
	Processes int
}

// State is where an instance is in its life.
type State string

// The states of an instance.
const (
	// Starting: runs, and has not been ready yet.
	Starting State = "starting"
	// Ready: its health gate is open.
	Ready State = "ready"
	// Unready: was ready, and its health gate has closed.
	Unready State = "unready"
	// Backoff: has exited by itself and will be started again.
	Backoff State = "backoff"
	// Failed: has never been ready, and exited so often or took so long that the driver
	// gives it up. A process that is left is being stopped. Only Remove, or
	// Ensure after a Remove, leads out of it.
	Failed State = "failed"
	// Stopping: has been asked to stop and has not ended.
	Stopping State = "stopping"
)

// Instance is one running copy of a release.
type Instance struct {
	// ID is unique on the machine and stable over restarts of the instance and
	// of the daemon: "web-r2-1".
	ID      string `json:"id"`
	Service string `json:"service"`
	Release string `json:"release"`
	// Index is the instance's number in its release, from 1.
	Index int   `json:"index"`
	State State `json:"state"`
	// Target is where it listens, the zero value for one without an address. It changes only while no process of the
	// instance runs, when its address was taken by another program in the
	// meantime: one who keeps targets compares them whenever Restarts has grown.
	Target health.Target `json:"target"`
	// Pid is 0 when no process runs.
	Pid int `json:"pid,omitempty"`
	// Started is when the present process was started, ReadySince when the gate
	// last opened.
	Started    time.Time `json:"started"`
	ReadySince time.Time `json:"ready_since,omitzero"`
	// Restarts counts how often it was started again after it had exited by
	// itself.
	Restarts int `json:"restarts"`
	// Message is one sentence for a person about the last thing that went
	// wrong: "exited with code 1 after 0.2s", "health: GET /healthz: 503, want
	// 2xx or 3xx". What is wrong with its health goes when that is mended; an
	// exit stays told. Empty when nothing went wrong.
	Message string `json:"message,omitempty"`
}

// LogOptions selects what Logs returns.
type LogOptions struct {
	// Instance restricts to one instance's ID; empty is all of the release.
	Instance string
	// Tail is how many of the last lines of each instance come first; negative
	// is all there are.
	Tail int
	// Follow goes on with new lines until ctx ends.
	Follow bool
}

// ErrNoLogs says that the release or instance has never run, or that its logs were
// collected.
var ErrNoLogs = errors.New("there are no logs of it: it has never run on this machine, or they were collected")

// Driver runs instances of releases.
type Driver interface {
	// Ensure makes instances 1 to n of the release exist, and no others: it
	// starts the missing, leaves the living alone, stops those above n. It
	// returns when the missing are being started, not when they are ready, and
	// when none of the processes of those above n lives; an error means that one
	// couldn't even be started, and names the remedy. An instance in state Failed
	// counts as existing.
	Ensure(ctx context.Context, r Release, n int) error

	// Check says, without any effect, whether Ensure could run the release: an
	// error names what stands in the way and the remedy. Notes are what a person
	// should know beforehand, such as limits that can't be enforced here. An
	// empty Dir leaves out what needs the artifact.
	Check(ctx context.Context, r Release) (notes []string, err error)

	// Exec runs a command once in the surroundings of the release: its
	// directory, environment with env added, and user, though not as an
	// instance. It returns what the command printed, also with an error, and
	// ends the command and all its children when ctx ends. Of a command that ran and
	// ended with another code than 0 the error is an *[ExitError].
	Exec(ctx context.Context, r Release, command []string, env map[string]string) (output string, err error)

	// List returns the instances of all services, ordered by ID.
	List(ctx context.Context) ([]Instance, error)

	// Remove stops all instances of the release and returns when none of their
	// processes lives. Removing what isn't there is no error.
	Remove(ctx context.Context, service, release string) error

	// Logs copies output of a release's instances to w, each line prefixed
	// with "ID| " unless o names one instance. The logs of a removed release can
	// be read until they are collected; when there are none, that is an error.
	// The end of ctx ends following without an error.
	Logs(ctx context.Context, w io.Writer, service, release string, o LogOptions) error

	// CollectLogs drops the logs of releases that neither run nor are kept.
	CollectLogs(ctx context.Context, keep func(service, release string) bool) error

	// Watch returns a channel of capacity 1 that receives whenever List may
	// have changed since the last receive; the first value is there at once. It
	// is closed when ctx ends.
	Watch(ctx context.Context) <-chan struct{}
}

// ExitError says that a command has ended with another code than 0.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exited with code %d", e.Code) }
