// Package spec is segue.yaml: what a service is, how a release of it is started,
// proved and given traffic.
//
// [Load] reads a file, [Parse] bytes; both are strict, fill in the defaults of
// [Default] and validate, and an [Error] of theirs shows the place. The value
// that comes out is complete: nothing that reads a [Spec] applies a default of
// its own. It marshals to JSON, in which form it travels and is kept, and back
// to an equal value; who receives it so calls [Spec.Validate].
//
// The way of a file: readDocument turns bytes into one YAML tree, within
// limits that a hostile file can't get past; a decoder walks tree and Go types
// side by side, onto the defaults, and notes where each field stands; a checker
// looks at the values and knows nothing of places; Parse brings the two
// together. The Go types in this file are the only list of fields: the decoder,
// the suggestions, and the JSON Schema of [Schema], whose descriptions are the
// comments below, all read it.
package spec

// Spec is one service.
type Spec struct {
	// Service is its name: lower-case letters, digits and dashes, starting
	// with a letter, at most 40.
	Service string `yaml:"service" json:"service" jsonschema:"required,pattern=^[a-z]([a-z0-9-]*[a-z0-9])?$,maxLength=40"`
	// Artifact is the file or directory that a release consists of, relative
	// to the spec's file. Empty releases nothing but the spec itself.
	Artifact string `yaml:"artifact,omitempty" json:"artifact,omitempty"`
	// Command starts an instance: an argument vector whose elements may hold
	// templates ({{.Port}}). A first element with a slash in it is relative to
	// dir, one without is looked up in PATH.
	Command []string `yaml:"command" json:"command" jsonschema:"required,minItems=1"`
	// Dir is the working directory, relative to the artifact.
	Dir string `yaml:"dir,omitempty" json:"dir,omitempty"`
	// Env holds environment variables. ${NAME} in a value stands for the
	// daemon's own variable of that name when an instance starts; $$ is a
	// dollar sign. PORT, HOST or SOCKET, TMPDIR and SEGUE_* are set by Segue.
	Env map[string]string `yaml:"env,omitempty" json:"env,omitempty"`
	// EnvFile names a file of NAME=value lines, relative to the spec's file,
	// whose variables are added to env when the spec is loaded; env wins. It
	// is empty in a loaded spec.
	EnvFile string `yaml:"env_file,omitempty" json:"-"`
	// Instances is how many copies of a release run.
	Instances int `yaml:"instances" json:"instances" jsonschema:"minimum=1,maximum=1000"`
	// Listen says how an instance gets its address: a free TCP port on
	// 127.0.0.1, in PORT and {{.Port}}, or the path of a unix socket, in SOCKET
	// and {{.Socket}}.
	Listen Listen `yaml:"listen" json:"listen" jsonschema:"enum=port,enum=socket"`
	// User to run as, by name or number; empty is the daemon's own.
	User string `yaml:"user,omitempty" json:"user,omitempty"`
	// Limits bounds what one instance may use.
	Limits Limits `yaml:"limits,omitempty" json:"limits"`

	// Route is which requests the service gets.
	Route Route `yaml:"route,omitempty" json:"route"`
	// Health is how an instance shows that it is ready.
	Health Health `yaml:"health" json:"health"`
	// Smoke are tests of the candidate before it gets traffic, in this order.
	Smoke []Smoke `yaml:"smoke,omitempty" json:"smoke,omitempty"`
	// Strategy is how traffic moves to the candidate.
	Strategy Strategy `yaml:"strategy" json:"strategy"`

	// Drain is how long requests in flight may take to finish on a release
	// that gets no more of them; what is left then is cut.
	Drain Duration `yaml:"drain" json:"drain"`
	// Warm is how long the old release keeps running after a deployment, for
	// a rollback in no time.
	Warm Duration `yaml:"warm" json:"warm"`
	// StopGrace is the time between SIGTERM and SIGKILL.
	StopGrace Duration `yaml:"stop_grace" json:"stop_grace"`
	// Keep is how many old releases stay on disk for a rollback.
	Keep int `yaml:"keep" json:"keep" jsonschema:"minimum=0"`
	// Logs bounds the output of an instance that is kept.
	Logs Logs `yaml:"logs" json:"logs"`
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
	// Memory is its most memory, as in 512MiB; 0 is no limit.
	Memory Size `yaml:"memory,omitempty" json:"memory,omitempty"`
	// CPU is in cores: 0.5 is half of one; 0 is no limit.
	CPU float64 `yaml:"cpu,omitempty" json:"cpu,omitempty" jsonschema:"minimum=0"`
	// Processes is how many processes and threads it may have; 0 is no limit.
	Processes int `yaml:"processes,omitempty" json:"processes,omitempty" jsonschema:"minimum=0"`
}

// Route is which requests the service gets.
type Route struct {
	// Hosts are names like "example.com" or "*.example.com"; none is every
	// host that no other service names.
	Hosts []string `yaml:"hosts,omitempty" json:"hosts,omitempty"`
	// Paths are prefixes of whole segments; none is "/".
	Paths []string `yaml:"paths,omitempty" json:"paths,omitempty"`
}

// Health is how an instance shows that it is ready. At most one of http, tcp
// and command is given; without any it is tcp.
type Health struct {
	// HTTP is a GET request and its expected status.
	HTTP *HealthHTTP `yaml:"http,omitempty" json:"http,omitempty" spec:"choice"`
	// TCP is true for a connection that is accepted.
	TCP bool `yaml:"tcp,omitempty" json:"tcp,omitempty" spec:"choice"`
	// Command is an argument vector, with templates as in the service's
	// command, that is run beside the instance; exit code 0 is healthy.
	Command []string `yaml:"command,omitempty" json:"command,omitempty" jsonschema:"minItems=1" spec:"choice"`

	// Interval is the time between the starts of two probes, at least 10ms.
	Interval Duration `yaml:"interval" json:"interval"`
	// Timeout is the longest that one probe may take.
	Timeout Duration `yaml:"timeout" json:"timeout"`
	// Healthy is how many good answers in a row make an instance ready.
	Healthy int `yaml:"healthy" json:"healthy" jsonschema:"minimum=1,maximum=1000"`
	// Unhealthy is how many bad answers in a row make it unready.
	Unhealthy int `yaml:"unhealthy" json:"unhealthy" jsonschema:"minimum=1,maximum=1000"`
	// StartDeadline is how long an instance may take to get ready.
	StartDeadline Duration `yaml:"start_deadline" json:"start_deadline"`
}

// HealthHTTP is a GET request and its expected status.
type HealthHTTP struct {
	// Path starts with a slash and may have a query.
	Path string `yaml:"path" json:"path" jsonschema:"required,pattern=^/"`
	// Host is the value of the Host header; empty stands for "localhost".
	Host string `yaml:"host,omitempty" json:"host,omitempty"`
	// Status is the one status code that is healthy; without it any 2xx or 3xx
	// is.
	Status int `yaml:"status,omitempty" json:"status,omitempty" jsonschema:"minimum=100,maximum=599"`
}

// Smoke is one test of the candidate before it gets traffic; exactly one of
// http and command is given.
type Smoke struct {
	// HTTP is a request that is sent to every instance of the candidate.
	HTTP *SmokeHTTP `yaml:"http,omitempty" json:"http,omitempty" spec:"choice"`
	// Command is an argument vector that runs in the artifact's directory with
	// the candidate's addresses in SEGUE_CANDIDATE (the first, "host:port" or a
	// socket's path), SEGUE_CANDIDATES (all, separated by spaces),
	// SEGUE_SERVICE and SEGUE_RELEASE. Of the templates it can use those that
	// don't belong to one instance: {{.Dir}}, {{.Service}} and {{.Release}}.
	// Exit code 0 passes.
	Command []string `yaml:"command,omitempty" json:"command,omitempty" jsonschema:"minItems=1" spec:"choice"`
	// Timeout is the longest that the command, or one request, may take.
	Timeout Duration `yaml:"timeout" json:"timeout"`
}

// SmokeHTTP is a request and what its answer must be.
type SmokeHTTP struct {
	// Method is the request's method.
	Method string `yaml:"method" json:"method"`
	// Path starts with a slash and may have a query.
	Path string `yaml:"path" json:"path" jsonschema:"required,pattern=^/"`
	// Headers are sent with the request; Host is the host it asks for.
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	// Body is sent with the request.
	Body string `yaml:"body,omitempty" json:"body,omitempty"`
	// Status is the one status code that passes; without it any 2xx does.
	Status int `yaml:"status,omitempty" json:"status,omitempty" jsonschema:"minimum=100,maximum=599"`
	// Contains is a text that the answer's body must hold.
	Contains string `yaml:"contains,omitempty" json:"contains,omitempty"`
}

// Strategy is how traffic moves to the candidate; exactly one is given.
type Strategy struct {
	// BlueGreen moves all traffic at once to a candidate that runs beside
	// stable.
	BlueGreen *BlueGreen `yaml:"blue-green,omitempty" json:"blue-green,omitempty" spec:"choice"`
}

// BlueGreen moves all traffic at once to a candidate that runs beside stable.
type BlueGreen struct {
	// Bake is how long the candidate is watched under traffic while the way
	// back is one table swap.
	Bake Duration `yaml:"bake" json:"bake"`
	// MaxErrors is the share of the candidate's answers that may be 5xx or
	// broken during the bake, once there are at least min_requests.
	MaxErrors Percent `yaml:"max_errors" json:"max_errors"`
	// MinRequests is how many requests it takes to judge max_errors.
	MinRequests int `yaml:"min_requests" json:"min_requests" jsonschema:"minimum=1"`
}

// Logs bounds the output of an instance that is kept.
type Logs struct {
	// MaxSize is how much of an instance's output is kept, at least 64KiB.
	MaxSize Size `yaml:"max_size" json:"max_size"`
}
