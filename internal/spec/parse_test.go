package spec

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// write puts a file into a directory of its own and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadReadsTheEnvFileNextToTheSpec(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "prod.env", "A=from file\nB='$5'\n")
	path := write(t, dir, "segue.yaml", minimal+"env_file: prod.env\nenv: {A: from spec, C: \"${HOME}\"}\n")
	s, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"A": "from spec", "B": "$$5", "C": "${HOME}"}; !reflect.DeepEqual(s.Env, want) || s.EnvFile != "" {
		t.Errorf("env is %q, env file %q", s.Env, s.EnvFile)
	}
	write(t, dir, "prod.env", "# nothing\n")
	path = write(t, dir, "segue.yaml", minimal+"env_file: "+filepath.Join(dir, "prod.env"))
	if s, err := Load(path); err != nil || s.Env != nil || s.EnvFile != "" {
		t.Errorf("with an empty env file: %+v, %v", s, err)
	}
}

func TestLoadShowsErrorsOfTheEnvFileThere(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "prod.env", "A=1\nB\n")
	s, err := Load(write(t, dir, "segue.yaml", minimal+"env_file: prod.env\n"))
	if e := asError(t, s, err); e.File != file || e.Line != 2 {
		t.Errorf("got %+v", e)
	}
}

func TestLoadShowsWhereAMissingEnvFileIsNamed(t *testing.T) {
	path := write(t, t.TempDir(), "segue.yaml", minimal+"env_file: prod.env\n")
	s, err := Load(path)
	e := asError(t, s, err)
	if e.File != path || e.Line != 3 || e.Field != "env_file" || !strings.Contains(e.Message, "no such file") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %+v", e)
	}
	if strings.Contains(e.Error(), "segue init") {
		t.Errorf("the hint is for another file: %v", e)
	}
}

func TestLoadOfWhatIsNoReadableFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write(t, dir, "large", strings.Repeat("#", maxBytes+1))
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		filepath.Join(dir, "none"): "no such file\nsegue init writes one", dir: "is a directory\nname the file in it: " + filepath.Join(dir, "segue.yaml"),
		pipe: "not a regular file", large: "larger than 1MiB", loop: "can't be read", "/dev/zero": "not a regular file",
		"a\x00b": "can't be read", filepath.Join(large, "x"): "can't be read",
	}
	for path, want := range tests {
		s, err := Load(path)
		if e := asError(t, s, err); e.File != path || e.Line != 0 || !strings.Contains(e.Error(), want) {
			t.Errorf("%q: got %v; want %q", path, e, want)
		}
	}
}

func TestLoadWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	path := write(t, t.TempDir(), "segue.yaml", minimal)
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path)
	if e := asError(t, s, err); !errors.Is(err, fs.ErrPermission) || e.Hint == "" {
		t.Errorf("got %v", e)
	}
}

func TestUnreadableNamesTheRemedy(t *testing.T) {
	e := unreadable("segue.yaml", &fs.PathError{Op: "open", Path: "segue.yaml", Err: syscall.EACCES})
	if got := e.Error(); got != "segue.yaml: can't be read: permission denied\ngive the user who runs segue the right to read it" {
		t.Errorf("got %q", got)
	}
}

func TestParseLeavesTheEnvFileToLoad(t *testing.T) {
	if s := mustParse(t, minimal+"env_file: none.env\n"); s.EnvFile != "none.env" {
		t.Errorf("env file is %q", s.EnvFile)
	}
}
