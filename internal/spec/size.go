package spec

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// Size is a number of bytes, never negative, written as "64MiB", "1GB" or, with
// no unit, in bytes.
type Size int64

// sizeUnit is a unit of a size.
type sizeUnit struct {
	name  string
	bytes int64
}

func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
	}
}

// ParseSize reads a number of bytes, or a number with one of the units B, kB,
// MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024). It must
// come to a whole number of bytes.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := text[len(digits):]
	digits = strings.TrimRight(digits, " ")
	wrong := &flaw{fmt.Sprintf("must be a size, not %q", text), "write it as in 64MiB, 1GB or 512KiB"}

	factor := int64(0)
	for _, u := range sizeUnits() {
		if unit == "" || strings.EqualFold(unit, u.name) {
			factor = u.bytes
		}
	}
	if len(digits) > 30 || strings.Trim(digits, "0123456789.") != "" {
		return 0, wrong
	}
	number, ok := new(big.Rat).SetString(digits)
	if !ok {
		return 0, wrong
	}
	if factor == 0 {
		return 0, &flaw{fmt.Sprintf("has an unknown unit: %q", text), "the units are B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)"}
	}
	number.Mul(number, new(big.Rat).SetInt64(factor))
	switch {
	case !number.IsInt():
		return 0, &flaw{fmt.Sprintf("is not a whole number of bytes: %s", text), ""}
	case number.Cmp(new(big.Rat).SetInt64(math.MaxInt64)) > 0:
		return 0, &flaw{fmt.Sprintf("is too large: %s", text), ""}
	}
	return Size(number.Num().Int64()), nil
}

// String returns s as ParseSize reads it, exactly, in the unit that takes the
// smallest number: "64MiB", "1GB", "1500B".
func (s Size) String() string {
	number, unit := int64(s), "B"
	for _, u := range sizeUnits() {
		if s > 0 && int64(s)%u.bytes == 0 && int64(s)/u.bytes < number {
			number, unit = int64(s)/u.bytes, u.name
		}
	}
	return fmt.Sprintf("%d%s", number, unit)
}

// MarshalText returns [Size.String].
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is [ParseSize].
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}
