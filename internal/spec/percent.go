package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// Percent is a share from 0 to 100, written as "5%", "0.5%" or without the
// sign.
type Percent float64

// ParsePercent reads a number from 0 to 100, with or without a percent sign.
func ParsePercent(text string) (Percent, error) {
	digits := strings.TrimSpace(strings.TrimSuffix(text, "%"))
	number, err := strconv.ParseFloat(digits, 64)
	if err != nil || len(digits) > 30 || strings.Trim(digits, "+-0123456789.") != "" {
		return 0, &flaw{fmt.Sprintf("must be a percentage, not %q", text), "write it as in 5% or 0.5%"}
	}
	if number < 0 || number > 100 {
		return 0, &flaw{fmt.Sprintf("must be from 0%% to 100%%, not %s", text), ""}
	}
	if number == 0 {
		number = 0 // "-0" has a sign that nobody wants to see again.
	}
	return Percent(number), nil
}

// String returns p as ParsePercent reads it, exactly: "0.5%".
func (p Percent) String() string {
	return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%"
}

// MarshalText returns [Percent.String].
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is [ParsePercent].
func (p *Percent) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePercent(string(text))
	return err
}
