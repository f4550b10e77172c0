package api

import (
	"net/http"

	"github.com/segue-deploy/segue/internal/deploy"
)

// The routes that control what is under way. Each hands a command on to the engine,
// with who gave it.

func (s *Server) restart(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[RestartRequest](w, r)
	if err == nil {
		err = validBusy(req.Busy)
	}
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Restart(r.Context(), r.PathValue("service"), req.Busy, peer(r.Context(), req.Reason)))
}

func (s *Server) scale(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[ScaleRequest](w, r)
	if err == nil {
		err = validBusy(req.Busy)
	}
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.Scale(r.Context(), r.PathValue("service"), req.Instances, req.Busy, peer(r.Context(), req.Reason)))
}

func (s *Server) abort(w http.ResponseWriter, r *http.Request) (any, error) {
	return command(w, r, func(n int, req CommandRequest) (deploy.Deployment, error) {
		return s.Engine.Abort(r.Context(), r.PathValue("service"), n, peer(r.Context(), req.Reason))
	})
}

func (s *Server) pause(w http.ResponseWriter, r *http.Request) (any, error) {
	return command(w, r, func(n int, req PauseRequest) (deploy.Deployment, error) {
		return s.Engine.Pause(r.Context(), r.PathValue("service"), n, req.For.Std(), req.Then, peer(r.Context(), req.Reason))
	})
}

func (s *Server) resume(w http.ResponseWriter, r *http.Request) (any, error) {
	return command(w, r, func(n int, req CommandRequest) (deploy.Deployment, error) {
		return s.Engine.Resume(r.Context(), r.PathValue("service"), n, peer(r.Context(), req.Reason))
	})
}

func (s *Server) promote(w http.ResponseWriter, r *http.Request) (any, error) {
	return command(w, r, func(n int, req PromoteRequest) (deploy.Deployment, error) {
		return s.Engine.Promote(r.Context(), r.PathValue("service"), n, req.Full, peer(r.Context(), req.Reason))
	})
}

// command reads a command about the deployment that the path names, and carries it
// out.
func command[T any](w http.ResponseWriter, r *http.Request, do func(number int, req T) (deploy.Deployment, error)) (any, error) {
	req, err := read[T](w, r)
	if err != nil {
		return nil, err
	}
	n, err := number(r)
	if err != nil {
		return nil, err
	}
	return answer(do(n, req))
}

func (s *Server) hold(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[HoldRequest](w, r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.HoldRequests(r.Context(), r.PathValue("service"), req.For.Std(), req.Limits, peer(r.Context(), req.Reason)))
}

// release says what it has ended, so that who asked can be told.
func (s *Server) release(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[CommandRequest](w, r)
	if err != nil {
		return nil, err
	}
	before, err := s.Engine.Status(r.Context(), r.PathValue("service"))
	if err != nil {
		return nil, err
	}
	err = s.Engine.ReleaseRequests(r.Context(), r.PathValue("service"), peer(r.Context(), req.Reason))
	return answer(HoldEnd{before.Hold}, err)
}

func (s *Server) freeze(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[FreezeRequest](w, r)
	if err != nil {
		return nil, err
	}
	return answer(s.Engine.FreezeDeploys(r.Context(), r.PathValue("service"), req.Until, peer(r.Context(), req.Reason)))
}

// unfreeze says what it has ended, as release does.
func (s *Server) unfreeze(w http.ResponseWriter, r *http.Request) (any, error) {
	req, err := read[CommandRequest](w, r)
	if err != nil {
		return nil, err
	}
	before, err := s.Engine.Status(r.Context(), r.PathValue("service"))
	if err != nil {
		return nil, err
	}
	err = s.Engine.Unfreeze(r.Context(), r.PathValue("service"), peer(r.Context(), req.Reason))
	return answer(FreezeEnd{before.Freeze}, err)
}
