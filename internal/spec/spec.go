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
// together. The Go types in spec.go and strategy.go are the only list of fields:
// the decoder, the suggestions, and the JSON Schema of [Schema], whose
// descriptions are the comments there, all read it.
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
	// 127.0.0.1, in PORT and {{.Port}}, the path of a unix socket, in SOCKET and
	// {{.Socket}}, or none for a worker, which takes no requests.
	Listen Listen `yaml:"listen" json:"listen" jsonschema:"enum=port,enum=socket,enum=none"`
	// Protocol is what the instances speak: http, which is HTTP/1.1, or h2c, which is
	// HTTP/2 without TLS and nothing else, as a gRPC server does.
	Protocol Protocol `yaml:"protocol" json:"protocol" jsonschema:"enum=http,enum=h2c"`
	// User to run as, by name or number; empty is the daemon's own.
	User string `yaml:"user,omitempty" json:"user,omitempty"`
	// Limits bounds what one instance may use.
	Limits Limits `yaml:"limits,omitempty" json:"limits"`

	// Route is which requests the service gets.
	Route Route `yaml:"route,omitempty" json:"route"`
	// RetryBudget bounds the requests that are sent once more to a release which has
	// got them already, as a share of the service's requests; a few a second are free.
	RetryBudget Percent `yaml:"retry_budget" json:"retry_budget"`
	// Overload bounds what an instance has to do at a time.
	Overload Overload `yaml:"overload" json:"overload"`
	// SlowStart is the time over which the share of an instance rises that is new among
	// others of its release, from a tenth of theirs; 0s is none.
	SlowStart Duration `yaml:"slow_start,omitempty" json:"slow_start,omitempty"`
	// ReplayUploads lets an instance that is being stopped hand back the requests that it
	// hasn't read whole, with status 379; each goes to another instance, whole. The end of
	// drain doesn't cut those.
	ReplayUploads bool `yaml:"replay_uploads,omitempty" json:"replay_uploads,omitempty"`
	// Ejection is when an instance gets no requests for a time because those that it
	// got have failed.
	Ejection Ejection `yaml:"ejection" json:"ejection"`
	// Health is how an instance shows that it is ready.
	Health Health `yaml:"health" json:"health"`
	// Smoke are checks of the candidate before it gets traffic, in this order.
	Smoke []Check `yaml:"smoke,omitempty" json:"smoke,omitempty"`
	// Strategy is how traffic moves to the candidate.
	Strategy Strategy `yaml:"strategy" json:"strategy"`
	// Guard is what takes a candidate back while it is watched under traffic.
	Guard Guard `yaml:"guard" json:"guard"`
	// Hooks are commands at named moments of a deployment.
	Hooks Hooks `yaml:"hooks,omitempty" json:"hooks"`
	// Freeze are times in which deploys are refused; rollbacks and aborts never
	// are.
	Freeze []Window `yaml:"freeze,omitempty" json:"freeze,omitempty"`

	// Drain is how long requests in flight may take to finish on a release
	// that gets no more of them; what is left then is cut. What has no end of its own
	// (WebSockets, event streams, streams of gRPC) ends one after the other in the second
	// half of it.
	Drain Duration `yaml:"drain" json:"drain"`
	// TellWebSockets is true if the clients of WebSockets are told to go before they are
	// cut, by a close frame with the status 1001 from the proxy.
	TellWebSockets bool `yaml:"tell_websockets" json:"tell_websockets"`
	// Warm is how long the old release keeps running after a deployment, for
	// a rollback in no time; 0s with the strategies exclusive and worker.
	Warm Duration `yaml:"warm" json:"warm"`
	// StopSignal asks an instance to stop: TERM, INT, QUIT, HUP, USR1, USR2 or
	// WINCH, with or without SIG before it. A worker finishes what it is doing and
	// exits.
	StopSignal string `yaml:"stop_signal" json:"stop_signal" jsonschema:"enum=TERM,enum=INT,enum=QUIT,enum=HUP,enum=USR1,enum=USR2,enum=WINCH,enum=SIGTERM,enum=SIGINT,enum=SIGQUIT,enum=SIGHUP,enum=SIGUSR1,enum=SIGUSR2,enum=SIGWINCH"`
	// StopGrace is the time between the stop signal and SIGKILL; for a worker, as
	// long as a job of it may take.
	StopGrace Duration `yaml:"stop_grace" json:"stop_grace"`
	// Keep is how many old releases stay on disk for a rollback.
	Keep int `yaml:"keep" json:"keep" jsonschema:"minimum=0"`
	// Logs bounds the output of an instance that is kept.
	Logs Logs `yaml:"logs" json:"logs"`
}

// Listen is how an instance gets its address: "port", "socket" or "none".
type Listen string

// The values of Listen.
const (
	// ListenPort: a free TCP port on 127.0.0.1, in PORT and {{.Port}}.
	ListenPort Listen = "port"
	// ListenSocket: the path of a unix socket, in SOCKET and {{.Socket}}.
	ListenSocket Listen = "socket"
	// ListenNone: it has no address and takes no requests.
	ListenNone Listen = "none"
)

// Protocol is what instances speak: "http" or "h2c".
type Protocol string

// The values of Protocol.
const (
	// ProtocolHTTP: HTTP/1.1.
	ProtocolHTTP Protocol = "http"
	// ProtocolH2C: HTTP/2 without TLS, with prior knowledge (RFC 9113 section 3.3).
	ProtocolH2C Protocol = "h2c"
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
	// Sticky keeps a client with one release while the weights of two divide the
	// traffic.
	Sticky *Sticky `yaml:"sticky,omitempty" json:"sticky,omitempty"`
	// Drain gives the requests to some paths another time to finish than drain does.
	Drain []PathDrain `yaml:"drain,omitempty" json:"drain,omitempty"`
}

// PathDrain is how long the requests to some paths may take to finish on a release that
// gets no more of them.
type PathDrain struct {
	// Path is a prefix of whole segments; of several that fit the longest counts.
	Path string `yaml:"path" json:"path" jsonschema:"required,pattern=^/"`
	// Time is how long they may take; what is left then is cut.
	Time Duration `yaml:"time" json:"time" jsonschema:"required"`
}

// Sticky says how a client is known again; exactly one is given.
type Sticky struct {
	// Cookie names a cookie that the proxy sets.
	Cookie string `yaml:"cookie,omitempty" json:"cookie,omitempty" spec:"choice"`
	// Header names a header that tells one client from another, such as
	// X-User-ID. Requests without it are divided by chance.
	Header string `yaml:"header,omitempty" json:"header,omitempty" spec:"choice"`
}

// Overload bounds what an instance has to do at a time. What is too much waits, and what
// is too much for that is shed: answered with 503 and Retry-After.
type Overload struct {
	// MaxInFlight is how many requests an instance gets at a time, those of a
	// connection that has changed its protocol (WebSocket) with them; 0 is no limit.
	MaxInFlight int `yaml:"max_in_flight,omitempty" json:"max_in_flight,omitempty" jsonschema:"minimum=0,maximum=1000000"`
	// Queue is how many requests of the service wait when every instance has as many
	// as it may.
	Queue int `yaml:"queue" json:"queue" jsonschema:"minimum=0,maximum=100000"`
	// MaxWait is the longest that one of them waits.
	MaxWait Duration `yaml:"max_wait" json:"max_wait"`
}

// Ejection is when an instance gets no requests for a time because those that it got have
// failed: it broke off, or did not answer in time. One where nobody listens gets none
// anyway, until somebody does.
type Ejection struct {
	// Failures is how many in a row it takes; 0 ejects nothing.
	Failures int `yaml:"failures" json:"failures" jsonschema:"minimum=0,maximum=1000"`
	// Time is how long the first ejection lasts; each further one is longer by as
	// much, up to ten times.
	Time Duration `yaml:"time" json:"time"`
	// Keep is the share of a release's instances that get requests whatever fails.
	Keep Percent `yaml:"keep" json:"keep"`
	// ServerErrors is true for a service whose answers of class 5xx are failures of
	// the instance, too.
	ServerErrors bool `yaml:"server_errors,omitempty" json:"server_errors,omitempty"`
}

// Match chooses requests that go to the candidate whatever the weights, by one
// thing that they carry.
type Match struct {
	// Header is the name of a header.
	Header string `yaml:"header,omitempty" json:"header,omitempty" spec:"choice"`
	// Cookie is the name of a cookie.
	Cookie string `yaml:"cookie,omitempty" json:"cookie,omitempty" spec:"choice"`
	// Query is the name of a parameter in the query.
	Query string `yaml:"query,omitempty" json:"query,omitempty" spec:"choice"`
	// Host is a host name of the candidate's own.
	Host string `yaml:"host,omitempty" json:"host,omitempty" spec:"choice"`
	// Value is what the header, cookie or parameter must be; without it any
	// value fits.
	Value string `yaml:"value,omitempty" json:"value,omitempty"`
}

// Health is how an instance shows that it is ready. At most one of http, grpc, tcp,
// command, file and notify is given; without any it is tcp, and for a service
// that listens on nothing, notify.
type Health struct {
	// HTTP is a GET request and its expected status.
	HTTP *HealthHTTP `yaml:"http,omitempty" json:"http,omitempty" spec:"choice"`
	// GRPC is a call of the gRPC health checking protocol, of a service with
	// protocol: h2c; SERVING is healthy.
	GRPC *HealthGRPC `yaml:"grpc,omitempty" json:"grpc,omitempty" spec:"choice"`
	// TCP is true for a connection that is accepted.
	TCP bool `yaml:"tcp,omitempty" json:"tcp,omitempty" spec:"choice"`
	// Command is an argument vector, with templates as in the service's
	// command, that is run beside the instance; exit code 0 is healthy.
	Command []string `yaml:"command,omitempty" json:"command,omitempty" jsonschema:"minItems=1" spec:"choice"`
	// File is a file in the instance's own directory ({{.RunDir}}, TMPDIR) that
	// exists while the instance is ready.
	File string `yaml:"file,omitempty" json:"file,omitempty" spec:"choice"`
	// Notify is true for an instance that says READY=1 on the socket in
	// NOTIFY_SOCKET, as sd_notify(3) does.
	Notify bool `yaml:"notify,omitempty" json:"notify,omitempty" spec:"choice"`

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

// HealthGRPC is a call of grpc.health.v1.Health/Check.
type HealthGRPC struct {
	// Service is the name that is asked for; empty is the server as a whole.
	Service string `yaml:"service,omitempty" json:"service,omitempty"`
}

// Check is one check of the candidate; exactly one of http and command is given.
type Check struct {
	// HTTP is a request that is sent to every instance of the candidate.
	HTTP *CheckHTTP `yaml:"http,omitempty" json:"http,omitempty" spec:"choice"`
	// Command is an argument vector that runs in the artifact's directory with
	// the candidate's addresses in SEGUE_CANDIDATE (the first, "host:port" or a
	// socket's path), SEGUE_CANDIDATES (all, separated by spaces),
	// SEGUE_SERVICE and SEGUE_RELEASE. Of the templates it can use those that
	// don't belong to one instance: {{.Dir}}, {{.Service}} and {{.Release}}.
	// Exit code 0 passes.
	Command []string `yaml:"command,omitempty" json:"command,omitempty" jsonschema:"minItems=1" spec:"choice"`
	// Timeout is the longest that one try may take: the command, or the requests
	// to all instances.
	Timeout Duration `yaml:"timeout" json:"timeout"`
	// Retries is how often it is tried again before it has failed.
	Retries int `yaml:"retries,omitempty" json:"retries,omitempty" jsonschema:"minimum=0,maximum=1000"`
	// RetryAfter is the time between two tries.
	RetryAfter Duration `yaml:"retry_after" json:"retry_after"`
}

// CheckHTTP is a request and what its answer must be; all that is given must hold.
type CheckHTTP struct {
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
	// Matches is a regular expression (RE2) that must match somewhere in the
	// answer's body.
	Matches string `yaml:"matches,omitempty" json:"matches,omitempty"`
	// Answer are headers that the answer must have, with their values.
	Answer map[string]string `yaml:"answer_headers,omitempty" json:"answer_headers,omitempty"`
	// JSON are values in the answer's body, by JSONPath (RFC 9535), as in
	// "$.status": ok. A path that selects nothing, or another value, fails.
	JSON map[string]string `yaml:"json,omitempty" json:"json,omitempty"`
	// Latency is the longest that the whole answer may take; 0 is no limit.
	Latency Duration `yaml:"latency,omitempty" json:"latency,omitempty"`
}

// Guard is what takes a candidate back while it is watched under traffic, beside
// instances that die or stop being healthy.
type Guard struct {
	// MaxErrors is the share of the candidate's answers that may be 5xx or
	// broken, once there are at least min_requests.
	MaxErrors Percent `yaml:"max_errors" json:"max_errors"`
	// MinRequests is how many requests it takes to judge max_errors.
	MinRequests int `yaml:"min_requests" json:"min_requests" jsonschema:"minimum=1"`
}

// Hooks are commands at named moments of a deployment.
type Hooks struct {
	// BeforeStart run before the candidate starts.
	BeforeStart []Hook `yaml:"before_start,omitempty" json:"before_start,omitempty"`
	// AfterShift run after each shift of traffic to the candidate.
	AfterShift []Hook `yaml:"after_shift,omitempty" json:"after_shift,omitempty"`
	// AfterPromote run as the last step of a deployment that nothing can take back
	// any more; that one fails is noted and changes nothing.
	AfterPromote []Hook `yaml:"after_promote,omitempty" json:"after_promote,omitempty"`
	// OnAbort run when the candidate has been taken back, by itself or by an
	// abort; that one fails is noted and changes nothing.
	OnAbort []Hook `yaml:"on_abort,omitempty" json:"on_abort,omitempty"`
}

// Hook is a command in the surroundings of the candidate: its directory,
// environment and user, with SEGUE_SERVICE, SEGUE_RELEASE, SEGUE_DEPLOYMENT,
// SEGUE_STABLE, SEGUE_HOOK and SEGUE_WEIGHT added. After a crash of the daemon it
// may run a second time.
type Hook struct {
	// Command is an argument vector with the templates {{.Dir}}, {{.Service}} and
	// {{.Release}}.
	Command []string `yaml:"command" json:"command" jsonschema:"required,minItems=1"`
	// Timeout is the longest that it may take.
	Timeout Duration `yaml:"timeout" json:"timeout"`
	// OnFailure is what a failure means before the deployment has come to its end:
	// abort takes the candidate back, continue notes it.
	OnFailure string `yaml:"on_failure" json:"on_failure" jsonschema:"enum=abort,enum=continue"`
}

// The values of Hook.OnFailure.
const (
	OnFailureAbort    = "abort"
	OnFailureContinue = "continue"
)

// Window is a time of the week in which deploys are refused.
type Window struct {
	// Days are mon, tue, wed, thu, fri, sat and sun; none is every day.
	Days []string `yaml:"days,omitempty" json:"days,omitempty"`
	// From is when it begins on such a day, as in 16:00.
	From string `yaml:"from" json:"from" jsonschema:"required,pattern=^([01][0-9]|2[0-3]):[0-5][0-9]$"`
	// To is when it ends, up to 24:00; one that is not after from is on the next
	// day.
	To string `yaml:"to" json:"to" jsonschema:"required,pattern=^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"`
	// Zone is a time zone like Europe/Berlin; empty is the daemon's.
	Zone string `yaml:"zone,omitempty" json:"zone,omitempty"`
}

// Logs bounds the output of an instance that is kept.
type Logs struct {
	// MaxSize is how much of an instance's output is kept, at least 64KiB.
	MaxSize Size `yaml:"max_size" json:"max_size"`
}
