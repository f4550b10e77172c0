package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// uploadSpec is a segue.yaml of the upload service, whose drains are shorter than any
// upload.
type uploadSpec struct {
	dir, strategy string
	replays       bool
}

func (u uploadSpec) String() string {
	return fmt.Sprintf(`service: web
artifact: upload-artifact
command: [./upload]
env: {DATA_DIR: %s}
instances: 2
health:
  http: {path: /healthz}
  interval: 100ms
strategy: %s
replay_uploads: %t
drain: 500ms
warm: 0s
stop_grace: 8s
`, u.dir, u.strategy, u.replays)
}

// TestUploadsAreReplayed stops all instances of a release in the middle of uploads that
// take longer than its drain. They go on at the next release, which has all of them then.
func TestUploadsAreReplayed(t *testing.T) {
	t.Parallel()
	const n = 6
	for _, test := range []struct {
		name, strategy string
		replayed       uint64
	}{
		// What was stable is stopped when the deployment, and so its receipt, has ended.
		{"blue-green", "{blue-green: {bake: 200ms}}", 0},
		{"rolling", "{rolling: {bake: 200ms}}", n},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t).serve()
			s.copy(built.upload, "upload-artifact/upload")
			spec := uploadSpec{filepath.Join(s.dir, "data"), test.strategy, true}
			s.deploy(spec, 0)
			body := bytes.Repeat([]byte("segue and more. "), 200_000)
			var uploads []*slowUpload
			for i := range n {
				uploads = append(uploads, s.slowUpload(i, i%2 == 0, body))
			}
			eventually(t, "the uploads in flight", func() bool { return s.inFlight("r1") == n })
			s.deploy(spec, 0)
			eventually(t, "all are handed back", func() bool { return s.inFlight("r1") == 0 && s.inFlight("r2") == n })
			for _, u := range uploads {
				u.finish("r2")
			}
			r := s.receipt("d2")
			var left int
			for _, d := range r.Drains {
				left += d.Left
			}
			// An upload may have gone from one instance to another that is stopped next.
			if r.Total.Lost != 0 || r.Total.Replayed < test.replayed || left < n {
				t.Errorf("lost %d, replayed %d, left by the drains %d", r.Total.Lost, r.Total.Replayed, left)
			}
			for i := range n {
				if code, text := s.get(fmt.Sprintf("/files/f%d", i)); code != http.StatusOK || text != string(body) {
					t.Errorf("file %d: %d, %d bytes", i, code, len(text))
				}
			}
		})
	}
}

// TestUploadsAreCutWithoutReplay is the same without being asked for.
func TestUploadsAreCutWithoutReplay(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.copy(built.upload, "upload-artifact/upload")
	spec := uploadSpec{filepath.Join(s.dir, "data"), "{blue-green: {bake: 200ms}}", false}
	s.deploy(spec, 0)
	u := s.slowUpload(1, false, bytes.Repeat([]byte("0"), 1000))
	eventually(t, "the upload in flight", func() bool { return s.inFlight("r1") == 1 })
	s.deploy(spec, 0)
	if resp, err := http.ReadResponse(u.r, nil); err == nil {
		t.Errorf("it was answered: %s", resp.Status)
	}
	if r := s.receipt("d2"); len(r.Drains) != 1 || r.Drains[0].Cut != 1 || r.Total.Replayed != 0 {
		t.Errorf("drains: %+v", r.Drains)
	}
}

// slowUpload is an upload of which half is sent.
type slowUpload struct {
	s       *stage
	c       io.Writer
	r       *bufio.Reader
	chunked bool
	body    []byte
	sent    int
}

func (s *stage) slowUpload(n int, chunked bool, body []byte) *slowUpload {
	s.t.Helper()
	c := s.dial()
	u := &slowUpload{s: s, c: c, r: bufio.NewReader(c), chunked: chunked, body: body}
	framing := fmt.Sprintf("Content-Length: %d", len(body))
	if chunked {
		framing = "Transfer-Encoding: chunked"
	}
	fmt.Fprintf(c, "POST /files/f%d HTTP/1.1\r\nHost: web\r\n%s\r\n\r\n", n, framing)
	u.send(len(body) / 2)
	return u
}

func (u *slowUpload) send(to int) {
	u.s.t.Helper()
	piece := u.body[u.sent:to]
	u.sent = to
	var err error
	if u.chunked {
		_, err = fmt.Fprintf(u.c, "%x\r\n%s\r\n", len(piece), piece)
	} else {
		_, err = u.c.Write(piece)
	}
	if err != nil {
		u.s.t.Fatal(err)
	}
}

// finish sends the rest, and wants an answer of a release that has got all.
func (u *slowUpload) finish(release string) {
	t := u.s.t
	t.Helper()
	u.send(len(u.body))
	if u.chunked {
		io.WriteString(u.c, "0\r\n\r\n")
	}
	resp, err := http.ReadResponse(u.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	want := fmt.Sprintf("%d %x", len(u.body), sha256.Sum256(u.body))
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Release") != release || strings.TrimSpace(string(text)) != want {
		t.Errorf("%s from %s: %s, %v", resp.Status, resp.Header.Get("X-Release"), text, err)
	}
}
