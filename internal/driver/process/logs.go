//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// followInterval is the time between two looks for new output.
const followInterval = 200 * time.Millisecond

// Logs is part of [driver.Driver]. Lines are put out whole, also where several
// instances' lines mix; one of more than 256 KiB is put out in pieces.
func (d *Driver) Logs(ctx context.Context, w io.Writer, service, release string, o driver.LogOptions) error {
	fail := func(err error) error { return fmt.Errorf("logs of %s %s: %w", service, release, err) }
	if err := checkNames(service, release); err != nil {
		return fail(err)
	}
	readers := map[string]*logReader{}
	defer func() {
		for _, r := range readers {
			r.close()
		}
	}()
	tail := o.Tail
	for {
		found, err := d.openLogs(readers, service, release, o.Instance, tail)
		if err != nil {
			return fail(err)
		}
		tail = -1 // an instance that comes later is shown from its beginning
		for _, id := range slices.Sorted(maps.Keys(readers)) {
			if err := readers[id].copyTo(w); err != nil {
				return fail(err)
			}
			if !o.Follow {
				if err := readers[id].flush(w); err != nil {
					return fail(err)
				}
			}
		}
		if len(readers) == 0 {
			return fail(driver.ErrNoLogs)
		}
		if !o.Follow || !found || pause(ctx, followInterval) != nil {
			return nil
		}
	}
}

// openLogs opens the logs that aren't open yet. It reports whether there still are
// any.
func (d *Driver) openLogs(readers map[string]*logReader, service, release, instance string, tail int) (found bool, err error) {
	entries, err := os.ReadDir(d.logDir(service, release))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, entry := range entries {
		id, isLog := strings.CutSuffix(entry.Name(), ".log")
		if !isLog || instance != "" && instance != id {
			continue
		}
		found = true
		if readers[id] != nil {
			continue
		}
		prefix := ""
		if instance == "" {
			prefix = id + "| "
		}
		r, err := openLogReader(d.logPath(service, release, id), prefix, tail)
		if err != nil {
			return false, err
		}
		readers[id] = r
	}
	return found, nil
}

// CollectLogs is part of [driver.Driver].
func (d *Driver) CollectLogs(ctx context.Context, keep func(service, release string) bool) error {
	root := filepath.Join(d.cfg.Dir, "logs")
	services, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("collect logs: %w", err)
	}
	for _, service := range services {
		releases, err := os.ReadDir(filepath.Join(root, service.Name()))
		if err != nil {
			return fmt.Errorf("collect logs: %w", err)
		}
		for _, release := range releases {
			if err := d.collect(ctx, service.Name(), release.Name(), keep); err != nil {
				return fmt.Errorf("collect logs of %s %s: %w", service.Name(), release.Name(), err)
			}
		}
	}
	return nil
}

// collect takes the release's turn, so that none of its instances starts while its
// logs are removed.
func (d *Driver) collect(ctx context.Context, service, release string, keep func(service, release string) bool) error {
	end, err := d.turns.take(ctx, service+"/"+release)
	if err != nil {
		return err
	}
	defer end()
	if len(d.of(service, release)) > 0 || keep(service, release) {
		return nil
	}
	return os.RemoveAll(d.logDir(service, release))
}
