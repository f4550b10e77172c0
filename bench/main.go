// Command bench compares Segue's proxy with nginx, HAProxy and Caddy, side by side in
// one run: what a request costs in CPU time, how many a second there are, how long they
// take, and how much memory connections need.
//
// The proxies' configurations are in config/, the server behind them in upstream/. A
// case (case.go) is measured of each proxy in turn, and again in several rounds
// (comparison.run, where the main loop is); the medians are printed as tables in
// Markdown (report.go). docs/performance.md says how to read and repeat them.
//
// With -segue a,b it compares two builds of Segue with each other.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run compares, and writes the tables to out and how it goes on to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	c, err := parse(args, progress)
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	all, err := c.run(ctx)
	if err != nil {
		return err
	}
	c.introduce(ctx, out)
	c.report(out, all)
	if line := c.summary(all); line != "" {
		fmt.Fprintf(out, "\n%s\n", line)
	}
	return nil
}

// parse makes a comparison of the command line.
func parse(args []string, progress io.Writer) (comparison, error) {
	files, err := raiseFiles()
	if err != nil {
		return comparison{}, err
	}
	c := comparison{files: files, progress: progress}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(progress)
	binaries := f.String("segue", "bin/segue", "the binary of Segue, or several to compare, with commas between")
	only := f.String("only", "", "take part: some of segue,nginx,haproxy,caddy (default all)")
	names := f.String("cases", "", "what to measure: some of "+strings.Join(caseNames(cases(files)), ",")+" (default all)")
	f.StringVar(&c.upstream, "upstream", "bin/bench-upstream", "the server behind the proxies")
	f.IntVar(&c.rounds, "rounds", 5, "how often to measure each case of each proxy")
	f.DurationVar(&c.window, "window", 1500*time.Millisecond, "for how long each time")
	f.DurationVar(&c.limit, "limit", 9*time.Minute, "begin no round that would end later than this")
	if err := f.Parse(args); err != nil {
		return comparison{}, err
	}
	if f.NArg() > 0 || c.rounds < 1 || c.window <= 0 {
		return comparison{}, errors.New("want flags only, at least one round, and a window above 0")
	}
	contenders := append(ours(strings.Split(*binaries, ",")), others()...)
	if c.contenders, err = choose(contenders, *only, contender.kind); err != nil {
		return comparison{}, err
	}
	c.cases, err = choose(cases(files), *names, func(tc testCase) string { return tc.name })
	return c, err
}

func caseNames(all []testCase) []string {
	var names []string
	for _, tc := range all {
		names = append(names, tc.name)
	}
	return names
}

// choose returns those of all whose name is in a list with commas; all if it is empty.
func choose[T any](all []T, list string, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var chosen []T
	wanted := strings.Split(list, ",")
	for _, one := range all {
		if slices.Contains(wanted, name(one)) {
			chosen = append(chosen, one)
		}
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(all, func(one T) bool { return name(one) == w }) {
			return nil, fmt.Errorf("there is no %q; see -help", w)
		}
	}
	return chosen, nil
}

// leastFiles is how many descriptors all cases need but that of the idle connections,
// mostFiles how many are enough for all.
const (
	leastFiles = 4000
	mostFiles  = 20_000
)

// raiseFiles lets this process, and those that it starts, have as many descriptors as
// they may, and returns how many they should use.
func raiseFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("ask how many descriptors there may be: %w", err)
	}
	if limit.Max < leastFiles {
		return 0, fmt.Errorf("a process may have %d descriptors only (ulimit -Hn), want at least %d, better %d", limit.Max, leastFiles, mostFiles)
	}
	// Go would give those that it starts the old limit, but for this call.
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raise the number of descriptors: %w", err)
	}
	return int(min(limit.Max, mostFiles)), nil
}

// introduce says on what and with what it was measured.
func (c comparison) introduce(ctx context.Context, out io.Writer) {
	var uts unix.Utsname
	kernel := "unknown"
	if unix.Uname(&uts) == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	fmt.Fprintf(out, "%d cores, Linux %s, %s; up to %d rounds of %s.\n\n", runtime.NumCPU(), kernel, runtime.Version(), c.rounds, c.window)
	for _, who := range c.contenders {
		fmt.Fprintf(out, "- %s (%s): %s\n", who.name, who.binary, who.says(ctx))
	}
}
