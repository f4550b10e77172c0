package spec

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// problem is something wrong with the value of a field.
type problem struct{ field, message, hint string }

// checker collects problems. It sees values only, so that a spec that arrives
// as JSON is held to the same rules as a file.
type checker struct{ problems []problem }

// MaxInstances bounds the number of a release's instances, as a slip of the finger
// would take the machine down.
const MaxInstances = 1000

// The bounds of other numbers that have no natural one.
const (
	maxThreshold  = 1000
	maxInFlight   = 1000000
	maxQueue      = 100000
	maxRetries    = 1000
	minInterval   = Duration(10 * time.Millisecond)
	minMemory     = 1 << 20
	minLogSize    = 64 << 10
	maxNameLength = 40
)

var (
	serviceName = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	userName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?$`)
)

// check returns what is wrong with a complete, normalized spec.
func check(s *Spec) []problem {
	c := &checker{}
	c.identity(s)
	c.process(s)
	c.env(s)
	c.limits(s.Limits)
	c.route(s.Route, s.Listen)
	c.share("retry_budget", s.RetryBudget)
	c.overload(s.Overload, s.Listen)
	c.notNegative("slow_start", s.SlowStart)
	c.replayUploads(s)
	c.between("ejection.failures", s.Ejection.Failures, 0, maxThreshold)
	c.positive("ejection.time", s.Ejection.Time)
	c.share("ejection.keep", s.Ejection.Keep)
	c.health(s.Health, s.Listen)
	c.protocol(s)
	c.checks("smoke", s.Smoke, s.Listen)
	c.strategy(s)
	c.guard(s.Guard)
	c.hooks(s.Hooks, s.Listen)
	c.freeze(s.Freeze)
	c.notNegative("drain", s.Drain)
	c.notNegative("warm", s.Warm)
	c.stopSignal(s.StopSignal)
	c.notNegative("stop_grace", s.StopGrace)
	c.between("keep", s.Keep, 0, MaxInstances)
	if s.Logs.MaxSize < minLogSize {
		c.add("logs.max_size", "write it as in 10MiB", "must be at least %s, not %s", Size(minLogSize), s.Logs.MaxSize)
	}
	return c.problems
}

// add notes a problem with a field; the message goes on from its name.
func (c *checker) add(field, hint, format string, args ...any) {
	c.problems = append(c.problems, problem{field, field + " " + fmt.Sprintf(format, args...), hint})
}

func (c *checker) missing(field, hint string) {
	c.add(field, hint, "is missing")
}

// addError notes what a function that knows no fields says about one.
func (c *checker) addError(field string, f *flaw) {
	if f != nil {
		c.add(field, f.hint, "%s", f.message)
	}
}

func (c *checker) between(field string, n, least, most int) {
	if n < least || n > most {
		c.add(field, "", "must be from %d to %d, not %d", least, most, n)
	}
}

// oneOf checks one of a few words.
func (c *checker) oneOf(field, word string, words ...string) {
	if !slices.Contains(words, word) {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = strconv.Quote(w)
		}
		last := len(words) - 1
		c.add(field, "", "must be %s or %s, not %q", strings.Join(quoted[:last], ", "), quoted[last], word)
	}
}

func (c *checker) positive(field string, d Duration) {
	if d <= 0 {
		c.add(field, "", "must be more than 0s, not %s", d)
	}
}

func (c *checker) share(field string, share Percent) {
	if !(share >= 0 && share <= 100) {
		c.add(field, "", "must be from 0%% to 100%%, not %s", share)
	}
}

func (c *checker) notNegative(field string, d Duration) {
	if d < 0 {
		c.add(field, "", "must not be negative: %s", d)
	}
}

// system finds what no system call takes, or no environment.
func (c *checker) system(field, text string) {
	if strings.ContainsRune(text, 0) {
		c.add(field, "remove it", "has a zero byte in it")
	}
}

func (c *checker) identity(s *Spec) {
	const rule = "use lower-case letters, digits and dashes, starting with a letter and ending with a letter or digit, at most 40"
	switch {
	case s.Service == "":
		c.missing("service", "add the line \"service: NAME\"")
	case len(s.Service) > maxNameLength || !serviceName.MatchString(s.Service):
		c.add("service", rule, "is not a valid name: %q", s.Service)
	}
	c.system("artifact", s.Artifact)
}

func (c *checker) process(s *Spec) {
	c.oneOf("listen", string(s.Listen), string(ListenPort), string(ListenSocket), string(ListenNone))
	c.oneOf("protocol", string(s.Protocol), string(ProtocolHTTP), string(ProtocolH2C))
	c.between("instances", s.Instances, 1, MaxInstances)
	c.dir(s)
	c.command(s)
	if s.User != "" && !userName.MatchString(s.User) {
		c.add("user", "name one user, without a group", "is not a user's name or number: %q", s.User)
	}
}

func (c *checker) dir(s *Spec) {
	c.system("dir", s.Dir)
	switch {
	case s.Dir == "":
	case filepath.IsAbs(s.Dir):
		c.add("dir", "instances run from the release's own copy: name a directory in the artifact", "must be relative to the artifact: %q", s.Dir)
	case !filepath.IsLocal(s.Dir):
		c.add("dir", "name a directory in the artifact", "leads out of the artifact: %q", s.Dir)
	}
}

func (c *checker) command(s *Spec) {
	if len(s.Command) == 0 {
		c.missing("command", `add a line like: command: [./server, --port, "{{.Port}}"]`)
		return
	}
	c.arguments("command", s.Command, templateScope{s.Listen, forInstance})
	c.program(s)
}

// arguments checks an argument vector that isn't empty.
func (c *checker) arguments(field string, arguments []string, scope templateScope) {
	if arguments[0] == "" {
		c.add(field+"[0]", "name the program to run", "is empty")
	}
	for i, argument := range arguments {
		at := fmt.Sprintf("%s[%d]", field, i)
		c.system(at, argument)
		c.addError(at, scope.check(argument))
	}
}

// program checks that a program with a slash in it can be in the artifact.
func (c *checker) program(s *Spec) {
	program := s.Command[0]
	if !strings.Contains(program, "/") || strings.Contains(program, "{{") || path.IsAbs(program) {
		return
	}
	switch {
	case s.Artifact == "":
		c.add("command[0]", "add the file or directory to release, as in artifact: ./build; or name a program without a slash, or with an absolute path", "is in the artifact, and there is none: %q", program)
	case !filepath.IsLocal(path.Join(s.Dir, program)):
		c.add("command[0]", "name a program in the artifact, or one with an absolute path", "leads out of the artifact: %q", program)
	}
}

func (c *checker) env(s *Spec) {
	for _, name := range sortedKeys(s.Env) {
		field := "env." + name
		c.addError(field, checkEnvName(name, s.Listen))
		c.addError(field, checkEnvValue(s.Env[name]))
	}
	c.system("env_file", s.EnvFile)
}

func (c *checker) limits(l Limits) {
	if l.Memory != 0 && l.Memory < minMemory {
		c.add("limits.memory", "write it as in 512MiB; 0 is no limit", "must be at least %s, not %s", Size(minMemory), l.Memory)
	}
	if !(l.CPU >= 0 && l.CPU <= 4096) {
		c.add("limits.cpu", "it is in cores: 0.5 is half of one; 0 is no limit", "must be from 0 to 4096, not %v", l.CPU)
	}
	c.between("limits.processes", l.Processes, 0, 1<<22)
}

// stopSignals are the signals that ask a program to stop, by those who make
// programs.
func stopSignals() []string { return []string{"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"} }

func (c *checker) stopSignal(signal string) {
	hint := "the signals are " + strings.Join(stopSignals(), ", ")
	if signal == "KILL" {
		hint = "a program that is killed finishes nothing; for one that must not wait write stop_grace: 0s"
	}
	if !slices.Contains(stopSignals(), signal) {
		c.add("stop_signal", hint, "is not a signal to stop with: %q", signal)
	}
}

func (c *checker) overload(o Overload, listen Listen) {
	c.between("overload.max_in_flight", o.MaxInFlight, 0, maxInFlight)
	c.between("overload.queue", o.Queue, 0, maxQueue)
	c.positive("overload.max_wait", o.MaxWait)
	if o.MaxInFlight > 0 && listen == ListenNone {
		c.add("overload.max_in_flight", "remove it", "is for a service that takes requests, and this one listens on nothing")
	}
}

func (c *checker) guard(g Guard) {
	c.share("guard.max_errors", g.MaxErrors)
	c.between("guard.min_requests", g.MinRequests, 1, 1<<30)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
