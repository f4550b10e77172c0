package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// Of returns how many instances a candidate has at a weight in percent, of a
// service that has so many instances; at least 1. With all of the traffic it has
// all instances.
func (c CandidateInstances) Of(weight, instances int) int {
	if c == InstancesFull || weight >= 100 {
		return instances
	}
	if number, err := strconv.Atoi(string(c)); err == nil {
		return max(1, min(number, instances))
	}
	return max(1, (instances*weight+99)/100)
}

// UnmarshalText reads "auto", "full" or a number from 1 to 1000.
func (c *CandidateInstances) UnmarshalText(text []byte) error {
	read := CandidateInstances(text)
	if f := read.check(); f != nil {
		return f
	}
	if number, err := strconv.Atoi(string(read)); err == nil {
		read = CandidateInstances(strconv.Itoa(number))
	}
	*c = read
	return nil
}

func (c CandidateInstances) check() *flaw {
	if c == InstancesAuto || c == InstancesFull {
		return nil
	}
	number, err := wholeCount(string(c))
	switch {
	case err != nil:
		return &flaw{fmt.Sprintf("must be auto, full or a number, not %q", string(c)), "auto is the weight's share of the service's instances, full is all of them"}
	case number < 1 || number > MaxInstances:
		return &flaw{fmt.Sprintf("must be from 1 to %d, not %d", MaxInstances, number), ""}
	}
	return nil
}

// Of returns how many of so many instances the amount is; up says whether a share
// that is no whole number is rounded up or down. A count may be more than there
// are instances.
func (a Amount) Of(instances int, up bool) int {
	digits, percent := strings.CutSuffix(string(a), "%")
	number, err := wholeCount(digits)
	switch {
	case err != nil:
		return 0
	case !percent:
		return number
	case up:
		return (instances*number + 99) / 100
	}
	return instances * number / 100
}

// UnmarshalText reads a number of instances from 0 to 1000, or a whole number of
// percent from 0% to 100%.
func (a *Amount) UnmarshalText(text []byte) error {
	read := Amount(strings.ReplaceAll(string(text), " ", ""))
	if f := read.check(); f != nil {
		return f
	}
	digits, percent := strings.CutSuffix(string(read), "%")
	number, err := wholeCount(digits)
	if err != nil {
		return err
	}
	read = Amount(strconv.Itoa(number))
	if percent {
		read += "%"
	}
	*a = read
	return nil
}

func (a Amount) check() *flaw {
	digits, percent := strings.CutSuffix(string(a), "%")
	number, err := wholeCount(digits)
	switch {
	case err != nil:
		return &flaw{fmt.Sprintf("must be a number of instances or a share of them, not %q", string(a)), "write it as in 2 or 25%"}
	case percent && number > 100:
		return &flaw{fmt.Sprintf("must be from 0%% to 100%%, not %s", a), ""}
	case number > MaxInstances:
		return &flaw{fmt.Sprintf("must be from 0 to %d, not %s", MaxInstances, a), ""}
	}
	return nil
}

// wholeCount reads a number without a sign that isn't beyond all use.
func wholeCount(digits string) (int, error) {
	number, err := strconv.ParseUint(digits, 10, 31)
	return int(number), err
}
