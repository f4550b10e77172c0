// Package spec is segue.yaml: what a service is, how a release of it is started,
// proved and given traffic.
//
// [Load] reads a file, [Parse] bytes; both are strict, fill in the defaults of
// [Default] and validate, and an [Error] of theirs shows the place. The value
// that comes out is complete: nothing that reads a [Spec] applies a default of
// its own. It marshals to JSON, in which form it travels and is kept, and back
// to an equal value.
package spec

// Spec is one service.
type Spec struct {
	// Service is its name: lower-case letters, digits and dashes, starting
	// with a letter, at most 40.
	Service string `yaml:"service" json:"service"`
	// Artifact is the file or directory that a release consists of, relative
	// to the spec's file. Empty releases nothing but the spec itself.
	Artifact string `yaml:"artifact,omitempty" json:"artifact,omitempty"`
	// Command starts an instance: an argument vector whose elements may hold
	// templates ({{.Port}}). A first element with a slash in it is relative to
	// Dir, one without is looked up in PATH.
	Command []string `yaml:"command" json:"command"`
	// Dir is the working directory, relative to the artifact.
	Dir string `yaml:"dir,omitempty" json:"dir,omitempty"`
	// Env holds environment variables. ${NAME} in a value stands for the
	// daemon's own variable of that name when an instance starts; $$ is a
	// dollar sign.
	Env map[string]string `yaml:"env,omitempty" json:"env,omitempty"`
	// EnvFile names a file of NAME=value lines, relative to the spec's file,
	// whose variables are added to Env when the spec is loaded; Env wins. It
	// is empty in a loaded spec.
	EnvFile   string `yaml:"env_file,omitempty" json:"-"`
	Instances int    `yaml:"instances,omitempty" json:"instances"`
	// Listen says how an instance gets its address.
	Listen Listen `yaml:"listen,omitempty" json:"listen"`
	// User to run as, by name or number; empty is the daemon's own.
	User   string `yaml:"user,omitempty" json:"user,omitempty"`
	Limits Limits `yaml:"limits,omitempty" json:"limits"`

	Route    Route    `yaml:"route,omitempty" json:"route"`
	Health   Health   `yaml:"health,omitempty" json:"health"`
	Smoke    []Smoke  `yaml:"smoke,omitempty" json:"smoke,omitempty"`
	Strategy Strategy `yaml:"strategy,omitempty" json:"strategy"`

	// Drain is how long requests in flight may take to finish on a release
	// that gets no more of them; what is left then is cut.
	Drain Duration `yaml:"drain,omitempty" json:"drain"`
	// Warm is how long the old release keeps running after a deployment, for
	// a rollback in no time.
	Warm Duration `yaml:"warm,omitempty" json:"warm"`
	// StopGrace is the time between SIGTERM and SIGKILL.
	StopGrace Duration `yaml:"stop_grace,omitempty" json:"stop_grace"`
	// Keep is how many old releases stay on disk for a rollback.
	Keep int  `yaml:"keep,omitempty" json:"keep"`
	Logs Logs `yaml:"logs,omitempty" json:"logs"`
}

// Listen is how an instance gets its address: "port" or "socket".
type Listen string

// The values of Listen.
const (
	// ListenPort: a free TCP port on 127.0.0.1, in PORT and {{.Port}}.
	ListenPort Listen = "port"
	// ListenSocket: the path of a unix socket, in SOCKET and {{.Socket}}.
	ListenSocket Listen = "socket"
)

// Limits bounds what one instance may use; zero is no limit.
type Limits struct {
	Memory Size `yaml:"memory,omitempty" json:"memory,omitempty"`
	// CPU is in cores: 0.5 is half of one.
	CPU       float64 `yaml:"cpu,omitempty" json:"cpu,omitempty"`
	Processes int     `yaml:"processes,omitempty" json:"processes,omitempty"`
}

// Route is which requests the service gets.
type Route struct {
	// Hosts are names like "example.com" or "*.example.com"; none is every
	// host that no other service names.
	Hosts []string `yaml:"hosts,omitempty" json:"hosts,omitempty"`
	// Paths are prefixes of whole segments; none is "/".
	Paths []string `yaml:"paths,omitempty" json:"paths,omitempty"`
}

// Health is how an instance shows that it is ready. At most one of HTTP, TCP
// and Command is set; without any it is TCP.
type Health struct {
	HTTP    *HealthHTTP `yaml:"http,omitempty" json:"http,omitempty"`
	TCP     bool        `yaml:"tcp,omitempty" json:"tcp,omitempty"`
	Command []string    `yaml:"command,omitempty" json:"command,omitempty"`

	Interval Duration `yaml:"interval,omitempty" json:"interval"`
	Timeout  Duration `yaml:"timeout,omitempty" json:"timeout"`
	// Healthy and Unhealthy are how many answers in a row change the state.
	Healthy   int `yaml:"healthy,omitempty" json:"healthy"`
	Unhealthy int `yaml:"unhealthy,omitempty" json:"unhealthy"`
	// StartDeadline is how long an instance may take to get ready.
	StartDeadline Duration `yaml:"start_deadline,omitempty" json:"start_deadline"`
}

// HealthHTTP is a GET request and its expected status.
type HealthHTTP struct {
	Path string `yaml:"path" json:"path"`
	Host string `yaml:"host,omitempty" json:"host,omitempty"`
	// Status 0 is any 2xx or 3xx.
	Status int `yaml:"status,omitempty" json:"status,omitempty"`
}

// Smoke is one test of the candidate before it gets traffic; exactly one of
// HTTP and Command is set.
type Smoke struct {
	// Command runs in the artifact's directory with the candidate's addresses
	// in SEGUE_CANDIDATE (the first, "host:port" or a socket's path),
	// SEGUE_CANDIDATES (all, separated by spaces), SEGUE_SERVICE and
	// SEGUE_RELEASE. Exit code 0 passes.
	Command []string `yaml:"command,omitempty" json:"command,omitempty"`
	// HTTP is sent to every instance of the candidate.
	HTTP    *SmokeHTTP `yaml:"http,omitempty" json:"http,omitempty"`
	Timeout Duration   `yaml:"timeout,omitempty" json:"timeout"`
}

// SmokeHTTP is a request and what its answer must be.
type SmokeHTTP struct {
	Method  string            `yaml:"method,omitempty" json:"method"`
	Path    string            `yaml:"path" json:"path"`
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	Body    string            `yaml:"body,omitempty" json:"body,omitempty"`
	// Status 0 is any 2xx.
	Status   int    `yaml:"status,omitempty" json:"status,omitempty"`
	Contains string `yaml:"contains,omitempty" json:"contains,omitempty"`
}

// Strategy is how traffic moves; exactly one is set.
type Strategy struct {
	BlueGreen *BlueGreen `yaml:"blue-green,omitempty" json:"blue-green,omitempty"`
}

// BlueGreen moves all traffic at once to a candidate that runs beside stable.
type BlueGreen struct {
	// Bake is how long the candidate is watched under traffic while the way
	// back is one table swap.
	Bake Duration `yaml:"bake,omitempty" json:"bake"`
	// MaxErrors is the share of the candidate's answers that may be 5xx or
	// broken during the bake, once there are at least MinRequests.
	MaxErrors   Percent `yaml:"max_errors,omitempty" json:"max_errors"`
	MinRequests int     `yaml:"min_requests,omitempty" json:"min_requests"`
}

// Logs bounds the output of an instance that is kept.
type Logs struct {
	MaxSize Size `yaml:"max_size,omitempty" json:"max_size"`
}
