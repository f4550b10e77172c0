//go:build linux

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

// markerName is the environment variable that holds a start's marker.
const markerName = "SEGUE_START"

// defaultPath is where programs are looked for when the daemon has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// surroundings are what a command of a release runs in.
type surroundings struct {
	account account
	workDir string
	vars    driver.Vars
	env     map[string]string
}

// newSurroundings works out a release's surroundings, with vars to fill in its
// templates. The instance's part of vars is empty for a command that isn't an
// instance's.
func newSurroundings(r *driver.Release, vars driver.Vars) (surroundings, error) {
	who, err := findAccount(r.User)
	if err != nil {
		return surroundings{}, err
	}
	if !filepath.IsLocal(filepath.Join(".", r.WorkDir)) {
		return surroundings{}, fmt.Errorf("working directory %s is outside of the artifact", r.WorkDir)
	}
	vars.Dir, vars.Service, vars.Release = r.Dir, r.Service, r.ID
	s := surroundings{account: who, workDir: filepath.Join(r.Dir, r.WorkDir), vars: vars}
	s.env = environment(r, vars, who)
	return s, nil
}

// environment is the whole environment of a release's processes, but for the
// marker.
func environment(r *driver.Release, vars driver.Vars, who account) map[string]string {
	env := map[string]string{"PATH": defaultPath}
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ"} {
		if value, set := os.LookupEnv(name); set {
			env[name] = value
		}
	}
	if who.credential != nil {
		delete(env, "HOME")
		if who.home != "" {
			env["HOME"] = who.home
		}
	}
	for name, value := range r.Env {
		env[name] = value
	}
	set := func(name, value string) {
		if value != "" {
			env[name] = value
		}
	}
	if vars.Port != 0 {
		env["PORT"] = fmt.Sprint(vars.Port)
	}
	set("HOST", vars.Host)
	set("SOCKET", vars.Socket)
	set("SEGUE_SERVICE", vars.Service)
	set("SEGUE_RELEASE", vars.Release)
	set("SEGUE_INSTANCE", vars.Instance)
	set("SEGUE_ARTIFACT_DIR", vars.Dir)
	set("SEGUE_RUN_DIR", vars.RunDir)
	set("TMPDIR", vars.RunDir)
	if r.Health.Notify && vars.RunDir != "" {
		env["NOTIFY_SOCKET"] = notifyPath(vars.RunDir)
	}
	return env
}

// environ is the environment as a process gets it.
func (s *surroundings) environ(marker string) []string {
	list := make([]string, 0, len(s.env)+1)
	for name, value := range s.env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return append(list, markerName+"="+marker)
}

// program finds the program that a command names: with a slash relative to the
// working directory, without one in the PATH of the release.
func (s *surroundings) program(name string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(s.workDir, name)
		}
		return name, executable(name)
	}
	var denied error
	for _, dir := range filepath.SplitList(s.env["PATH"]) {
		if !filepath.IsAbs(dir) {
			continue // it would depend on where one stands
		}
		path := filepath.Join(dir, name)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("there is no program %q in PATH (%s); a program of the artifact needs a slash, as in ./%s", name, s.env["PATH"], name)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s; is it in the artifact? (%w)", path, fs.ErrNotExist)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory, not a program", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s isn't executable; chmod +x it before it is deployed", path)
	}
	return nil
}

// spawn is what startProcess needs to know.
type spawn struct {
	path string
	args []string
	env  []string
	// out gets standard output and error; lock is inherited if it isn't nil.
	out  *os.File
	lock *os.File
	// cgroup is a directory, or empty.
	cgroup string
	// dies: the process is to be killed with the calling thread.
	dies bool
}

// startProcess starts a process as the leader of a session, and so of a group, of
// its own, and returns its pid. It has no terminal and nothing on its standard
// input. The caller reaps it.
func (s *surroundings) startProcess(sp spawn) (pid int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{
		Dir:   s.workDir,
		Env:   sp.env,
		Files: []uintptr{null.Fd(), sp.out.Fd(), sp.out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: s.account.credential},
	}
	if sp.lock != nil {
		for len(attr.Files) < lockFD {
			attr.Files = append(attr.Files, ^uintptr(0)) // closed
		}
		attr.Files = append(attr.Files, sp.lock.Fd())
	}
	if sp.dies {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	if sp.cgroup != "" {
		dir, err := os.Open(sp.cgroup)
		if err != nil {
			return 0, err
		}
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	pid, err = syscall.ForkExec(sp.path, sp.args, attr)
	if err != nil {
		return 0, s.explain(sp, err)
	}
	return pid, nil
}

// explain adds to the bare number of a failed start what is behind it.
func (s *surroundings) explain(sp spawn, err error) error {
	switch {
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%s: %w: it is for another kind of machine, or a script without a #! line", sp.path, err)
	case errors.Is(err, unix.ENOENT):
		if _, statErr := os.Stat(s.workDir); statErr != nil {
			return fmt.Errorf("the working directory: %w", statErr)
		}
		return fmt.Errorf("%s: %w: the interpreter in its #! line, or the dynamic loader that it was linked for, isn't on this machine", sp.path, err)
	case errors.Is(err, unix.EACCES):
		for _, path := range []string{filepath.Join(s.workDir, "x"), sp.path} {
			if dir := s.account.closed(path); dir != "" {
				return fmt.Errorf("%s: %w: user %s can't pass through %s; chmod o+x it", path, err, s.account.name, dir)
			}
		}
		return fmt.Errorf("%s: %w: may its user execute it, and isn't its file system mounted noexec?", sp.path, err)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%s: %w: the machine has no room for another process", sp.path, err)
	}
	return fmt.Errorf("%s: %w", sp.path, err)
}
