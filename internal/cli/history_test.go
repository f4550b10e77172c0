package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

func TestPrintHistory(t *testing.T) {
	at := start().Local().Format(time.DateTime)
	h := fromWire[api.History](t, `{
		"deployments": [
			{"id": "d1", "candidate": "r1", "phase": "promoted", "by": "ann", "why": "the first\nof all", "requested": "2026-03-01T12:00:00Z", "finished": "2026-03-01T12:00:12Z"},
			{"id": "d2", "candidate": "r2", "stable": "r1", "phase": "failed", "reason": "smoke test\n  failed", "requested": "2026-03-01T12:00:00Z", "finished": "2026-03-01T12:00:00.5Z"},
			{"id": "d3", "candidate": "r1", "stable": "r2", "kind": "rollback", "phase": "running", "requested": "2026-03-01T12:00:00Z"}],
		"releases": [
			{"id": "r1", "artifact": "sha256:0123456789abcdef0123", "created": "2026-03-01T12:00:00Z", "promotions": 1, "booted": 1234000000, "collected": true},
			{"id": "r2", "artifact": "sha256:abc", "created": "2026-03-01T12:00:00Z"}]}`)
	var out strings.Builder
	if err := printHistory(&out, h); err != nil {
		t.Fatal(err)
	}
	expectText(t, trimRight(out.String()), strings.ReplaceAll(`
DEPLOYMENT  RELEASE        FROM  REQUESTED            TOOK   BY   WHY               END
d1          r1             -     2026-03-01 12:00:00  12s    ann  the first of all  promoted
d2          r2             r1    2026-03-01 12:00:00  500ms  -    -                 failed: smoke test failed
d3          r1 (rollback)  r2    2026-03-01 12:00:00  -      -    -                 running

RELEASE  PROMOTED  BOOT    CREATED              ARTIFACT
r1       1×        1.234s  2026-03-01 12:00:00  sha256:0123456789ab (collected)
r2       0×        -       2026-03-01 12:00:00  sha256:abc
`, "2026-03-01 12:00:00", at))
}
