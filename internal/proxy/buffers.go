package proxy

// Sizes of buffers, in bytes.
const (
	// readSize is for what a client sends: a head, or a piece of a chunked body.
	readSize = 16 << 10
	// pieceSize is how much of an answer is read at a time.
	pieceSize = 64 << 10
	// bodySize is for a piece of an answer with the framing behind it, and for a
	// request's head with as much of its body as is kept by default.
	bodySize = pieceSize + 16<<10
	// maxFree is how many buffers of a size are kept for the next one who needs one.
	maxFree = 256
)

// buffers are a loop's buffers that nobody uses. The last one given back is given out
// first, since the processor has it at hand.
type buffers struct{ read, body [][]byte }

func (b *buffers) get(free *[][]byte, size int) []byte {
	n := len(*free)
	if n == 0 {
		return make([]byte, size)
	}
	buffer := (*free)[n-1]
	(*free)[n-1] = nil
	*free = (*free)[:n-1]
	return buffer
}

// put gives back a buffer of any size, or nil. Those of sizes that are seldom needed are
// left to the garbage collector.
func (b *buffers) put(buffer []byte) {
	free := &b.read
	switch cap(buffer) {
	case readSize:
	case bodySize:
		free = &b.body
	default:
		return
	}
	if len(*free) < maxFree {
		*free = append(*free, buffer[:cap(buffer)])
	}
}

func (b *buffers) getRead() []byte { return b.get(&b.read, readSize) }
func (b *buffers) getBody() []byte { return b.get(&b.body, bodySize) }
