package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxControlBody bounds a request on the control socket, in bytes.
const maxControlBody = 64 << 20

// The control protocol: HTTP and JSON over a unix socket. Whoever may connect to
// the socket is in command, so that its mode has to be 0600.
const (
	applyPath    = "/v1/apply"
	drainPath    = "/v1/drain"
	statsPath    = "/v1/stats"
	infoPath     = "/v1/info"
	shutdownPath = "/v1/shutdown"
	socketsPath  = "/v1/sockets"
	takeOverPath = "/v1/takeover"
	handoverPath = "/v1/handover"
	lastPath     = "/v1/last"
	// ownPath comes before a path of a successor's, which is about the one process alone.
	ownPath = "/v1/own"
)

type takeOverRequest struct {
	Socket string        `json:"socket"`
	Grace  time.Duration `json:"grace"`
}

type drainRequest struct {
	Service string     `json:"service"`
	Release string     `json:"release"`
	Times   DrainTimes `json:"times"`
}

type shutdownRequest struct {
	Grace time.Duration `json:"grace"`
}

// controlError is the body of an answer that isn't 200.
type controlError struct {
	Error string `json:"error"`
}

// startControl serves the control protocol on l, if there is one.
func (p *Proxy) startControl(l net.Listener, clients []net.Listener, helpers *sync.WaitGroup) *http.Server {
	if l == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+applyPath, command(func(ctx context.Context, t Table) (struct{}, error) {
		return struct{}{}, p.Apply(ctx, t)
	}))
	mux.Handle("POST "+drainPath, command(func(ctx context.Context, d drainRequest) (DrainResult, error) {
		return p.Drain(ctx, d.Service, d.Release, d.Times)
	}))
	mux.Handle("POST "+statsPath, command(func(ctx context.Context, _ struct{}) (Stats, error) {
		return p.Stats(ctx)
	}))
	mux.Handle("POST "+infoPath, command(func(ctx context.Context, _ struct{}) (Info, error) {
		return p.Info(ctx)
	}))
	mux.Handle("POST "+shutdownPath, command(func(ctx context.Context, s shutdownRequest) (struct{}, error) {
		return struct{}{}, p.Shutdown(ctx, s.Grace)
	}))
	mux.Handle("POST "+ownPath+applyPath, command(func(ctx context.Context, t Table) (struct{}, error) {
		return struct{}{}, p.applyOwn(ctx, t)
	}))
	mux.Handle("POST "+ownPath+drainPath, command(func(ctx context.Context, d drainRequest) (DrainResult, error) {
		return p.drainOwn(ctx, d.Service, d.Release, d.Times)
	}))
	mux.Handle("POST "+ownPath+statsPath, command(func(ctx context.Context, _ struct{}) (Stats, error) {
		return p.ownStats(ctx)
	}))
	mux.Handle("POST "+lastPath, command(p.last))
	mux.Handle("POST "+takeOverPath, command(func(ctx context.Context, t takeOverRequest) (Predecessor, error) {
		return p.TakeOver(ctx, t.Socket, t.Grace)
	}))
	mux.HandleFunc("POST "+handoverPath, p.handOver)
	mux.HandleFunc("POST "+socketsPath, func(w http.ResponseWriter, _ *http.Request) { p.handSockets(w, clients) })
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: p.cfg.ReadHeaderTimeout,
		ErrorLog:          slog.NewLogLogger(p.cfg.Logger.Handler(), slog.LevelWarn),
	}
	helpers.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.fail(fmt.Errorf("serve the control socket %s: %w", l.Addr(), err))
		}
	})
	return server
}

// stopControl lets the last answers get out.
func (p *Proxy) stopControl(server *http.Server) {
	if server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlGrace)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
}

// command answers a request with what do returns. The context of do ends when the
// caller goes away.
func command[In, Out any](do func(context.Context, In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		// A newer daemon may say more than this proxy knows of.
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody)).Decode(&in); err != nil {
			answerControl(w, http.StatusBadRequest, controlError{fmt.Sprintf("read the request: %v", err)})
			return
		}
		out, err := do(r.Context(), in)
		if err != nil {
			answerControl(w, http.StatusConflict, controlError{err.Error()})
			return
		}
		answerControl(w, http.StatusOK, out)
	})
}

func answerControl(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer can't be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a caller who has gone away needs no answer
}
