package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
)

// stopGrace is what requests get that are being answered when the daemon stops.
const stopGrace = 5 * time.Second

// Server answers the API's requests.
type Server struct {
	Engine  *deploy.Engine
	Version Version
	// StopAll is called, once, when a client asks to stop everything.
	StopAll func()
	// Upgrade has the daemon go on as another binary, after its answer; UpgradeProxy
	// replaces the proxy; Proxies says which run.
	Upgrade      func(context.Context, UpgradeRequest) (Upgrade, error)
	UpgradeProxy func(context.Context, ProxyUpgradeRequest) (ProxyUpgrade, error)
	Proxies      func(context.Context) (ProxyVersion, error)
	Logger       *slog.Logger

	stopOnce sync.Once
}

// Serve answers on l until ctx ends. Requests see that end: event streams and
// followed logs are over, what waits for something gets an error, and what has
// been journalled is still confirmed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
	}
	var shutdown sync.WaitGroup
	shutdown.Go(func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	err := server.Serve(l)
	stop()
	shutdown.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the API: %w", err)
}

// handler is an http.HandlerFunc that can fail; what it returns is sent as
// JSON, unless it is nil.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"GET /v1/version":                                              s.version,
		"POST /v1/stop":                                                s.stop,
		"POST /v1/upgrade":                                             s.upgrade,
		"POST /v1/upgrade/proxy":                                       s.upgradeProxy,
		"POST /v1/artifacts":                                           s.upload,
		"POST /v1/plan":                                                s.plan,
		"GET /v1/events":                                               s.events,
		"GET /v1/services":                                             s.services,
		"GET /v1/services/{service}":                                   s.status,
		"GET /v1/services/{service}/explain":                           s.explain,
		"GET /v1/services/{service}/history":                           s.history,
		"GET /v1/services/{service}/actions":                           s.actions,
		"GET /v1/services/{service}/logs":                              s.logs,
		"GET /v1/services/{service}/events":                            s.events,
		"POST /v1/services/{service}/rollback":                         s.rollback,
		"POST /v1/services/{service}/restart":                          s.restart,
		"POST /v1/services/{service}/scale":                            s.scale,
		"POST /v1/services/{service}/hold":                             s.hold,
		"POST /v1/services/{service}/release":                          s.release,
		"POST /v1/services/{service}/freeze":                           s.freeze,
		"POST /v1/services/{service}/unfreeze":                         s.unfreeze,
		"POST /v1/services/{service}/deployments":                      s.deploy,
		"GET /v1/services/{service}/deployments/{deployment}":          s.deployment,
		"GET /v1/services/{service}/deployments/{deployment}/receipt":  s.receipt,
		"POST /v1/services/{service}/deployments/{deployment}/abort":   s.abort,
		"POST /v1/services/{service}/deployments/{deployment}/pause":   s.pause,
		"POST /v1/services/{service}/deployments/{deployment}/resume":  s.resume,
		"POST /v1/services/{service}/deployments/{deployment}/promote": s.promote,
	} {
		mux.HandleFunc(pattern, s.answer(h))
	}
	mux.HandleFunc("/", s.answer(noRoute))
	return mux
}

func noRoute(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, &Problem{
		Status: http.StatusNotFound, Detail: fmt.Sprintf("the daemon has no route %s %s", r.Method, r.URL.Path),
		Hint: "is the command line newer than the daemon?",
	}
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
		err = stopping() // Or the client has gone and reads nothing.
	}
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError || p.Status == http.StatusInsufficientStorage {
		s.Logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	s.send(w, p.Status, "application/problem+json", p)
}

func (s *Server) version(_ http.ResponseWriter, r *http.Request) (any, error) {
	v := s.Version
	// Without a proxy that answers, the daemon's is still of use.
	if p, err := s.Proxies(r.Context()); err == nil {
		v.Proxy = &p
	}
	return v, nil
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[UpgradeRequest](w, r)
	if err != nil {
		return nil, err
	}
	s.Logger.Info("asked for an upgrade", "by", peer(r.Context(), "").By)
	return answer(s.Upgrade(r.Context(), req))
}

func (s *Server) upgradeProxy(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[ProxyUpgradeRequest](w, r)
	if err != nil {
		return nil, err
	}
	return answer(s.UpgradeProxy(r.Context(), req))
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) (any, error) {
	s.stopOnce.Do(func() {
		s.Logger.Info("asked to stop everything", "by", peer(r.Context(), "").By)
		s.StopAll()
	})
	w.WriteHeader(http.StatusAccepted)
	return nil, nil
}

func (s *Server) upload(w http.ResponseWriter, r *http.Request) (any, error) {
	a, err := s.Engine.PutArtifact(r.Context(), bodyOf(w, r))
	if err != nil {
		return nil, err
	}
	return Uploaded{Digest: a.Digest, Bytes: a.Bytes, Files: a.Files}, nil
}

func (s *Server) plan(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := readDeploy(w, r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Plan(r.Context(), req.Spec))
}

func (s *Server) deploy(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := readDeploy(w, r)
	if err != nil {
		return nil, err
	}
	if req.Spec.Service != r.PathValue("service") {
		return nil, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("the spec is of service %s, the path of %s", req.Spec.Service, r.PathValue("service"))}
	}
	d, err := s.Engine.Deploy(r.Context(), deploy.Request{
		Spec: req.Spec, Artifact: req.Artifact, Busy: req.Busy, Override: req.Override, Actor: peer(r.Context(), req.Reason),
	})
	return answer(d, err)
}

func (s *Server) rollback(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := readRollback(w, r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Rollback(r.Context(), r.PathValue("service"), req.Release, req.Busy, peer(r.Context(), req.Reason)))
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

func (s *Server) explain(_ http.ResponseWriter, r *http.Request) (any, error) {
	return answer(s.Engine.Explain(r.Context(), r.PathValue("service")))
}

func (s *Server) actions(_ http.ResponseWriter, r *http.Request) (any, error) {
	return answer(s.Engine.Actions(r.Context(), r.PathValue("service")))
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
	q, err := logQuery(r)
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out, closeOut := openStream(w, r)
	defer closeOut()
	err = s.Engine.Logs(r.Context(), out, q)
	if err == nil || !out.begun {
		return nil, err
	}
	if r.Context().Err() == nil {
		s.Logger.Error("logs broke off", "service", q.Service, "error", err)
	}
	panic(http.ErrAbortHandler) // So that the client does not take it for the end.
}

// logQuery reads what a request asks for: all lines, unless it says how many.
func logQuery(r *http.Request) (deploy.LogQuery, error) {
	values := r.URL.Query()
	q := deploy.LogQuery{
		Service: r.PathValue("service"), Release: values.Get("release"), Instance: values.Get("instance"), Tail: -1,
	}
	var err error
	if tail := values.Get("tail"); tail != "" {
		if q.Tail, err = strconv.Atoi(tail); err != nil {
			return q, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("tail=%s is no number", tail)}
		}
	}
	if follow := values.Get("follow"); follow != "" {
		if q.Follow, err = strconv.ParseBool(follow); err != nil {
			return q, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("follow=%s is neither true nor false", follow)}
		}
	}
	return q, nil
}

// number is the deployment that the path names; 0 for "last" and "current".
func number(r *http.Request) (int, error) {
	id := r.PathValue("deployment")
	if id == "last" || id == "current" {
		return 0, nil
	}
	return deploy.DeploymentNumber(id)
}

func answer[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}
