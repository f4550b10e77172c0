//go:build !linux

package proxy

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// The command line runs elsewhere, too, and asks a proxy on Linux. What follows is never
// reached, since there is no poller.

const (
	wakerSlot    = -1
	listenerSlot = -2
)

type poller struct{}

type event struct {
	ticket
	readable, writable, ended, broken bool
}

func newPoller() (*poller, error) { return nil, errors.New("the proxy runs on Linux only") }

func (p *poller) close()                                {}
func (p *poller) add(int, ticket) error                 { return syscall.ENOSYS }
func (p *poller) addListener(int, int) error            { return syscall.ENOSYS }
func (p *poller) remove(int)                            {}
func (p *poller) wake()                                 {}
func (p *poller) wait(time.Duration) int                { return 0 }
func (p *poller) event(int) event                       { return event{} }
func readFD(int, []byte) (int, syscall.Errno)           { return 0, syscall.ENOSYS }
func writeFD(int, []byte) (int, syscall.Errno)          { return 0, syscall.ENOSYS }
func writevFD(int, []byte, []byte) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func peekFD(int) syscall.Errno                          { return syscall.ENOSYS }
func closeFD(int)                                       {}
func shutdownWriteFD(int)                               {}
func resetFD(int)                                       {}
func acceptFD(int) (int, netip.Addr, syscall.Errno)     { return -1, netip.Addr{}, syscall.ENOSYS }
func peerOf(int) netip.Addr                             { return netip.Addr{} }
func connectedFD(int) error                             { return syscall.ENOSYS }
func listenerFD(net.Listener) (int, error)              { return -1, syscall.ENOSYS }
func ackedFD(int) int64                                 { return -1 }
func connOf(int) (net.Conn, error)                      { return nil, syscall.ENOSYS }
func connectFD(address) (int, bool, error)              { return -1, false, syscall.ENOSYS }

type address struct{ network, text string }

func addressOf(network, text string) (address, error) {
	if network != "unix" {
		if _, err := netip.ParseAddrPort(text); err != nil {
			return address{}, errors.New("its address is no IP:port")
		}
	}
	return address{network, text}, nil
}

func newPipe() *pipe { return nil }

func spliceFD(int, int, int) (int, syscall.Errno) { return 0, syscall.ENOSYS }
