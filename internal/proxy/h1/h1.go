// Package h1 reads HTTP/1.1 (RFC 9112): heads, chunked bodies and trailers. It does no
// I/O and owns no memory: bytes go in, and what comes out are positions in them.
//
// It is strict, since a proxy that reads a message in another way than the server
// behind it can be made to pass on a request that nobody has checked (request
// smuggling). What the RFC lets a recipient repair is refused, except where it says
// how to repair it and servers need it, which stands at the place.
//
// The way through the package: [EndOfHead] finds where a head ends, [Request.Parse] or
// [Response.Parse] read it and say how the body is framed, [Chunked] goes through a
// chunked body, and [Head.ParseTrailer] reads what comes after it.
package h1

import (
	"net/netip"
	"unsafe"
)

// Error is why a message is refused.
type Error struct {
	// Status is the answer to a request that is refused so: 400, 417, 501 or 505.
	Status int
	Reason string
}

func (e *Error) Error() string { return e.Reason }

func bad(reason string) error { return &Error{400, reason} }

// EndOfHead returns the length of the head at the beginning of b, with the empty line
// that ends it, or 0 when there is none yet. A caller that gets more bytes passes the
// length that b had before as seen, so that no byte is looked at twice. A line that
// doesn't end with CR and LF is an error (RFC 9112 section 2.2: a recipient may take LF
// alone; this one does not).
func EndOfHead(b []byte, seen int) (int, error) {
	for at := seen; ; {
		i := indexByte(b[at:], '\n')
		if i < 0 {
			return 0, nil
		}
		at += i
		if at == 0 || b[at-1] != '\r' {
			return 0, bad("a line ends without CR")
		}
		at++
		if at == 2 || b[at-3] == '\n' {
			return at, nil
		}
	}
}

// isToken reports whether a byte may be part of a token (RFC 9110 section 5.6.2).
func isToken(c byte) bool {
	const (
		low  = 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.' | (1<<10-1)<<'0'
		high = (1<<26-1)<<('A'-64) | 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | (1<<26-1)<<('a'-64) | 1<<('|'-64) | 1<<('~'-64)
	)
	return inSet(c, low, high)
}

// isName reports whether a byte may be part of a registered name (RFC 3986 section
// 3.2.2).
func isName(c byte) bool {
	const (
		low = 1<<'!' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'(' | 1<<')' | 1<<'*' | 1<<'+' | 1<<',' | 1<<'-' | 1<<'.' |
			(1<<10-1)<<'0' | 1<<';' | 1<<'='
		high = (1<<26-1)<<('A'-64) | 1<<('_'-64) | (1<<26-1)<<('a'-64) | 1<<('~'-64)
	)
	return inSet(c, low, high)
}

// isHost reports whether b is a host, which may have a port (RFC 3986 section 3.2.2):
// a name, or an address, of IPv6 in brackets and without a zone. It isn't empty (RFC
// 9110 section 4.2.1).
func isHost(b []byte) bool {
	end := 0
	if len(b) > 0 && b[0] == '[' {
		end = 1 + indexByte(b, ']')
		if end == 0 || !isIPv6(b[1:end-1]) {
			return false
		}
	} else {
		for end < len(b) && isName(b[end]) {
			end++
		}
		if end == 0 || !escaped(b[:end]) {
			return false
		}
	}
	if end < len(b) && b[end] == ':' {
		for end++; end < len(b) && '0' <= b[end] && b[end] <= '9'; end++ {
		}
	}
	return end == len(b)
}

func isIPv6(b []byte) bool {
	if indexByte(b, '%') >= 0 {
		return false
	}
	addr, err := netip.ParseAddr(String(b))
	return err == nil && addr.Is6()
}

// escaped reports whether each % in b is followed by two hexadecimal digits.
func escaped(b []byte) bool {
	for i, c := range b {
		if c == '%' && (i+2 >= len(b) || unhex(b[i+1]) < 0 || unhex(b[i+2]) < 0) {
			return false
		}
	}
	return true
}

func inSet(c byte, low, high uint64) bool {
	if c < 64 {
		return low>>c&1 != 0
	}
	return c < 128 && high>>(c-64)&1 != 0
}

// isText reports whether a byte may be part of a field's value: visible, a space, a
// tab, or beyond ASCII (RFC 9110 section 5.5).
func isText(c byte) bool { return (c >= ' ' && c != 0x7f) || c == '\t' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// fold returns a letter in lower case, and other bytes as they are.
func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// equalFold reports whether b is the ASCII text lower, in any case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if fold(c) != lower[i] {
			return false
		}
	}
	return true
}

func trimBlanks(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// String returns a piece of a head as a string that shares its memory: it is good as
// long as the head is.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
