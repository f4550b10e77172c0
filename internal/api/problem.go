package api

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"

	"github.com/segue-deploy/segue/internal/artifact"
	"github.com/segue-deploy/segue/internal/deploy"
)

// Problem is an error as it travels (RFC 9457, with hint as an extension).
type Problem struct {
	// Type is a URI reference that names the kind of problem; "about:blank" if
	// there is no more to it than the status says.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong, Hint what to do.
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Error is the detail and the hint, for a person.
func (p *Problem) Error() string {
	if p.Hint == "" {
		return p.Detail
	}
	return p.Detail + "; " + p.Hint
}

// problemOf is the one place where errors are given an HTTP status.
func problemOf(err error) *Problem {
	p := &Problem{Status: http.StatusInternalServerError, Detail: err.Error()}
	if own, ok := errors.AsType[*Problem](err); ok {
		*p = *own
	} else if e, ok := errors.AsType[*deploy.Error](err); ok {
		p.Type, p.Detail, p.Hint = "urn:segue:"+string(e.Problem), e.Message, e.Hint
		p.Status = statusOf(e.Problem)
	} else {
		p.classify(err)
	}
	if p.Type == "" {
		p.Type = "about:blank"
	}
	p.Title = http.StatusText(p.Status)
	return p
}

func statusOf(problem deploy.Problem) int {
	switch problem {
	case deploy.ProblemInvalid:
		return http.StatusUnprocessableEntity
	case deploy.ProblemNotFound:
		return http.StatusNotFound
	case deploy.ProblemConflict:
		return http.StatusConflict
	case deploy.ProblemFull:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// classify gives errors a status that come from below the engine.
func (p *Problem) classify(err error) {
	tooLarge, isTooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case isTooLarge:
		p.Status = http.StatusRequestEntityTooLarge
		p.Detail = fmt.Sprintf("the request's body has more than %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.Status = http.StatusRequestTimeout
		p.Detail = fmt.Sprintf("nothing of the request came for %s", stallLimit)
	case errors.Is(err, artifact.ErrTooLarge):
		p.Status = http.StatusRequestEntityTooLarge
		p.Hint = "'segue serve --artifact-limit' sets it"
	case errors.Is(err, artifact.ErrRefused):
		p.Type, p.Status = "urn:segue:"+string(deploy.ProblemInvalid), http.StatusUnprocessableEntity
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		p.Type, p.Status = "urn:segue:"+string(deploy.ProblemFull), http.StatusInsufficientStorage
	}
}

// stopping is what a request gets that the daemon's end interrupts.
func stopping() *Problem {
	return &Problem{
		Status: http.StatusServiceUnavailable, Detail: "the daemon is stopping; traffic goes on",
		Hint: "try again when the next one runs",
	}
}
