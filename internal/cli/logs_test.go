package cli

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestFollowedLogs tells the end of the daemon from Ctrl-C.
func TestFollowedLogs(t *testing.T) {
	d := newTeller(t, good(), 0)
	printed := make(chan struct{})
	d.logs = func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Encode(); got != "follow=true&instance=&release=r2&tail=5" {
			t.Errorf("asked for %s", got)
		}
		_, _ = io.WriteString(w, "a line\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-printed:
		case <-r.Context().Done():
		}
	}
	run := func(ctx context.Context, out io.Writer) (code int, stderr string) {
		var errs strings.Builder
		args := []string{"logs", "r2", "-f", "-n", "5", "--service", "web", "--state-dir", d.dir}
		return Run(ctx, args, strings.NewReader(""), out, &errs), errs.String()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if code, errs := run(ctx, onWrite(cancel)); code != 0 || errs != "" {
		t.Errorf("Ctrl-C: exit code %d, %q", code, errs)
	}
	if code, errs := run(t.Context(), onWrite(func() { close(printed) })); code != 1 || !strings.Contains(errs, "the daemon has stopped, so no more lines come") {
		t.Errorf("the daemon's end: exit code %d, %q", code, errs)
	}
}

// onWrite does something when the first bytes come.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}
