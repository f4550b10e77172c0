package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// soakSettles is how long everything may take to be in order again.
const soakSettles = 90 * time.Second

// look asks for the service's status, which may not be had.
func (k *soak) look() (soakStatus, error) {
	code, text, err := k.ask(http.MethodGet, "/v1/services", "")
	if err != nil {
		return soakStatus{}, err
	}
	var all []soakStatus
	if code != http.StatusOK || json.Unmarshal(text, &all) != nil || len(all) != 1 {
		return soakStatus{}, fmt.Errorf("status: %d %s", code, text)
	}
	return all[0], nil
}

// settle waits until all is in order after an event.
func (k *soak) settle() {
	k.t.Helper()
	deadline := time.Now().Add(soakSettles)
	for {
		err := k.inOrder()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("event %d: not in order after %s: %v", k.events, soakSettles, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	k.answered(time.Now())
	if k.account.kind != "" {
		epoch := ""
		if k.account.last != nil {
			epoch = k.account.last.epoch
		}
		now := k.snapshot()
		if epoch != "" && now.epoch != epoch && !k.killed {
			k.t.Errorf("event %d: the proxy counts anew, though nobody has killed it", k.events)
		}
		k.account.compare(k.t, now)
	}
}

// answered waits until stable has answered requests that were begun after a time. If it
// never does, the proxy is made to say where it stands, which ends it.
func (k *soak) answered(at time.Time) {
	k.t.Helper()
	deadline := time.Now().Add(soakSettles)
	for k.clients.gen.After(at)[k.stable] == 0 {
		if time.Now().After(deadline) {
			_ = syscall.Kill(k.ProxyPid(), syscall.SIGQUIT)
			code, text, err := k.ask(http.MethodGet, "/v1/services", "")
			k.t.Fatalf("event %d: no answers from %s after %s: %v; the clients: %s; status: %d %s %v",
				k.events, k.stable, soakSettles, k.clients.gen.After(at), k.clients.gen.Report(), code, text, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// inOrder says what is not as it should be when nothing happens.
func (k *soak) inOrder() error {
	st, err := k.look()
	if err != nil {
		return err
	}
	for _, c := range st.Traffic.Releases {
		if err := c.adds(); err != nil {
			k.t.Fatal(err)
		}
	}
	for _, h := range []held{st.Traffic.Held, st.Traffic.Queued} {
		if h.Total != uint64(h.Now)+h.LetGo+h.Expired+h.Gone {
			k.t.Fatalf("of those that waited: %+v", h)
		}
	}
	switch {
	case st.Epoch == "":
		return errors.New("the proxy doesn't answer")
	case !st.Deployment.final():
		return fmt.Errorf("%s is %s", st.Deployment.ID, st.Deployment.Phase)
	case st.Stable != k.stable:
		return fmt.Errorf("%s is stable, not %s", st.Stable, k.stable)
	case st.Traffic.Held.Now > 0 || st.Hold != nil:
		return errors.New("requests are held")
	}
	want := 1 // the proxy
	for _, r := range st.Releases {
		role, weight := "warm", 0
		if r.ID == st.Stable {
			role, weight = "stable", 100
		}
		if r.Role != role || r.Weight != weight || len(r.Instances) != r.Want {
			return fmt.Errorf("%s is %s, has %d%% and %d of %d instances", r.ID, r.Role, r.Weight, len(r.Instances), r.Want)
		}
		want += len(r.Instances)
		for _, in := range r.Instances {
			if in.State != "ready" {
				return fmt.Errorf("%s is %s", in.ID, in.State)
			}
		}
	}
	if all := k.Processes(); len(all) != want {
		return fmt.Errorf("%d processes, want %d: %q", len(all), want, all)
	}
	if v := k.versions(); v.Proxy.Pid == 0 || len(v.Proxy.Replaced) > 0 {
		return fmt.Errorf("the proxies: %+v", v.Proxy)
	}
	return nil
}

// snapshot counts on both sides.
func (k *soak) snapshot() tally {
	k.t.Helper()
	var now tally
	eventually(k.t, "the proxy's counts", func() bool {
		// Between these two the proxy is asked: what has ended by the first was accepted
		// by then, what was accepted was sent by the second.
		now.ended = k.account.report().Ended()
		st, err := k.look()
		if err != nil || st.Epoch == "" {
			return false
		}
		now.others = k.others.begun.Load()
		now.sent = k.account.report().Sent
		now.epoch, now.accepted = st.Epoch, 0
		for _, c := range st.Traffic.Releases {
			now.accepted += c.Accepted - c.Rerouted
		}
		return true
	})
	return now
}

// receipts holds that those of the event add up. Only one over which a proxy was killed may
// not know all.
func (k *soak) receipts() {
	k.t.Helper()
	for _, id := range k.due {
		var r receipt
		eventually(k.t, "the receipt of "+id, func() bool {
			code, text, err := k.ask(http.MethodGet, "/v1/services/web/deployments/"+id+"/receipt", "")
			r = receipt{}
			return err == nil && code == http.StatusOK && json.Unmarshal(text, &r) == nil
		})
		if k.killed && len(r.Unknown) > 0 {
			continue
		}
		if k.deaf {
			r.Unknown = slices.DeleteFunc(r.Unknown, func(s string) bool { return strings.Contains(s, "the proxy could not be asked") })
		}
		r.adds(k.t, id)
		if !slices.Contains([]string{"promoted", "failed", "aborted"}, r.Phase) {
			k.t.Errorf("the receipt of %s: it is %s", id, r.Phase)
		}
	}
	k.due = nil
}
