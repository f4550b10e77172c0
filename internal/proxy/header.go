package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	requestIDHeader = "X-Request-Id"
	// mirrorHeader says to the candidate that a request is a copy, whose answer
	// nobody gets.
	mirrorHeader = "Segue-Mirror"
	// maxRequestID bounds a request ID from a trusted proxy, in bytes.
	maxRequestID = 128
)

// hopByHop are the fields that belong to one connection (RFC 9110 section 7.6.1),
// and those of a forward proxy, which this one isn't. Framing is in there, too: it
// is written anew.
func hopByHop() [10]string {
	return [...]string{
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
	}
}

// origin is where a request comes from, as the upstream is told.
type origin struct {
	// ip is the client's address; empty when it came over a unix socket.
	ip string
	// trusted clients are proxies whose word on the origin is believed.
	trusted bool
	proto   string
}

// removeHopByHop removes the fields for one connection, and those that Connection
// names.
func removeHopByHop(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				delete(h, http.CanonicalHeaderKey(name))
			}
		}
	}
	for _, name := range hopByHop() {
		delete(h, name)
	}
}

// upgradeOf returns the protocol that a message wants to change to, or "".
func upgradeOf(h http.Header) string {
	if !hasToken(h["Connection"], "upgrade") {
		return ""
	}
	return h.Get("Upgrade")
}

// hasToken reports whether a list of tokens has one, in any case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// setForwarded makes the fields say where the request comes from. What an
// untrusted client said of it itself goes away, however it was written: many
// servers take X_Forwarded_For for X-Forwarded-For.
func setForwarded(h http.Header, o origin, host string) {
	if !o.trusted {
		for name := range h {
			if claimsOrigin(name) {
				delete(h, name)
			}
		}
	}
	if o.ip != "" {
		chain := append(slices.Clone(h["X-Forwarded-For"]), o.ip)
		h["X-Forwarded-For"] = []string{strings.Join(chain, ", ")}
	}
	if len(h["X-Forwarded-Proto"]) == 0 {
		h["X-Forwarded-Proto"] = []string{o.proto}
	}
	if len(h["X-Forwarded-Host"]) == 0 && host != "" {
		h["X-Forwarded-Host"] = []string{host}
	}
}

// claimsOrigin reports whether a field is one by which proxies tell where a
// request comes from, or that it is a copy.
func claimsOrigin(name string) bool {
	const prefix = "X-Forwarded-"
	if len(name) < len("Forwarded") || (name[0] != 'X' && name[0] != 'F' && name[0] != 'S') {
		return false
	}
	if strings.IndexByte(name, '_') >= 0 {
		name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	return name == "Forwarded" || name == "X-Real-Ip" || name == mirrorHeader || strings.HasPrefix(name, prefix)
}

// requestID returns the ID for a request: a trusted client's own, or a new one of
// 128 random bits in hexadecimal.
func requestID(h http.Header, o origin) string {
	if own := h.Get(requestIDHeader); o.trusted && own != "" && len(own) <= maxRequestID {
		return own
	}
	return newID()
}

func newID() string { return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()) }

// addVia notes that a message of this version came through here (RFC 9110 section
// 7.6.3).
func addVia(h http.Header, major, minor int) {
	via := strconv.Itoa(major) + "." + strconv.Itoa(minor) + " segue"
	if before := h["Via"]; len(before) > 0 {
		via = strings.Join(before, ", ") + ", " + via
	}
	h["Via"] = []string{via}
}

// requestHead returns the head of the request as the upstream gets it, and changes
// the request's header to that. The target is passed on as it came.
func requestHead(r *http.Request, o origin, id, upgrade string) []byte {
	h := r.Header
	wantsTrailers := hasToken(h["Te"], "trailers")
	declaresLength := len(h["Content-Length"]) > 0
	removeHopByHop(h)
	delete(h, "Content-Length")
	setForwarded(h, o, r.Host)
	h[requestIDHeader] = []string{id}
	addVia(h, r.ProtoMajor, r.ProtoMinor)

	head := make([]byte, 0, 1024)
	head = append(head, r.Method...)
	head = append(head, ' ')
	head = append(head, target(r)...)
	head = append(head, " HTTP/1.1\r\n"...)
	head = appendField(head, "Host", r.Host)
	for name, values := range h {
		for _, v := range values {
			head = appendField(head, name, v)
		}
	}
	head = appendFraming(head, r, declaresLength)
	switch {
	case upgrade != "":
		head = appendField(head, "Connection", "Upgrade")
		head = appendField(head, "Upgrade", upgrade)
	case wantsTrailers:
		head = appendField(head, "Connection", "TE")
		head = appendField(head, "Te", "trailers")
	}
	return append(head, '\r', '\n')
}

// target is the request's target in origin form (RFC 9112 section 3.2.1), or "*".
func target(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") || r.RequestURI == "*" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// appendFraming says how long the body is (RFC 9112 section 6.3).
func appendFraming(head []byte, r *http.Request, declaresLength bool) []byte {
	switch {
	case r.ContentLength < 0:
		head = appendField(head, "Transfer-Encoding", "chunked")
		for name := range r.Trailer {
			head = appendField(head, "Trailer", name)
		}
	case r.ContentLength > 0 || declaresLength || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch:
		head = appendField(head, "Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	return head
}

func appendField(head []byte, name, value string) []byte {
	head = append(head, name...)
	head = append(head, ": "...)
	head = append(head, value...)
	return append(head, '\r', '\n')
}

// answerHeader sets the fields of the client's answer from the upstream's.
func answerHeader(dst http.Header, resp *http.Response, id string) {
	removeHopByHop(resp.Header)
	for name, values := range resp.Header {
		dst[name] = values
	}
	for name := range resp.Trailer {
		dst["Trailer"] = append(dst["Trailer"], name)
	}
	if _, has := dst["Content-Type"]; !has {
		dst["Content-Type"] = nil // or else net/http guesses one
	}
	dst[requestIDHeader] = []string{id}
	addVia(dst, resp.ProtoMajor, resp.ProtoMinor)
}
