package proxy

const (
	// pieceSize is how much of an answer's body is read at a time, in bytes.
	pieceSize = 64 << 10
	// bufferSize is the size of a buffer: a piece with the head before and the framing
	// behind it, or a request's head with as much of its body as is kept by default.
	bufferSize = pieceSize + 16<<10
	// headRoom is left free before what is read from a client, for what its head
	// becomes longer on the way to the upstream.
	headRoom = 1 << 10
	// smallSize is for what is left when a client's connection has to wait.
	smallSize = 4 << 10
)

// buffers are a loop's buffers that nobody uses. The last one given back is given out
// first, since the processor has it at hand.
type buffers struct{ free [][]byte }

func (b *buffers) get() []byte {
	n := len(b.free)
	if n == 0 {
		return make([]byte, bufferSize)
	}
	buffer := b.free[n-1]
	b.free[n-1] = nil
	b.free = b.free[:n-1]
	return buffer
}

// put gives back a buffer, or nil, when no more than a few are kept. Other memory is left
// to the garbage collector.
func (b *buffers) put(buffer []byte) {
	const few = 128
	if cap(buffer) == bufferSize && len(b.free) < few {
		b.free = append(b.free, buffer[:bufferSize])
	}
}
