package spec

import (
	"fmt"
	"strings"
	"time"
)

// Duration is a length of time, never negative, written as "30s" or "1m30s".
type Duration time.Duration

// ParseDuration reads a duration with its units: "300ms", "1m30s", "1.5h". A
// number without a unit is an error, and so is a negative one.
func ParseDuration(text string) (Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case text != "" && strings.Trim(text, "+-.0123456789") == "":
		return 0, &flaw{fmt.Sprintf("has no unit: %s", text), fmt.Sprintf("write %ss for seconds; the units are ms, s, m and h", text)}
	case err != nil:
		return 0, &flaw{fmt.Sprintf("must be a duration, not %q", text), "write it as in 30s, 1m30s or 500ms"}
	case d < 0:
		return 0, &flaw{fmt.Sprintf("must not be negative: %s", text), ""}
	}
	return Duration(d), nil
}

// Std returns d as the standard library's duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns d as ParseDuration reads it, without units that are zero:
// "10m", where the standard library says "10m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns [Duration.String].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is [ParseDuration].
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}
