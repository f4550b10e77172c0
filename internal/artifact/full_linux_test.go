package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestPutOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("NOT TESTED, mounting isn't permitted here (%v): run as root to test a full disk", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := reopen(t, filepath.Join(dir, "store"))
	big := tarOf(t, fileHeader("a"), tar.Header{Typeflag: tar.TypeReg, Name: "b", Size: 800_000})
	_, err := s.Put(t.Context(), bytes.NewReader(big))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room in "+s.dir) {
		t.Errorf("got %v", err)
	}
	requireSound(t, s)
	a := put(t, s, tarOf(t, fileHeader("a")))
	requireSound(t, s, a.Digest)
}
