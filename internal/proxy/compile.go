package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/health"
)

// compiled is a table as the requests of one loop use it. It is immutable; what changes
// while it is in force, counts and health, is behind its pointers and outlives it.
type compiled struct {
	routes   routes
	services []*service
	byName   map[string]*service
	// http2 is set when one of the services speaks HTTP/2.
	http2 bool
}

type service struct {
	name     string
	releases []*release
	// http2 is set when one of the upstreams speaks HTTP/2, which only the door does.
	http2 bool
	// nobody counts requests that end before a release is chosen.
	nobody *account

	// What follows is nil when there is nothing to do.
	fallback *release
	match    *matcher
	sticky   *sticky
	scoring  *scoring
	mirror   *mirror
	hold     *hold
	queue    *queue
	budget   *budgetOf
}

type release struct {
	id     string
	weight int
	// gets is set when it gets requests, by its weight, by rules or as the
	// fallback, and held when they are held.
	gets, held bool
	// tells is TellWebSockets.
	tells   bool
	account *account
	pools   []*pool
	// line has the requests that wait for room.
	line *line
	// card has the release's scores under this table's weights; nil is none.
	card  *card
	check *health.Check
	slow  slowStart
	// handsBack is set when its instances may hand uploads back.
	handsBack bool
}

// service returns the service of a name, or nil.
func (c *compiled) service(name string) *service {
	if c == nil {
		return nil
	}
	return c.byName[name]
}

// find returns the service that takes requests for a host and a decoded path, or nil.
func (c *compiled) find(host, path string) *service {
	if c == nil {
		return nil
	}
	return c.routes.find(host, path)
}

// release returns the release of an ID, or nil; s may be nil.
func (s *service) release(id string) *release {
	if s == nil {
		return nil
	}
	for _, r := range s.releases {
		if r.id == id {
			return r
		}
	}
	return nil
}

// pools calls yield for the pool of every upstream of the table.
func (c *compiled) pools(yield func(*release, *pool) bool) {
	if c == nil {
		return
	}
	for _, s := range c.services {
		for _, r := range s.releases {
			for _, p := range r.pools {
				if !yield(r, p) {
					return
				}
			}
		}
	}
}

// compile makes a valid table ready for the requests of a loop, with the accounts and
// pools of its registry.
func compile(t Table, reg *registry) *compiled {
	c := &compiled{byName: make(map[string]*service, len(t.Services))}
	for _, s := range t.Services {
		svc := s.compile(reg)
		c.services = append(c.services, svc)
		c.byName[svc.name] = svc
		c.http2 = c.http2 || svc.http2
		c.routes.addService(svc, s)
	}
	return c
}

func (s Service) compile(reg *registry) *service {
	svc := &service{name: s.Name, nobody: reg.account(s.Name, "")}
	for _, r := range s.Releases {
		svc.releases = append(svc.releases, r.compile(reg, s.Name))
		svc.http2 = svc.http2 || slices.ContainsFunc(r.Upstreams, func(u Upstream) bool { return u.Target.H2C })
	}
	if s.Candidate != "" {
		candidate := svc.release(s.Candidate)
		svc.match = newMatcher(s.Match, candidate)
		svc.sticky = newSticky(s.Sticky, candidate)
		svc.mirror = newMirror(s.Mirror, candidate)
		svc.scoring = newScoring(s, candidate, reg.shared.sessionsFor(s))
	}
	if svc.scoring != nil {
		for _, r := range svc.releases {
			r.card = r.account.cardFor(svc.scoring)
		}
	}
	svc.fallback = svc.release(s.Fallback)
	svc.hold = newHold(s.Hold, reg.shared.waitingFor(s.Name))
	svc.queue = newQueue(s.Queue, reg.shared.queuedFor(s.Name))
	svc.budget = newBudget(s.RetryBudget, reg.budget(s.Name), reg.loops())
	for _, r := range svc.releases {
		r.gets = r.weight > 0 || r == svc.fallback || (svc.match != nil && svc.match.candidate == r)
		r.held = svc.hold != nil
	}
	return svc
}

func (r Release) compile(reg *registry, service string) *release {
	rel := &release{id: r.ID, weight: r.Weight, account: reg.account(service, r.ID), line: reg.shared.lineOf(accountKey{service, r.ID})}
	if r.Health != nil && r.Health.ByAddress() {
		check := *r.Health
		rel.check = &check
	}
	rel.slow.over, rel.tells = r.SlowStart, r.TellWebSockets
	rel.handsBack = r.ReplayUploads
	for _, u := range r.Upstreams {
		p := reg.pool(rel.account, u, r)
		rel.slow.add(p.upstream)
		rel.pools = append(rel.pools, p)
	}
	return rel
}

// beginHolds notes the holds that begin with a table, after the one before. One that has
// ended by itself may still be in the tables that come; it begins no more.
func (s *shared) beginHolds(t Table, before *compiled) {
	for _, svc := range t.Services {
		if !newHold(svc.Hold, s.waitingFor(svc.Name)).on() {
			continue
		}
		if old := before.service(svc.Name); old == nil || !old.hold.on() {
			s.waitingFor(svc.Name).begin()
		}
	}
}

// contentOf is the table's form for comparison.
func contentOf(t Table) (string, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("table %d: %w", t.Version, err)
	}
	return string(text), nil
}

// Validate returns what is wrong with the table, or nil: names and IDs that are
// missing or not unique, weights that don't sum to 100, targets, hosts, paths and
// rules that can't be, and two services that claim the same host and path.
func (t Table) Validate() error {
	if t.Version == 0 {
		return errors.New("the version is 0; the first is 1")
	}
	var all routes
	seen := make(map[string]bool)
	for _, s := range t.Services {
		if s.Name == "" || seen[s.Name] {
			return fmt.Errorf("service %q: its name is empty or not unique", s.Name)
		}
		seen[s.Name] = true
		if err := s.validate(); err != nil {
			return fmt.Errorf("service %q: %w", s.Name, err)
		}
		if taken, host, path := all.addService(&service{name: s.Name}, s); taken != nil {
			if host == "" {
				host = "any host"
			}
			return fmt.Errorf("service %q: %s with path %q already leads to service %q; give one of them another host or path", s.Name, host, path, taken.name)
		}
	}
	return nil
}

func (s Service) validate() error {
	for _, host := range s.Hosts {
		if err := validateHost(host); err != nil {
			return err
		}
	}
	for _, path := range s.Paths {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("path %q does not begin with a slash", path)
		}
	}
	sum := 0
	seen := make(map[string]bool)
	for _, r := range s.Releases {
		if r.ID == "" || seen[r.ID] {
			return fmt.Errorf("release %q: its ID is empty or not unique", r.ID)
		}
		seen[r.ID] = true
		if r.Weight < 0 || r.Weight > 100 {
			return fmt.Errorf("release %q: its weight is %d, want 0 to 100", r.ID, r.Weight)
		}
		sum += r.Weight
		if err := r.validate(); err != nil {
			return fmt.Errorf("release %q: %w", r.ID, err)
		}
	}
	if sum != 0 && sum != 100 {
		return fmt.Errorf("the weights of the releases sum to %d, want 100, or 0 for all", sum)
	}
	if s.Candidate != "" && !seen[s.Candidate] {
		return fmt.Errorf("the candidate %q is none of the releases; name one of them, or none", s.Candidate)
	}
	if s.Fallback != "" && !seen[s.Fallback] {
		return fmt.Errorf("the fallback %q is none of the releases; name one of them, or none", s.Fallback)
	}
	return s.validateRules()
}

func (s Service) validateRules() error {
	for i, m := range s.Match {
		if err := m.validate(); err != nil {
			return fmt.Errorf("match rule %d: %w", i+1, err)
		}
	}
	if err := s.Sticky.validate(); err != nil {
		return fmt.Errorf("sticky: %w", err)
	}
	if err := s.Scoring.validate(); err != nil {
		return fmt.Errorf("scoring: %w", err)
	}
	if err := s.Mirror.validate(); err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	if err := s.RetryBudget.validate(); err != nil {
		return fmt.Errorf("retry budget: %w", err)
	}
	if err := s.Queue.validate(); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if err := s.Hold.validate(); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	return nil
}

func (r Release) validate() error {
	if err := r.Ejection.validate(); err != nil {
		return fmt.Errorf("ejection: %w", err)
	}
	if r.SlowStart < 0 {
		return fmt.Errorf("its slow start is %s, want 0 for none, or more", r.SlowStart)
	}
	if r.MaxInFlight < 0 {
		return fmt.Errorf("its max in flight is %d, want 0 for no limit, or more", r.MaxInFlight)
	}
	if h := r.Health; h != nil && h.ByAddress() && h.Interval < time.Millisecond {
		return fmt.Errorf("health: its interval is %s, want at least 1ms", h.Interval)
	}
	var seen []string
	for _, u := range r.Upstreams {
		if u.ID == "" || slices.Contains(seen, u.ID) {
			return fmt.Errorf("upstream %q: its ID is empty or not unique", u.ID)
		}
		seen = append(seen, u.ID)
		if err := validateTarget(u.Target); err != nil {
			return fmt.Errorf("upstream %q: %w", u.ID, err)
		}
	}
	return nil
}

func validateTarget(t health.Target) error {
	switch t.Network {
	case "unix":
		if t.Address == "" {
			return errors.New("the path of its socket is empty")
		}
		return nil
	case "tcp":
		_, err := addressOf(t.Network, t.Address)
		return err
	}
	return fmt.Errorf("its network is %q, want tcp or unix", t.Network)
}

func validateHost(host string) error {
	name := strings.TrimPrefix(host, "*.")
	address := strings.Contains(name, ":")
	if name == "" || strings.ContainsAny(name, "*/ \t") || (address && canonicalHost(name) != canonicalIPv6(strings.Trim(name, "[]"))) {
		return fmt.Errorf("host %q: want a name without port, or *. and a name", host)
	}
	return nil
}
