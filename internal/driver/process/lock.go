//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var errLocked = errors.New("a process of it still lives")

// tryLock takes an instance's lock. The file that it returns holds it, and so does
// every descriptor inherited from it. The error is errLocked when somebody else
// has it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			err = errLocked
		default:
			err = fmt.Errorf("lock %s: %w", path, err)
		}
		f.Close()
		return nil, err
	}
}

// poll calls done in growing intervals until it returns true or an error, or ctx
// ends, whose cause is the error then; it doesn't call it when ctx has ended. For
// what the kernel gives no event for.
func poll(ctx context.Context, longest time.Duration, done func() (bool, error)) error {
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, longest) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// pause waits for d or the end of ctx, whose cause it returns then.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
