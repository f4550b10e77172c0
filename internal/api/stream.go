package api

import (
	"context"
	"net/http"
	"time"
)

// lastWrite is how long a stream's last bytes may take when its request ends.
const lastWrite = time.Second

// stream is an answer that goes on: every write is sent at once.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	// begun: something was sent, so an error can't be sent any more.
	begun bool
}

// openStream returns the request's answer as a stream, and what closes it. A
// client that takes nothing must not keep the daemon from stopping.
func openStream(w http.ResponseWriter, r *http.Request) (s *stream, closeStream func()) {
	s = &stream{w: w, control: http.NewResponseController(w)}
	stop := context.AfterFunc(r.Context(), func() {
		// It fails only on a connection that is closed already.
		_ = s.control.SetWriteDeadline(time.Now().Add(lastWrite))
	})
	return s, func() { stop() }
}

// Write is part of io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	s.begun = true
	n, err := s.w.Write(p)
	if err == nil {
		err = s.control.Flush()
	}
	return n, err
}
