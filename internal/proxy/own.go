package proxy

import (
	"fmt"
	"iter"
	"net/http"
)

// noSuchService is the answer to a request that no service gets.
const noSuchService = "no service takes this host and path"

// explanation answers a request that no upstream has answered. Nothing in it is of use
// to somebody who looks for weak spots.
func (o outcome) explanation() (status int, message string) {
	switch o {
	case held:
		return http.StatusServiceUnavailable, "requests of the service wait just now, this one for too long, or too many"
	case shed:
		return http.StatusServiceUnavailable, "the service has more to do than it can just now"
	case connectFailed:
		return http.StatusBadGateway, "the service could not be reached"
	case broken:
		return http.StatusBadGateway, "the service broke off before it answered"
	case timedOut:
		return http.StatusGatewayTimeout, "the service did not answer in time"
	}
	return http.StatusServiceUnavailable, "the service has no instance that could answer"
}

// sentence is the body of an answer of our own.
func sentence(status int, message string, id []byte) string {
	return fmt.Sprintf("segue: %d %s: %s\nrequest %s\n", status, http.StatusText(status), message, id)
}

// ownFields are the fields that only answers of our own have.
func ownFields(status int) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		_ = yield("Content-Type", "text/plain; charset=utf-8") &&
			yield("X-Content-Type-Options", "nosniff") &&
			(status != http.StatusServiceUnavailable || yield("Retry-After", "1"))
	}
}
