package handback

import (
	"bufio"
	"net"
	"net/http"
)

// writer is an answer, which nobody gets when the request was handed back.
type writer struct {
	http.ResponseWriter
	body *body
}

// WriteHeader begins the answer, unless it is an informational one.
func (w *writer) WriteHeader(status int) {
	if (status >= 200 || status == http.StatusSwitchingProtocols) && !w.body.begin() || w.body.isHandedBack() {
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write begins the answer if need be.
func (w *writer) Write(p []byte) (int, error) {
	if !w.body.begin() {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Flush begins the answer if need be.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is Flush for [http.ResponseController].
func (w *writer) FlushError() error {
	if !w.body.begin() {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack takes the connection over, so that nothing can be handed back.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !w.body.begin() {
		return nil, nil, ErrHandedBack
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
