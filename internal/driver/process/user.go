//go:build linux

package process

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is whom an instance runs as.
type account struct {
	// credential is nil for the daemon's own user.
	credential *syscall.Credential
	name, home string
}

// findAccount looks a user up by name or number. A number without an entry in the
// user database stands for itself, with a group of the same number.
func findAccount(nameOrUID string) (account, error) {
	if nameOrUID == "" {
		return account{}, nil
	}
	u, err := lookup(nameOrUID)
	if err != nil {
		return account{}, fmt.Errorf("run as user %s: %w", nameOrUID, err)
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	if uerr != nil || gerr != nil {
		return account{}, fmt.Errorf("run as user %s: its numbers are %q and %q", nameOrUID, u.Uid, u.Gid)
	}
	switch os.Geteuid() {
	case int(uid):
		return account{}, nil
	case 0:
	default:
		return account{}, fmt.Errorf("run as user %s: only root can change the user; run the daemon as root or as %s, or take user out of segue.yaml", nameOrUID, nameOrUID)
	}
	credential := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{uint32(gid)}}
	if u.Username != "" {
		ids, err := u.GroupIds()
		if err != nil {
			return account{}, fmt.Errorf("run as user %s: look up its groups: %w", nameOrUID, err)
		}
		for _, id := range ids {
			if n, err := strconv.ParseUint(id, 10, 32); err == nil && n != gid {
				credential.Groups = append(credential.Groups, uint32(n))
			}
		}
	}
	return account{credential, nameOrUID, u.HomeDir}, nil
}

func lookup(nameOrUID string) (*user.User, error) {
	u, err := user.Lookup(nameOrUID)
	if err == nil {
		return u, nil
	}
	if _, notNumber := strconv.ParseUint(nameOrUID, 10, 32); notNumber != nil {
		return nil, fmt.Errorf("there is no such user on this machine; create it, for example by useradd --system %s", nameOrUID)
	}
	if u, err := user.LookupId(nameOrUID); err == nil {
		return u, nil
	}
	return &user.User{Uid: nameOrUID, Gid: nameOrUID}, nil
}

// own gives a file or directory to the account.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Lchown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// closed returns the outermost directory on the way to path that the account can't
// pass through, as far as permission bits tell, or "".
func (a account) closed(path string) string {
	if a.credential == nil || path == "/" || !filepath.IsAbs(path) {
		return ""
	}
	dir := filepath.Dir(path)
	if outer := a.closed(dir); outer != "" {
		return outer
	}
	info, err := os.Stat(dir)
	if err != nil || a.mayPass(info) {
		return ""
	}
	return dir
}

func (a account) mayPass(info os.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || a.credential.Uid == 0 {
		return true
	}
	mode := info.Mode().Perm()
	if owner.Uid == a.credential.Uid {
		return mode&0o100 != 0
	}
	for _, gid := range a.credential.Groups {
		if gid == owner.Gid {
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}
