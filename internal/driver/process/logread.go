//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	readSize = 64 << 10
	// maxLine is the longest line, in bytes, that is put out whole.
	maxLine = 256 << 10
)

// logReader reads a log line by line while it is written to and freed from its
// beginning.
type logReader struct {
	f      *os.File
	prefix string
	// offset is where the next read begins, line what was read before it of a
	// line that hasn't ended.
	offset int64
	line   []byte
	// torn: the line at offset has lost its beginning and is skipped.
	torn  bool
	chunk []byte
}

// openLogReader begins tail lines before the end, or at the beginning when tail is
// negative. A last line without an end counts as a line.
func openLogReader(path, prefix string, tail int) (*logReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &logReader{f: f, prefix: prefix, chunk: make([]byte, readSize)}
	if tail >= 0 {
		err = r.seekTail(tail)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func (r *logReader) close() { r.f.Close() }

// seekTail moves to the beginning of the last n lines.
func (r *logReader) seekTail(n int) error {
	info, err := r.f.Stat()
	if err != nil {
		return err
	}
	first, err := r.data(0)
	if err != nil {
		return err
	}
	end := info.Size()
	for pos := end; pos > first; {
		size := min(pos-first, readSize)
		chunk := r.chunk[:size]
		if _, err := r.f.ReadAt(chunk, pos-size); err != nil {
			return err
		}
		if n == 0 { // nothing of what is there, nor the rest of a line that is
			r.offset, r.torn = end, chunk[size-1] != '\n'
			return nil
		}
		for i := size - 1; i >= 0; i-- {
			start := pos - size + i + 1
			if chunk[i] != '\n' || start == end {
				continue
			}
			if n--; n == 0 {
				r.offset = start
				return nil
			}
		}
		pos -= size
	}
	r.offset, r.torn = first, first > 0
	return nil
}

// data returns where the data begins that lies at offset or after it; the file's
// end when there is none.
func (r *logReader) data(offset int64) (int64, error) {
	at, err := unix.Seek(int(r.f.Fd()), offset, unix.SEEK_DATA)
	switch {
	case err == nil:
		return at, nil
	case errors.Is(err, unix.ENXIO):
		return r.f.Seek(0, io.SeekEnd)
	case errors.Is(err, unix.EINVAL): // the file system knows no holes
		return offset, nil
	}
	return 0, err
}

// copyTo puts out the lines that have ended by now.
func (r *logReader) copyTo(w io.Writer) error {
	for {
		chunk, err := r.read()
		if err != nil {
			return err
		}
		if len(chunk) == 0 {
			return nil
		}
		if err := r.putLines(w, chunk); err != nil {
			return err
		}
	}
}

// read returns the next bytes, none at the end of the file. What has been freed
// is skipped, and so is the line that has lost its beginning by that.
func (r *logReader) read() ([]byte, error) {
	for {
		n, err := r.f.ReadAt(r.chunk, r.offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if n == 0 {
			if again, err := r.truncated(); err != nil || !again {
				return nil, err
			}
			continue
		}
		// Asked only after the read: what was data then and is data now can't
		// have been read as the zeros of a hole.
		at, err := r.data(r.offset)
		if err != nil {
			return nil, err
		}
		if at > r.offset {
			r.offset, r.torn, r.line = at, true, r.line[:0]
			continue
		}
		r.offset += int64(n)
		return r.chunk[:n], nil
	}
}

// truncated begins again if the file has become shorter than what was read of it,
// as it does when a shell script says echo >/dev/stderr.
func (r *logReader) truncated() (bool, error) {
	info, err := r.f.Stat()
	if err != nil || info.Size() >= r.offset {
		return false, err
	}
	r.offset, r.torn, r.line = 0, false, r.line[:0]
	return true, nil
}

func (r *logReader) putLines(w io.Writer, chunk []byte) error {
	if r.torn {
		end := bytes.IndexByte(chunk, '\n')
		if end < 0 {
			return nil
		}
		chunk, r.torn = chunk[end+1:], false
	}
	var out bytes.Buffer
	for len(chunk) > 0 {
		end := bytes.IndexByte(chunk, '\n')
		if end < 0 {
			r.line = append(r.line, chunk...)
			if len(r.line) > maxLine {
				r.put(&out)
			}
			break
		}
		r.line = append(r.line, chunk[:end]...)
		r.put(&out)
		chunk = chunk[end+1:]
	}
	_, err := w.Write(out.Bytes())
	return err
}

func (r *logReader) put(out *bytes.Buffer) {
	out.WriteString(r.prefix)
	out.Write(r.line)
	out.WriteByte('\n')
	r.line = r.line[:0]
}

// flush puts out a last line that has no end.
func (r *logReader) flush(w io.Writer) error {
	if len(r.line) == 0 {
		return nil
	}
	var out bytes.Buffer
	r.put(&out)
	_, err := w.Write(out.Bytes())
	return err
}
