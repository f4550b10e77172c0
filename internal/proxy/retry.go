package proxy

import "net/http"

// attempt is what is known of a try to have a request answered that failed.
type attempt struct {
	method string
	// dialFailed: there was no connection.
	dialFailed bool
	// wrote is how many bytes of the request were written to the connection.
	wrote int64
	// replayable: every byte of the body that was read from the client is
	// still here, so that the same request can be sent again.
	replayable bool
	// begun: a byte of the answer has arrived.
	begun bool
	// unread: it is proved that the upstream has got nothing of what was written.
	unread bool
	// timedOut: the upstream took too long, and may be at work still.
	timedOut bool
}

// retryable reports whether the request may be sent once more.
//
// RFC 9110 section 9.2.2 lets a proxy repeat a request by itself only when its
// method is idempotent: "A proxy MUST NOT automatically retry non-idempotent
// requests." What never left this proxy was no request yet, so that it can't be
// repeated. From this follows, in this order:
//
//  1. Once a byte of the answer has arrived, never: the request was worked on,
//     and what the client has seen can't be taken back.
//  2. After a timeout, never: the upstream works on the request, perhaps
//     because there is too much to do, and a second copy would add to it.
//  3. When a part of the body is gone, never: the request can't be said again.
//  4. When there was no connection, when nothing was written to it, or when it is
//     proved that nothing of that was received: any method.
//  5. When some of it was written, an upstream may have acted on it: only the
//     idempotent methods, which are the safe ones (section 9.2.1), PUT and
//     DELETE (section 9.2.2). A POST or PATCH isn't sent twice, whatever it
//     costs.
func retryable(a attempt) bool {
	switch {
	case a.begun, a.timedOut, !a.replayable:
		return false
	case a.dialFailed, a.wrote == 0, a.unread:
		return true
	}
	return idempotent(a.method)
}

// sent reports whether the upstream may have got something of the request, so that
// another attempt adds to what there is to do: see [RetryBudget].
func (a attempt) sent() bool { return !a.dialFailed && a.wrote > 0 && !a.unread }

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
