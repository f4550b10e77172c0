package api

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUpload(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	first, err := w.client.Upload(t.Context(), dir)
	if err != nil || first.Bytes != 5 || first.Files != 1 || !w.store.Has(first.Digest) {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := w.client.Upload(t.Context(), dir); err != nil || again != first {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	if nothing, err := w.client.Upload(t.Context(), ""); err != nil || nothing.Files != 0 || !w.store.Has(nothing.Digest) {
		t.Errorf("nothing: %+v, %v", nothing, err)
	}
}

// TestUploadOfWhatCannotBePacked fails with the file's name, whether a daemon
// runs or not.
func TestUploadOfWhatCannotBePacked(t *testing.T) {
	w := newWorld(t)
	missing := filepath.Join(t.TempDir(), "nowhere")
	if _, err := w.client.Upload(t.Context(), missing); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Error(err)
	}
	socket, err := net.Listen("unix", filepath.Join(w.dir, "a.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if _, err := w.client.Upload(t.Context(), filepath.Join(w.dir, "a.sock")); err == nil || !strings.Contains(err.Error(), "a.sock") {
		t.Errorf("a socket: %v", err)
	}
	nobody := NewClient(filepath.Join(w.dir, "nobody.sock"))
	if _, err := nobody.Upload(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "no daemon answers") {
		t.Errorf("without a daemon: %v", err)
	}
	// The client does not wait for the daemon to have noticed.
	w.stop()
	w.ended.Wait()
	w.empty()
}

// empty holds the store to what it had: nothing but finished artifacts.
func (w *world) empty() {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.dir, "artifacts"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "sha256-") {
			w.t.Errorf("%s is left in the store", e.Name())
		}
	}
}

func TestUploadOverTheLimit(t *testing.T) {
	w := newWorld(t)
	big := filepath.Join(t.TempDir(), "big")
	// More than all buffers on the way hold.
	if err := os.WriteFile(big, make([]byte, 16*artifactLimit), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := w.client.Upload(t.Context(), big)
	p, ok := errors.AsType[*Problem](err)
	if !ok || p.Status != http.StatusRequestEntityTooLarge || !strings.Contains(p.Detail, "the limit of this store") || !strings.Contains(p.Hint, "--artifact-limit") {
		t.Errorf("got %v", err)
	}
	w.empty()
}

func TestUploadOfGarbage(t *testing.T) {
	w := newWorld(t)
	whole := tarOf(t, "a", []byte("hello"))
	for name, body := range map[string][]byte{
		"nothing":          nil,
		"no tar stream":    []byte(strings.Repeat("garbage", 1000)),
		"cut off":          whole[:700],
		"without its end":  whole[:1024],
		"out of the store": tarOf(t, "../../a", nil),
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			p := w.problem(http.MethodPost, "/v1/artifacts", string(body))
			if p.Status != http.StatusUnprocessableEntity || p.Type != "urn:segue:invalid" || !strings.Contains(p.Detail, "refused") {
				t.Errorf("got %+v", p)
			}
			w.empty()
		})
	}
}

// TestUploadThatBreaksOff leaves nothing, and the daemon as it was.
func TestUploadThatBreaksOff(t *testing.T) {
	w := newWorld(t)
	conn, err := net.Dial("unix", filepath.Join(w.dir, "segue.sock"))
	if err != nil {
		t.Fatal(err)
	}
	head := "POST /v1/artifacts HTTP/1.1\r\nHost: segue\r\nContent-Length: 100000\r\n\r\n"
	if _, err := io.Copy(conn, io.MultiReader(strings.NewReader(head), bytes.NewReader(tarOf(t, "a", make([]byte, 3000))[:2000]))); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The answer, or the end of the connection, is the end of the request.
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
	conn.Close()
	w.empty()
	if _, err := w.client.Upload(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if log := w.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("that is no error of the daemon's:\n%s", log)
	}
}
