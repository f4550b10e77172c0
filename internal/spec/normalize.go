package spec

import "strings"

// normalize gives each value one spelling: host names, days and methods in one
// case, signals without their prefix, paths without a slash at the end, nothing
// where there is an empty list.
func (s *Spec) normalize() {
	for i, host := range s.Route.Hosts {
		s.Route.Hosts[i] = strings.ToLower(host)
	}
	for i, p := range s.Route.Paths {
		if trimmed := strings.TrimRight(p, "/"); trimmed != "" {
			s.Route.Paths[i] = trimmed
		}
	}
	for i, d := range s.Route.Drain {
		if trimmed := strings.TrimRight(d.Path, "/"); trimmed != "" {
			s.Route.Drain[i].Path = trimmed
		}
	}
	s.StopSignal = strings.TrimPrefix(strings.ToUpper(s.StopSignal), "SIG")
	s.Command, s.Health.Command = orNil(s.Command), orNil(s.Health.Command)
	s.Route.Hosts, s.Route.Paths = orNil(s.Route.Hosts), orNil(s.Route.Paths)
	s.Route.Drain = orNil(s.Route.Drain)
	s.Smoke, s.Freeze = normalizeChecks(s.Smoke), orNil(s.Freeze)
	s.Env = orNilMap(s.Env)
	s.Strategy.normalize()
	s.Hooks.normalize()
	for i := range s.Freeze {
		s.Freeze[i].normalize()
	}
}

// orNil returns nil for an empty list: JSON leaves both out, and brings back nil.
func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

func orNilMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

func normalizeChecks(checks []Check) []Check {
	for i := range checks {
		c := &checks[i]
		c.Command = orNil(c.Command)
		if h := c.HTTP; h != nil {
			h.Method = strings.ToUpper(h.Method)
			h.Headers, h.Answer, h.JSON = orNilMap(h.Headers), orNilMap(h.Answer), orNilMap(h.JSON)
		}
	}
	return orNil(checks)
}

func (s *Strategy) normalize() {
	if b := s.BlueGreen; b != nil {
		b.Preview = normalizeMatches(b.Preview)
	}
	if r := s.Rolling; r != nil {
		r.Match = normalizeMatches(r.Match)
	}
	if c := s.Canary; c != nil {
		c.Match = normalizeMatches(c.Match)
		for _, step := range c.Steps {
			if step.Verify != nil {
				step.Verify.Checks = normalizeChecks(step.Verify.Checks)
			}
		}
	}
}

func normalizeMatches(rules []Match) []Match {
	for i := range rules {
		rules[i].Host = strings.ToLower(rules[i].Host)
	}
	return orNil(rules)
}

func (h *Hooks) normalize() {
	for _, moment := range h.moments() {
		*moment.hooks = orNil(*moment.hooks)
		for i := range *moment.hooks {
			hook := &(*moment.hooks)[i]
			hook.Command = orNil(hook.Command)
		}
	}
}

func (w *Window) normalize() {
	for i, day := range w.Days {
		w.Days[i] = strings.ToLower(day)
	}
	w.Days = orNil(w.Days)
}
