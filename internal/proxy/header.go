package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

const (
	requestIDHeader = "X-Request-Id"
	// mirrorHeader says to the candidate that a request is a copy, whose answer
	// nobody gets.
	mirrorHeader = "Segue-Mirror"
	// maxRequestID bounds a request ID from a trusted proxy, in bytes.
	maxRequestID = 128
	// idLength is the length of a new ID.
	idLength = 32
)

// origin is where a request comes from, as the upstream is told.
type origin struct {
	// ip is the client's address; empty when it came over a unix socket.
	ip string
	// trusted clients are proxies whose word on the origin is believed.
	trusted bool
}

// newID returns 128 random bits in hexadecimal.
func newID() string { return string(appendID(nil)) }

func appendID(dst []byte) []byte {
	var b [idLength / 2]byte
	binary.NativeEndian.PutUint64(b[:], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	return hex.AppendEncode(dst, b[:])
}

// appendRequestID returns the ID of a request: a trusted client's own, or a new one, which
// it appends to dst.
func (o *origin) appendRequestID(dst []byte, r *h1.Request) []byte {
	if own, _ := r.Get(h1.RequestID); o.trusted && len(own) > 0 && len(own) <= maxRequestID {
		return own
	}
	return appendID(dst)
}

// appendRequestHead appends the head of the request as the upstream gets it. Field lines
// are passed on as they came, except those for one connection (RFC 9110 section 7.6.1),
// and what an untrusted client said of where the request comes from.
func (x *exchange) appendRequestHead(dst []byte) []byte {
	r := &x.request
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = r.AppendTarget(dst)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.Host...)
	dst = append(dst, '\r', '\n')
	dst = x.client.origin.appendFields(dst, r, x.id, x.upload.asking)
	dst = appendVia(dst, &r.Head, version(r.Minor))
	dst = appendFraming(dst, r)
	dst = x.appendOffer(dst)
	switch {
	case x.protocol != nil:
		dst = append(dst, "Connection: Upgrade\r\n"...)
		dst = appendFieldBytes(dst, "Upgrade", x.protocol)
	case r.WantsTrailers:
		dst = append(dst, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// appendFields appends the fields of a request that are passed on, those that say where it
// comes from, and its ID.
func (o *origin) appendFields(dst []byte, r *h1.Request, id []byte, expect bool) []byte {
	except := h1.KindsOf(h1.Host, h1.Connection, h1.ContentLength, h1.TransferEncoding, h1.Upgrade, h1.TE, h1.HopByHop,
		h1.Via, h1.RequestID, h1.ForwardedFor)
	if !expect {
		except |= h1.KindsOf(h1.Expect)
	}
	if r.Body != h1.InChunks {
		except |= h1.KindsOf(h1.Trailer)
	}
	if !o.trusted {
		except |= h1.KindsOf(h1.ForwardedHost, h1.ForwardedProto, h1.Origin, h1.Mirror)
	}
	dst = r.AppendLines(dst, except)
	dst = o.appendForwarded(dst, r)
	return appendFieldBytes(dst, requestIDHeader, id)
}

// appendForwarded says where the request comes from.
func (o *origin) appendForwarded(dst []byte, r *h1.Request) []byte {
	if o.trusted || o.ip != "" {
		before := len(dst)
		dst = append(dst, "X-Forwarded-For: "...)
		found := false
		if o.trusted {
			dst, found = r.AppendJoined(dst, h1.ForwardedFor)
		}
		if found && o.ip != "" {
			dst = append(dst, ", "...)
		}
		dst = append(dst, o.ip...)
		dst = append(dst, '\r', '\n')
		if !found && o.ip == "" {
			dst = dst[:before]
		}
	}
	if _, said := r.Get(h1.ForwardedProto); !said || !o.trusted {
		dst = append(dst, "X-Forwarded-Proto: http\r\n"...)
	}
	if _, said := r.Get(h1.ForwardedHost); (!said || !o.trusted) && len(r.Host) > 0 {
		dst = appendFieldBytes(dst, "X-Forwarded-Host", r.Host)
	}
	return dst
}

// version is that of a protocol HTTP/1.x.
func version(minor int) string {
	if minor == 0 {
		return "1.0"
	}
	return "1.1"
}

// appendVia notes that a message came through here by a version of HTTP (RFC 9110 section
// 7.6.3).
func appendVia(dst []byte, h *h1.Head, version string) []byte {
	dst = append(dst, "Via: "...)
	dst, found := h.AppendJoined(dst, h1.Via)
	if found {
		dst = append(dst, ", "...)
	}
	dst = append(dst, version...)
	return append(dst, " segue\r\n"...)
}

// appendFraming says how long the request's body is (RFC 9112 section 6.3).
func appendFraming(dst []byte, r *h1.Request) []byte {
	switch {
	case r.Body == h1.InChunks:
		return append(dst, "Transfer-Encoding: chunked\r\n"...)
	case r.DeclaresLength || string(r.Method) == http.MethodPost || string(r.Method) == http.MethodPut || string(r.Method) == http.MethodPatch:
		return appendLength(dst, r.Length)
	}
	return dst
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

// appendAnswerHead appends the head of the upstream's answer as the client gets it.
func (x *exchange) appendAnswerHead(dst []byte) []byte {
	resp := &x.answer.head
	dst = resp.AppendStatusLine(dst)
	except := h1.KindsOf(h1.Connection, h1.ContentLength, h1.TransferEncoding, h1.Upgrade, h1.HopByHop, h1.TE, h1.Via, h1.RequestID)
	chunked := x.request.Minor > 0 && (resp.Body == h1.InChunks || resp.Body == h1.UntilClose)
	if !chunked {
		except |= h1.KindsOf(h1.Trailer)
	}
	dst = resp.AppendLines(dst, except)
	if _, dated := resp.Get(h1.Date); !dated {
		dst = x.loop.dates.append(dst, x.loop.now) // RFC 9110 section 6.6.1
	}
	dst = appendFieldBytes(dst, requestIDHeader, x.id)
	dst = appendVia(dst, &resp.Head, version(resp.Minor))
	if cookie := x.flight.setCookie(&x.request, &x.client.origin); cookie != "" {
		dst = appendField(dst, "Set-Cookie", cookie)
	}
	switch {
	case resp.Status == http.StatusSwitchingProtocols:
		dst = append(dst, "Connection: Upgrade\r\n"...)
		dst = appendFieldBytes(dst, "Upgrade", x.protocol)
		return append(dst, '\r', '\n')
	case chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case resp.Length >= 0 && resp.Body != h1.InChunks && resp.Status != http.StatusNoContent:
		dst = appendLength(dst, resp.Length)
	}
	dst = x.appendConnection(dst)
	return append(dst, '\r', '\n')
}

// appendConnection tells the client whether the connection goes on.
func (x *exchange) appendConnection(dst []byte) []byte {
	switch {
	case x.closes:
		return append(dst, "Connection: close\r\n"...)
	case x.request.Minor == 0:
		return append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// appendInformation appends the head of an informational answer (RFC 9110 section 15.2).
func appendInformation(dst []byte, resp *h1.Response) []byte {
	dst = resp.AppendStatusLine(dst)
	dst = resp.AppendLines(dst, h1.KindsOf(h1.Connection, h1.ContentLength, h1.TransferEncoding, h1.Upgrade, h1.HopByHop, h1.TE, h1.Trailer))
	return append(dst, '\r', '\n')
}

// appendTrailer appends a trailer section, without what belongs in a head (RFC 9110
// section 6.5.1).
func appendTrailer(dst []byte, trailer *h1.Head) []byte {
	dst = trailer.AppendLines(dst, ^h1.KindsOf(h1.Other, h1.Date, h1.ContentType))
	return append(dst, '\r', '\n')
}

// setCookie gives the client the token that was made for it, to have as long as its
// session; "" is none.
func (f *flight) setCookie(r *h1.Request, o *origin) string {
	if f.cookie == "" {
		return ""
	}
	c := http.Cookie{
		Name: f.cookie, Value: f.token, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: o.cameByHTTPS(r),
	}
	return c.String()
}

// cameByHTTPS believes trusted proxies only, the first of them, which is the one that the
// client speaks to.
func (o *origin) cameByHTTPS(r *h1.Request) bool {
	said, _ := r.Get(h1.ForwardedProto)
	proto, _, _ := strings.Cut(h1.String(said), ",")
	return o.trusted && strings.EqualFold(strings.TrimSpace(proto), "https")
}

func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}

func appendFieldBytes(dst []byte, name string, value []byte) []byte {
	return appendField(dst, name, h1.String(value))
}

// dateCache is the field Date of one second.
type dateCache struct {
	second int64
	line   []byte
}

func (d *dateCache) append(dst []byte, now time.Time) []byte {
	if s := now.Unix(); s != d.second || d.line == nil {
		d.second = s
		d.line = append(d.line[:0], "Date: "...)
		d.line = now.UTC().AppendFormat(d.line, http.TimeFormat)
		d.line = append(d.line, '\r', '\n')
	}
	return append(dst, d.line...)
}
