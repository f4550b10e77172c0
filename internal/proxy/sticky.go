package proxy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// tokenBytes is the length of a client's token, enough that no two are the same.
const tokenBytes = 16

// sticky has clients keep to one release.
type sticky struct {
	Sticky
	candidate *release
}

// newSticky returns nil when the weights leave no choice between the candidate and
// another release.
func newSticky(s *Sticky, candidate *release) *sticky {
	if s == nil || candidate == nil || candidate.weight == 0 || candidate.weight == 100 {
		return nil
	}
	return &sticky{*s, candidate}
}

// client returns what the client of a request is known by. One that has no good
// token gets a new one, which its answer sets. A request without the header has
// none: "".
func (s *sticky) client(f *flight) string {
	if s.Header != "" {
		return f.firstValue(s.Header)
	}
	for _, token := range f.cookiesNamed(s.Cookie) {
		if isToken(token) {
			return token
		}
	}
	if f.token == "" {
		f.token = newToken()
	}
	f.cookie = s.Cookie
	return f.token
}

// toCandidate reports whether a client is one of the candidate's.
//
// Its point is the same for ever: the first 8 bytes of SHA-256(release ID, a zero
// byte, client) as a big-endian number, mapped to [0, 100). The candidate has the
// clients whose point is below its weight, so that a higher weight only adds some.
// As the release's ID is part of it, another candidate tries other clients.
//
// session is a number by which the client is known again; it says nothing about the
// point, and isn't 0.
func (s *sticky) toCandidate(client string) (candidate bool, session uint64) {
	sum := sha256.Sum256([]byte(s.candidate.id + "\x00" + client))
	point, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:]), 100)
	return point < uint64(s.candidate.weight), binary.BigEndian.Uint64(sum[8:]) | 1
}

// newToken returns 128 random bits in base64url (RFC 4648 section 5).
func newToken() string {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // which never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func isToken(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == tokenBytes
}

func (s *Sticky) validate() error {
	if s == nil {
		return nil
	}
	if n := given(s.Cookie, s.Header); n != 1 {
		return fmt.Errorf("it has %d of cookie and header, want exactly one", n)
	}
	if s.Cookie != "" {
		return validateToken("cookie", s.Cookie)
	}
	return validateToken("header", s.Header)
}
