package h1

import (
	"bytes"
	"iter"
	"strings"
)

// maxOptions is how many options Connection may have: each field is compared with each
// of them.
const maxOptions = 64

func indexByte(b []byte, c byte) int { return bytes.IndexByte(b, c) }

// Kind tells apart the fields that a proxy has to know.
type Kind uint8

// The kinds of fields.
const (
	// Other is every field that a proxy passes on as it is.
	Other Kind = iota
	Host
	Connection
	ContentLength
	TransferEncoding
	Trailer
	Upgrade
	Expect
	TE
	// HopByHop are the rest of the fields for one connection (RFC 9110 section
	// 7.6.1) and of those for a forward proxy or a reverse one, those that Connection names, and those
	// that a server may take for the fields that frame a message, since they are
	// written with an underscore.
	HopByHop
	Via
	Date
	RequestID
	ForwardedFor
	ForwardedHost
	ForwardedProto
	// Origin are the rest of the fields by which proxies tell where a request comes
	// from, also those written with underscores: many servers take X_Forwarded_For
	// for X-Forwarded-For.
	Origin
	// Mirror tells that a request is a copy.
	Mirror
	// ContentType says what a body is.
	ContentType
)

// Field is a field line, by positions in the head.
type Field struct {
	// The line goes from start to end, its name to nameEnd, its value, without the
	// blanks around it, from value to valueEnd.
	start, nameEnd, value, valueEnd, end uint32
	Kind                                 Kind
}

// Head is what requests and answers have in common.
type Head struct {
	// Raw is the whole head, to which all positions belong.
	Raw []byte
	// Fields are in the order in which they came.
	Fields []Field
	// Minor is x of the version HTTP/1.x.
	Minor int
	// Close and KeepAlive are what Connection says.
	Close, KeepAlive bool

	// upgrades is set when Connection has the token upgrade.
	upgrades bool
	// named is set when Connection names other fields; options counts what it has.
	named   bool
	options int
	// lengths, codings and hosts count the fields Content-Length, Transfer-Encoding and
	// Host; length is the value of the first of them.
	lengths, codings, hosts int
	length                  int64
	// chunked is set when chunked is the only transfer coding, chunkedLast when it is
	// the last.
	chunked, chunkedLast bool
}

// Name is a field's name as it came.
func (h *Head) Name(f *Field) []byte { return h.Raw[f.start:f.nameEnd] }

// Value is a field's value without the blanks around it.
func (h *Head) Value(f *Field) []byte { return h.Raw[f.value:f.valueEnd] }

// Line is a field's whole line.
func (h *Head) Line(f *Field) []byte { return h.Raw[f.start:f.end] }

// Values yields the values of all fields of a name, in any case. They are good as long
// as the head is.
func (h *Head) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range h.Fields {
			f := &h.Fields[i]
			if n := h.Name(f); len(n) == len(name) && strings.EqualFold(String(n), name) && !yield(String(h.Value(f))) {
				return
			}
		}
	}
}

// Get returns the value of the first field of a kind, and whether there is one.
func (h *Head) Get(kind Kind) (value []byte, found bool) {
	for i := range h.Fields {
		if h.Fields[i].Kind == kind {
			return h.Value(&h.Fields[i]), true
		}
	}
	return nil, false
}

// Kinds is a set of kinds.
type Kinds uint32

// Has reports whether the set has a kind.
func (set Kinds) Has(k Kind) bool { return set>>k&1 != 0 }

// KindsOf returns the set of some kinds.
func KindsOf(kinds ...Kind) (set Kinds) {
	for _, k := range kinds {
		set |= 1 << k
	}
	return set
}

// AppendLines appends the lines of all fields but those of some kinds, as they came and
// in their order.
func (h *Head) AppendLines(dst []byte, except Kinds) []byte {
	// Lines that follow each other go in one piece.
	var start, end uint32
	for i := range h.Fields {
		f := &h.Fields[i]
		if except.Has(f.Kind) {
			continue
		}
		if f.start != end {
			dst = append(dst, h.Raw[start:end]...)
			start = f.start
		}
		end = f.end
	}
	return append(dst, h.Raw[start:end]...)
}

// AppendJoined appends the values of all fields of a kind as one list, and reports
// whether there are any.
func (h *Head) AppendJoined(dst []byte, kind Kind) (joined []byte, found bool) {
	for i := range h.Fields {
		if h.Fields[i].Kind != kind {
			continue
		}
		if found {
			dst = append(dst, ", "...)
		}
		dst = append(dst, h.Value(&h.Fields[i])...)
		found = true
	}
	return dst, found
}

// Size is how many bytes of memory the head takes.
func (h *Head) Size() int { return len(h.Raw) + len(h.Fields)*24 }

// reset makes ready for a head.
func (h *Head) reset(raw []byte) { *h = Head{Raw: raw, Fields: h.Fields[:0]} }

// ParseTrailer reads the trailer section of a chunked body, with the empty line at its
// end (RFC 9112 section 7.1.2).
func (h *Head) ParseTrailer(raw []byte) error {
	h.reset(raw)
	return h.parseFields(0, false)
}

// parseFields reads the field lines from a position to the empty line. Line folding is
// refused, or with folds replaced by spaces in place, as RFC 9112 section 5.2 lets a
// proxy do with an answer.
func (h *Head) parseFields(at int, folds bool) error {
	raw := h.Raw
	for {
		i := indexByte(raw[at:], '\n')
		if i < 1 || raw[at+i-1] != '\r' {
			return bad("a line ends without CR")
		}
		if i == 1 {
			if at+2 != len(raw) {
				return bad("there is something after the head")
			}
			break
		}
		end := at + i + 1
		var err error
		if isBlank(raw[at]) {
			err = h.unfold(at, end, folds)
		} else {
			err = h.parseField(at, end)
		}
		if err != nil {
			return err
		}
		at = end
	}
	if h.named {
		h.markNamed()
	}
	return nil
}

func (h *Head) parseField(start, end int) error {
	raw := h.Raw
	at := start
	for at < end && isToken(raw[at]) {
		at++
	}
	if raw[at] != ':' || at == start {
		// Also for a blank before the colon (RFC 9112 section 5.1).
		return bad("a field's name is no token")
	}
	f := Field{start: uint32(start), nameEnd: uint32(at), end: uint32(end)}
	from, to, err := h.text(at+1, end-2)
	if err != nil {
		return err
	}
	f.value, f.valueEnd = uint32(from), uint32(to)
	f.Kind = KindOf(raw[start:at])
	if f.Kind != Other {
		if err := h.note(f.Kind, raw[from:to]); err != nil {
			return err
		}
	}
	h.Fields = append(h.Fields, f)
	return nil
}

// text returns where a value is without the blanks around it.
func (h *Head) text(from, to int) (start, end int, err error) {
	for from < to && isBlank(h.Raw[from]) {
		from++
	}
	for to > from && isBlank(h.Raw[to-1]) {
		to--
	}
	for _, c := range h.Raw[from:to] {
		if !isText(c) {
			return 0, 0, bad("a field's value has a control character")
		}
	}
	return from, to, nil
}

// unfold makes a line that begins with a blank a part of the field before.
func (h *Head) unfold(start, end int, folds bool) error {
	if !folds || len(h.Fields) == 0 {
		return bad("a line of the head begins with a blank")
	}
	f := &h.Fields[len(h.Fields)-1]
	if f.Kind != Other {
		return bad("a field that a proxy has to know is folded")
	}
	from, to, err := h.text(start, end-2)
	if err != nil {
		return err
	}
	h.Raw[start-2], h.Raw[start-1] = ' ', ' '
	if from < to {
		if f.value == f.valueEnd {
			f.value = uint32(from)
		}
		f.valueEnd = uint32(to)
	}
	f.end = uint32(end)
	return nil
}

// note keeps what a field says about the message and the connection.
func (h *Head) note(kind Kind, value []byte) error {
	switch kind {
	case Connection:
		eachToken(value, func(token []byte) {
			h.options++
			switch {
			case equalFold(token, "close"):
				h.Close = true
			case equalFold(token, "keep-alive"):
				h.KeepAlive = true
			case equalFold(token, "upgrade"):
				h.upgrades = true
			case equalFold(token, "te"): // The field TE goes anyway.
			default:
				h.named = true
			}
		})
		if h.options > maxOptions {
			return bad("Connection has too many options")
		}
	case ContentLength:
		n, ok := parseLength(value)
		if !ok {
			return bad("Content-Length is no number")
		}
		if h.lengths > 0 && n != h.length {
			return bad("there are two lengths")
		}
		h.lengths++
		h.length = n
	case TransferEncoding:
		h.codings++
		h.chunked = equalFold(value, "chunked")
		eachToken(value, func(token []byte) { h.chunkedLast = equalFold(token, "chunked") })
	case Host:
		h.hosts++
	}
	return nil
}

// markNamed makes the fields that Connection names hop-by-hop, except those that say
// what the message is: nobody may take those out of it.
func (h *Head) markNamed() {
	for i := range h.Fields {
		if h.Fields[i].Kind != Connection {
			continue
		}
		eachToken(h.Value(&h.Fields[i]), func(token []byte) {
			for j := range h.Fields {
				f := &h.Fields[j]
				if equalNames(h.Name(f), token) && !f.Kind.essential() {
					f.Kind = HopByHop
				}
			}
		})
	}
}

func (k Kind) essential() bool {
	switch k {
	case Host, Connection, ContentLength, TransferEncoding, Trailer, Upgrade, Expect, TE:
		return true
	}
	return false
}

// equalNames reports whether two names are the same in any case of ASCII. Those of the
// same length that only Unicode takes for the same are no names of fields.
func equalNames(a, b []byte) bool { return len(a) == len(b) && bytes.EqualFold(a, b) }

// eachToken calls do for each element of a comma-separated list that isn't empty (RFC
// 9110 section 5.6.1).
func eachToken(list []byte, do func(token []byte)) {
	for len(list) > 0 {
		token := list
		if i := indexByte(list, ','); i >= 0 {
			token, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if token = trimBlanks(token); len(token) > 0 {
			do(token)
		}
	}
}

// parseLength reads a Content-Length: digits alone (RFC 9110 section 8.6), of a number
// that fits in 63 bits.
func parseLength(value []byte) (int64, bool) {
	if len(value) == 0 || len(value) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return int64(n), n < 1<<63
}

// KindOf returns the kind of a field of this name, in any case. What would be a name that
// means something with dashes is not that name with underscores, but servers may take it
// for that.
func KindOf(name []byte) Kind {
	var buffer [len("proxy-authorization")]byte // the longest of the names below
	n := copy(buffer[:], name)
	underscores := false
	for i, c := range buffer[:n] {
		if c == '_' {
			underscores = true
			c = '-'
		}
		buffer[i] = fold(c)
	}
	plain := buffer[:n]
	kind := Other
	if n == len(name) {
		kind = kindOfPlain(plain)
	}
	if kind == Other && n > len(forwarded) && string(plain[:len(forwarded)]) == forwarded {
		kind = Origin
	}
	if underscores {
		return kind.underscored()
	}
	return kind
}

const forwarded = "x-forwarded-"

// kindOfPlain is KindOf for a name in lower case, with dashes.
func kindOfPlain(name []byte) Kind {
	switch string(name) {
	case "host":
		return Host
	case "connection":
		return Connection
	case "content-length":
		return ContentLength
	case "transfer-encoding":
		return TransferEncoding
	case "trailer":
		return Trailer
	case "upgrade":
		return Upgrade
	case "expect":
		return Expect
	case "te":
		return TE
	case "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "http2-settings", "partial-post-replay":
		return HopByHop
	case "via":
		return Via
	case "date":
		return Date
	case "x-request-id":
		return RequestID
	case "x-forwarded-for":
		return ForwardedFor
	case "x-forwarded-host":
		return ForwardedHost
	case "x-forwarded-proto":
		return ForwardedProto
	case "forwarded", "x-real-ip":
		return Origin
	case "segue-mirror":
		return Mirror
	case "content-type":
		return ContentType
	}
	return Other
}

// underscored is what a name is that would be of kind k if it had dashes.
func (k Kind) underscored() Kind {
	switch k {
	case ForwardedFor, ForwardedHost, ForwardedProto, Origin, Mirror:
		return Origin
	case ContentLength, TransferEncoding, HopByHop:
		return HopByHop
	}
	return Other
}
