package h1

// maxDigits is how many digits a chunk's size may have, so that it fits in 63 bits.
const maxDigits = 15

// maxExtensions is how many bytes the extensions of chunks may have, beyond
// freeExtensions for each chunk and twice its data: they mean nothing to anybody, and cost
// whoever reads them. (net/http has a rule of this kind.)
const (
	maxExtensions  = 16 << 10
	freeExtensions = 16
)

// Chunked goes through a body in the chunked coding (RFC 9112 section 7.1), in pieces
// of any size. The zero value is ready for a body.
type Chunked struct {
	state chunkState
	// digits is how many of a size were read, left what is to come of a chunk's data.
	digits int
	left   int64
	// data is how many bytes of data have come.
	data int64
	// extensions is how many bytes of them were left out that aren't free.
	extensions int
}

type chunkState uint8

const (
	inSize chunkState = iota
	inBlank
	inExtension
	afterSize
	inData
	afterData
	afterDataCR
	lastChunk
)

// Done reports whether the last chunk has come. The trailer section follows, be it only
// the empty line.
func (c *Chunked) Done() bool { return c.state == lastChunk }

// Data is how many bytes of data have come, without the framing.
func (c *Chunked) Data() int64 { return c.data }

// Filter goes through the next bytes of a body, up to the last chunk, and removes what
// isn't to be passed on: the extensions, which are for one connection (section 7.1.1),
// and, unless framed is set, all of the framing. It moves what stays to the front of b.
// It returns how many bytes stay, and how many of b were used: all, unless the body is
// Done.
func (c *Chunked) Filter(b []byte, framed bool) (kept, used int, err error) {
	for used < len(b) && c.state != lastChunk {
		if c.state == inData {
			n := int(min(c.left, int64(len(b)-used)))
			if kept != used {
				copy(b[kept:], b[used:used+n])
			}
			kept += n
			used += n
			c.data += int64(n)
			if c.left -= int64(n); c.left == 0 {
				c.state = afterData
			}
			continue
		}
		x := b[used]
		used++
		keep, err := c.next(x)
		if err != nil {
			return kept, used, err
		}
		if keep && framed {
			b[kept] = x
			kept++
		}
	}
	return kept, used, nil
}

// next takes a byte of the framing, and reports whether it stays.
func (c *Chunked) next(x byte) (keep bool, err error) {
	switch c.state {
	case inSize:
		if digit := unhex(x); digit >= 0 {
			if c.digits++; c.digits > maxDigits {
				return false, bad("a chunk's size is too big")
			}
			c.left = c.left<<4 | int64(digit)
			return true, nil
		}
		if c.digits == 0 {
			return false, bad("a chunk has no size")
		}
		return c.endSize(x)
	case inBlank:
		if isBlank(x) {
			return false, c.leaveOut()
		}
		if x != ';' {
			return false, bad("a chunk's size is followed by a blank")
		}
		c.state = inExtension
		return false, c.leaveOut()
	case inExtension:
		if x == '\r' {
			c.state = afterSize
			return true, nil
		}
		if !isText(x) {
			return false, bad("a chunk's extension has a control character")
		}
		return false, c.leaveOut()
	case afterSize:
		if err := is(x, '\n'); err != nil {
			return false, err
		}
		c.state, c.digits = inData, 0
		c.extensions = max(0, c.extensions-freeExtensions-int(min(2*c.left, maxExtensions)))
		if c.left == 0 {
			c.state = lastChunk
		}
		return true, nil
	case afterData:
		c.state = afterDataCR
		return true, is(x, '\r')
	default: // afterDataCR
		c.state = inSize
		return true, is(x, '\n')
	}
}

// endSize takes the byte after a size.
func (c *Chunked) endSize(x byte) (keep bool, err error) {
	switch {
	case x == '\r':
		c.state = afterSize
		return true, nil
	case x == ';':
		c.state = inExtension
	case isBlank(x):
		c.state = inBlank
	default:
		return false, bad("a chunk's size is no hexadecimal number")
	}
	return false, c.leaveOut()
}

func (c *Chunked) leaveOut() error {
	if c.extensions++; c.extensions > maxExtensions {
		return bad("the extensions of the chunks are too long")
	}
	return nil
}

func is(x, want byte) error {
	if x != want {
		return bad("a chunk doesn't end where its size says")
	}
	return nil
}
