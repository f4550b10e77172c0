package main

import "net"

// notify sends a line such as READY=1 to the socket, as sd_notify(3) does; a path
// that begins with "@" is in the abstract name space. Without a socket nobody wants
// to know.
func notify(socket, line string) error {
	if socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(line))
	return err
}
