package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
)

const (
	// bodyLimit bounds requests other than uploads, in bytes.
	bodyLimit = 4 << 20
	// stallLimit is how long a client may pause in the middle of a body.
	stallLimit = time.Minute
)

// body is a request's body that fails when its client pauses for too long. How
// long all of it takes is not limited: an upload may be large.
type body struct {
	io.ReadCloser
	control *http.ResponseController
}

func bodyOf(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	return body{r.Body, http.NewResponseController(w)}
}

// Read is part of io.Reader.
func (b body) Read(p []byte) (int, error) {
	if err := b.control.SetReadDeadline(time.Now().Add(stallLimit)); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	// The deadline is the connection's, which outlives the body.
	if err := b.control.SetReadDeadline(time.Time{}); err != nil {
		return n, err
	}
	return n, err
}

// read decodes a request's body; an empty one is the zero value.
func read[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var v T
	dec := json.NewDecoder(http.MaxBytesReader(w, bodyOf(w, r), bodyLimit))
	dec.DisallowUnknownFields()
	err := dec.Decode(&v)
	if errors.Is(err, io.EOF) {
		return v, nil
	}
	if err == nil {
		err = end(dec)
	}
	return v, unreadable(err)
}

// end makes sure that nothing follows the value.
func end(dec *json.Decoder) error {
	if _, err := dec.Token(); err == nil {
		return errors.New("more follows after its end")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func unreadable(err error) error {
	if err == nil {
		return nil
	}
	if p := problemOf(err); p.Status != http.StatusInternalServerError {
		return p
	}
	return &Problem{
		Status: http.StatusBadRequest, Detail: "the request's body can't be read: " + err.Error(),
		Hint: "is the command line of another version than the daemon?",
	}
}

// readDeploy decodes a request that has a spec and holds the spec to the rules
// again: a client is not to be trusted with that.
func readDeploy(w http.ResponseWriter, r *http.Request) (DeployRequest, error) {
	req, err := read[DeployRequest](w, r)
	if err != nil {
		return req, err
	}
	if req.Spec == nil {
		return req, &Problem{Status: http.StatusBadRequest, Detail: "the request has no spec"}
	}
	if err := req.Spec.Validate(); err != nil {
		return req, invalid(err.Error())
	}
	return req, validBusy(req.Busy)
}

func readRollback(w http.ResponseWriter, r *http.Request) (RollbackRequest, error) {
	req, err := read[RollbackRequest](w, r)
	if err != nil {
		return req, err
	}
	return req, validBusy(req.Busy)
}

func validBusy(b deploy.Busy) error {
	switch b {
	case "", deploy.BusyRefuse, deploy.BusyQueue, deploy.BusySupersede:
		return nil
	}
	return invalid(fmt.Sprintf("busy: %q is not %s, %s or %s", b, deploy.BusyRefuse, deploy.BusyQueue, deploy.BusySupersede))
}

func invalid(message string) *deploy.Error {
	return &deploy.Error{Problem: deploy.ProblemInvalid, Message: message}
}
