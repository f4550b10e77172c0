package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/spec"
)

const (
	// bodyLimit bounds requests other than uploads, in bytes.
	bodyLimit = 4 << 20
	// heartbeat is how often a silent event stream shows that it lives.
	heartbeat = 15 * time.Second
)

// Server answers the API's requests.
type Server struct {
	Engine  *deploy.Engine
	Version Version
	// StopAll is called, once, when a client asks to stop everything.
	StopAll func()
	Logger  *slog.Logger
}

// Serve answers on l until ctx ends. Event streams and followed logs end with
// it; other requests get a moment to finish.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	}()
	err := server.Serve(l)
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	<-stopped
	return nil
}

// handler is an http.HandlerFunc that can fail; what it returns is sent as
// JSON, unless it is nil.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"GET /v1/version":                                             s.version,
		"POST /v1/stop":                                               s.stop,
		"POST /v1/artifacts":                                          s.upload,
		"POST /v1/plan":                                               s.plan,
		"GET /v1/events":                                              s.events,
		"GET /v1/services":                                            s.services,
		"GET /v1/services/{service}":                                  s.status,
		"GET /v1/services/{service}/history":                          s.history,
		"GET /v1/services/{service}/logs":                             s.logs,
		"GET /v1/services/{service}/events":                           s.events,
		"POST /v1/services/{service}/rollback":                        s.rollback,
		"POST /v1/services/{service}/deployments":                     s.deploy,
		"GET /v1/services/{service}/deployments/{deployment}":         s.deployment,
		"POST /v1/services/{service}/deployments/{deployment}/abort":  s.abort,
		"GET /v1/services/{service}/deployments/{deployment}/receipt": s.receipt,
	} {
		mux.HandleFunc(pattern, s.answer(h))
	}
	mux.HandleFunc("/", s.answer(func(http.ResponseWriter, *http.Request) (any, error) {
		return nil, &Problem{Status: http.StatusNotFound, Detail: "no such route", Hint: "is the command line newer than the daemon?"}
	}))
	return mux
}

func (s *Server) answer(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := h(w, r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if answer != nil {
			s.send(w, http.StatusOK, "application/json", answer)
		}
	}
}

func (s *Server) send(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.Logger.Debug("a client went away before its answer", "error", err)
	}
}

// fail sends an error as a problem.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // Nobody is there to read it.
	}
	p := problemOf(err)
	if p.Status >= 500 {
		s.Logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	s.send(w, p.Status, "application/problem+json", p)
}

// problemOf is the one place where errors are given an HTTP status.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		p.Type, p.Title = "about:blank", http.StatusText(p.Status)
		return p
	}
	p := &Problem{Type: "about:blank", Status: http.StatusInternalServerError, Detail: err.Error()}
	if e, ok := errors.AsType[*deploy.Error](err); ok {
		p.Type, p.Detail, p.Hint = "urn:segue:"+string(e.Problem), e.Message, e.Hint
		switch e.Problem {
		case deploy.ProblemInvalid:
			p.Status = http.StatusUnprocessableEntity
		case deploy.ProblemNotFound:
			p.Status = http.StatusNotFound
		case deploy.ProblemConflict:
			p.Status = http.StatusConflict
		case deploy.ProblemFull:
			p.Status = http.StatusInsufficientStorage
		}
	}
	p.Title = http.StatusText(p.Status)
	return p
}

func (s *Server) version(http.ResponseWriter, *http.Request) (any, error) { return s.Version, nil }

func (s *Server) stop(w http.ResponseWriter, _ *http.Request) (any, error) {
	s.StopAll()
	w.WriteHeader(http.StatusAccepted)
	return nil, nil
}

func (s *Server) upload(_ http.ResponseWriter, r *http.Request) (any, error) {
	a, err := s.Engine.PutArtifact(r.Context(), r.Body)
	if err != nil {
		return nil, err
	}
	return Uploaded{Digest: a.Digest, Bytes: a.Bytes, Files: a.Files}, nil
}

func (s *Server) plan(_ http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[DeployRequest](r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Plan(r.Context(), req.Spec))
}

func (s *Server) deploy(_ http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[DeployRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Spec.Service != r.PathValue("service") {
		return nil, &Problem{Status: http.StatusBadRequest, Detail: "the spec is of another service than the path"}
	}
	d, err := s.Engine.Deploy(r.Context(), deploy.Request{
		Spec: req.Spec, Artifact: req.Artifact, Busy: req.Busy, By: peer(r.Context()), Reason: req.Reason,
	})
	return answer(d, err)
}

func (s *Server) rollback(_ http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[RollbackRequest](r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Rollback(r.Context(), r.PathValue("service"), req.Release, req.Busy, peer(r.Context()), req.Reason))
}

func (s *Server) abort(_ http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[AbortRequest](r)
	if err != nil {
		return nil, err
	}
	number, err := number(r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Abort(r.Context(), r.PathValue("service"), number, peer(r.Context()), req.Reason))
}

func (s *Server) services(_ http.ResponseWriter, r *http.Request) (any, error) {
	return answer(s.Engine.Services(r.Context()))
}

func (s *Server) status(_ http.ResponseWriter, r *http.Request) (any, error) {
	return answer(s.Engine.Status(r.Context(), r.PathValue("service")))
}

func (s *Server) history(_ http.ResponseWriter, r *http.Request) (any, error) {
	releases, deployments, err := s.Engine.History(r.Context(), r.PathValue("service"))
	return answer(History{Releases: releases, Deployments: deployments}, err)
}

func (s *Server) deployment(_ http.ResponseWriter, r *http.Request) (any, error) {
	n, err := number(r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Deployment(r.Context(), r.PathValue("service"), n))
}

func (s *Server) receipt(_ http.ResponseWriter, r *http.Request) (any, error) {
	n, err := number(r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Receipt(r.Context(), r.PathValue("service"), n))
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) (any, error) {
	values := r.URL.Query()
	q := deploy.LogQuery{
		Service: r.PathValue("service"), Release: values.Get("release"), Instance: values.Get("instance"),
		Tail: -1, Follow: values.Has("follow"),
	}
	if tail := values.Get("tail"); tail != "" {
		n, err := strconv.Atoi(tail)
		if err != nil {
			return nil, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("tail=%s is no number", tail)}
		}
		q.Tail = n
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	return nil, s.Engine.Logs(r.Context(), flushWriter{w}, q)
}

// events streams the events of a service, or of all.
func (s *Server) events(w http.ResponseWriter, r *http.Request) (any, error) {
	after, deployment, err := eventRange(r)
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	stream := eventStream{w: flushWriter{w}}
	if err := stream.comment("segue"); err != nil {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	events := make(chan deploy.Event)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Engine.Follow(ctx, r.PathValue("service"), deployment, after, func(ev deploy.Event) error {
			select {
			case events <- ev:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err = stream.copy(events, ended)
	if err != nil && r.Context().Err() == nil {
		s.Logger.Warn("an event stream broke off; its client can resume it", "error", err)
	}
	return nil, nil
}

// copy writes events until the source or the client ends.
func (s eventStream) copy(events <-chan deploy.Event, ended <-chan error) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case ev := <-events:
			err = s.event(ev)
		case <-beat.C:
			err = s.comment("")
		case err := <-ended:
			return err
		}
		if err != nil {
			return err
		}
	}
}

// eventStream writes server-sent events (HTML Living Standard, section 9.2).
type eventStream struct{ w io.Writer }

func (s eventStream) event(ev deploy.Event) error {
	data, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.w, "id: %d\nevent: %s\ndata: %s\n\n", ev.ID, ev.Kind(), data)
	return err
}

func (s eventStream) comment(text string) error {
	_, err := fmt.Fprintf(s.w, ":%s\n\n", text)
	return err
}

func eventRange(r *http.Request) (after int64, deployment int, err error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	if text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, 0, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("%q is no event's ID", text)}
		}
	}
	if text := r.URL.Query().Get("deployment"); text != "" {
		deployment, err = deploy.DeploymentNumber(text)
	}
	return after, deployment, err
}

// number is the deployment that the path names; 0 for "last" and "current".
func number(r *http.Request) (int, error) {
	id := r.PathValue("deployment")
	if id == "last" || id == "current" {
		return 0, nil
	}
	return deploy.DeploymentNumber(id)
}

// read decodes a request's body.
func read[T any](r *http.Request) (T, error) {
	var v T
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, bodyLimit))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return v, &Problem{Status: http.StatusBadRequest, Detail: "the request's body can't be read: " + err.Error(), Hint: "is the command line of another version than the daemon?"}
	}
	if d, ok := any(&v).(*DeployRequest); ok {
		return v, validate(d.Spec)
	}
	return v, nil
}

// validate holds a spec to the rules again: a client is not to be trusted with
// that.
func validate(s *spec.Spec) error {
	if s == nil {
		return &Problem{Status: http.StatusBadRequest, Detail: "the request has no spec"}
	}
	if err := s.Validate(); err != nil {
		return &deploy.Error{Problem: deploy.ProblemInvalid, Message: err.Error()}
	}
	return nil
}

func answer[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// flushWriter sends every write at once.
type flushWriter struct{ w http.ResponseWriter }

func (f flushWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}
