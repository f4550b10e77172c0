package spec

import "fmt"

// moment is a point of a deployment and the hooks that run there.
type moment struct {
	name  string
	hooks *[]Hook
}

func (h *Hooks) moments() []moment {
	return []moment{
		{"before_start", &h.BeforeStart}, {"after_shift", &h.AfterShift},
		{"after_promote", &h.AfterPromote}, {"on_abort", &h.OnAbort},
	}
}

func (c *checker) hooks(h Hooks, listen Listen) {
	for _, moment := range h.moments() {
		for i, hook := range *moment.hooks {
			c.hook(fmt.Sprintf("hooks.%s[%d]", moment.name, i), hook, listen)
		}
	}
}

func (c *checker) hook(field string, h Hook, listen Listen) {
	if len(h.Command) == 0 {
		c.missing(field+".command", `write it as in command: [./migrate, "{{.Release}}"]`)
	} else {
		c.arguments(field+".command", h.Command, templateScope{listen, forHook})
	}
	c.positive(field+".timeout", h.Timeout)
	c.oneOf(field+".on_failure", h.OnFailure, OnFailureAbort, OnFailureContinue)
}
