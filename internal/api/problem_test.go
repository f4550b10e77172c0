package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/journal"
)

// TestProblems: every refusal says what is wrong, with a status and a kind.
func TestProblems(t *testing.T) {
	w := newWorld(t)
	w.deploy()
	good, err := json.Marshal(service(t, "web", ""))
	if err != nil {
		t.Fatal(err)
	}
	withSpec := func(spec string) string { return `{"artifact": "", "spec": ` + spec + `}` }
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		kind, detail, hint       string
	}{
		{"unknown route", "GET", "/v2/version", "", 404, "about:blank", "no route GET /v2/version", "newer than the daemon"},
		{"unknown method", "DELETE", "/v1/services/web", "", 404, "about:blank", "no route DELETE", ""},
		{"unknown service", "GET", "/v1/services/shop", "", 404, "urn:segue:not-found", `no service "shop"`, "there are web"},
		{"history of an unknown service", "GET", "/v1/services/shop/history", "", 404, "urn:segue:not-found", "shop", ""},
		{"logs of an unknown service", "GET", "/v1/services/shop/logs", "", 404, "urn:segue:not-found", "shop", ""},
		{"logs of an unknown release", "GET", "/v1/services/web/logs?release=r9", "", 404, "urn:segue:not-found", "r9", "segue history"},
		{"tail is no number", "GET", "/v1/services/web/logs?tail=many", "", 400, "about:blank", "tail=many", ""},
		{"follow is no boolean", "GET", "/v1/services/web/logs?follow=perhaps", "", 400, "about:blank", "follow=perhaps", ""},
		{"unknown deployment", "GET", "/v1/services/web/deployments/d9", "", 404, "urn:segue:not-found", "no deployment d9", ""},
		{"receipt of an unknown deployment", "GET", "/v1/services/web/deployments/d9/receipt", "", 404, "urn:segue:not-found", "d9", ""},
		{"no deployment's name", "GET", "/v1/services/web/deployments/r1", "", 422, "urn:segue:invalid", `"r1" is no deployment`, "d1, d2"},
		{"abort of nothing", "POST", "/v1/services/web/deployments/current/abort", "{}", 409, "urn:segue:conflict", "no deployment of web", ""},
		{"abort of what has ended", "POST", "/v1/services/web/deployments/d1/abort", "", 409, "urn:segue:conflict", "has ended: promoted", "segue rollback"},
		{"promote of nothing", "POST", "/v1/services/web/deployments/current/promote", "{}", 409, "urn:segue:conflict", "the last, d1, has ended: promoted, and r1 is stable", "nothing to promote"},
		{"promote of what has ended", "POST", "/v1/services/web/deployments/d1/promote", `{"full": true}`, 409, "urn:segue:conflict", "d1 of web has ended: promoted, and r1 is stable", "nothing to promote"},
		{"pause of what has ended", "POST", "/v1/services/web/deployments/d1/pause", `{"for": "1h", "then": "abort"}`, 409, "urn:segue:conflict", "has ended", "nothing to pause"},
		{"pause without an end", "POST", "/v1/services/web/deployments/d1/pause", `{}`, 422, "urn:segue:invalid", "a pause of 0s", "above 0"},
		{"resume of the unknown", "POST", "/v1/services/web/deployments/d9/resume", "{}", 404, "urn:segue:not-found", "no deployment d9", "segue history"},
		{"resume of no deployment's name", "POST", "/v1/services/web/deployments/now/resume", "{}", 422, "urn:segue:invalid", `"now" is no deployment`, "d1, d2"},
		{"hold without a bound", "POST", "/v1/services/web/hold", `{"for": "1h"}`, 422, "urn:segue:invalid", "without a bound", "above 0"},
		{"hold of an unknown service", "POST", "/v1/services/shop/hold", `{"for": "1h"}`, 404, "urn:segue:not-found", "shop", ""},
		{"release of an unknown service", "POST", "/v1/services/shop/release", ``, 404, "urn:segue:not-found", "shop", ""},
		{"freeze that is over", "POST", "/v1/services/web/freeze", `{"until": "2001-01-01T00:00:00Z"}`, 422, "urn:segue:invalid", "which is over", "to come"},
		{"unfreeze of an unknown service", "POST", "/v1/services/shop/unfreeze", ``, 404, "urn:segue:not-found", "shop", ""},
		{"scale to nothing", "POST", "/v1/services/web/scale", `{}`, 422, "urn:segue:invalid", "instances", ""},
		{"scale that is busy in an unknown way", "POST", "/v1/services/web/scale", `{"instances": 2, "busy": "push"}`, 422, "urn:segue:invalid", `"push"`, ""},
		{"restart of an unknown service", "POST", "/v1/services/shop/restart", ``, 404, "urn:segue:not-found", "shop", ""},
		{"restart that is busy in an unknown way", "POST", "/v1/services/web/restart", `{"busy": "push"}`, 422, "urn:segue:invalid", `"push"`, ""},
		{"explanation of an unknown service", "GET", "/v1/services/shop/explain", "", 404, "urn:segue:not-found", "shop", ""},
		{"actions on an unknown service", "GET", "/v1/services/shop/actions", "", 404, "urn:segue:not-found", "shop", ""},
		{"rollback to nothing", "POST", "/v1/services/web/rollback", "{}", 409, "urn:segue:conflict", "no earlier release", ""},
		{"rollback to the unknown", "POST", "/v1/services/web/rollback", `{"release": "r9"}`, 404, "urn:segue:not-found", "no release r9", ""},
		{"rollback that is busy in an unknown way", "POST", "/v1/services/web/rollback", `{"busy": "push"}`, 422, "urn:segue:invalid", `"push"`, ""},
		{"bad JSON", "POST", "/v1/services/web/rollback", `{"release": `, 400, "about:blank", "can't be read", "another version"},
		{"unknown field", "POST", "/v1/services/web/rollback", `{"relaese": "r1"}`, 400, "about:blank", "relaese", ""},
		{"more than one value", "POST", "/v1/services/web/rollback", `{} {}`, 400, "about:blank", "more follows", ""},
		{"wrong type", "POST", "/v1/services/web/rollback", `[]`, 400, "about:blank", "can't be read", ""},
		{"no spec", "POST", "/v1/plan", ``, 400, "about:blank", "no spec", ""},
		{"null spec", "POST", "/v1/plan", withSpec("null"), 400, "about:blank", "no spec", ""},
		{"invalid spec", "POST", "/v1/plan", withSpec(strings.Replace(string(good), `"instances":1`, `"instances":-1`, 1)), 422, "urn:segue:invalid", "instances", ""},
		{"empty spec", "POST", "/v1/services/web/deployments", withSpec("{}"), 422, "urn:segue:invalid", "service", ""},
		{"spec of another service", "POST", "/v1/services/shop/deployments", withSpec(string(good)), 400, "about:blank", "the spec is of service web, the path of shop", ""},
		{"unknown artifact", "POST", "/v1/services/web/deployments", withSpec(string(good)), 404, "urn:segue:not-found", "artifact", "upload it first"},
		{"too large a body", "POST", "/v1/plan", strings.Repeat(" ", bodyLimit) + "{}", 413, "about:blank", "more than 4194304 bytes", ""},
		{"events after nonsense", "GET", "/v1/events?after=now", "", 400, "about:blank", `"now" is no event's ID`, ""},
		{"events after less than nothing", "GET", "/v1/events?after=-1", "", 400, "about:blank", `"-1"`, ""},
		{"events of a deployment of no service", "GET", "/v1/events?deployment=d1", "", 400, "about:blank", "without its service", ""},
		{"events of an unknown service", "GET", "/v1/services/shop/events", "", 404, "urn:segue:not-found", "shop", ""},
		{"events of an unknown deployment", "GET", "/v1/services/web/events?deployment=d9", "", 404, "urn:segue:not-found", "d9", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			p := w.problem(test.method, test.path, test.body)
			if p.Status != test.status || p.Type != test.kind || !strings.Contains(p.Detail, test.detail) || !strings.Contains(p.Hint, test.hint) {
				t.Errorf("got %+v", p)
			}
		})
	}
	if d, err := w.client.Deployment(context.Background(), "web", ""); err != nil || d.ID != "d1" {
		t.Errorf("one of the refused was begun: %+v, %v", d, err)
	}
}

func TestProblemOfAnythingElse(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		kind   string
	}{
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), http.StatusInternalServerError, "about:blank"},
		{&deploy.Error{Problem: "tomorrow's"}, http.StatusInternalServerError, "urn:segue:tomorrow's"},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), http.StatusRequestTimeout, "about:blank"},
	} {
		if p := problemOf(test.err); p.Status != test.status || p.Type != test.kind || p.Title != http.StatusText(test.status) {
			t.Errorf("%v: %+v", test.err, p)
		}
	}
}

// TestJournalGone: what the daemon can't answer for is its own error, and logged.
func TestJournalGone(t *testing.T) {
	w := newWorld(t)
	w.deploy()
	w.stop()
	w.ended.Wait()
	_, err := w.server.Engine.Receipt(t.Context(), "web", 1)
	if p := problemOf(err); p.Status != http.StatusInternalServerError || !strings.Contains(p.Detail, journal.ErrClosed.Error()) {
		t.Errorf("%+v", p)
	}
}
