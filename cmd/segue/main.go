// Command segue puts a new release of a running service in place so that
// nobody who uses it can tell.
package main

import "github.com/segue-deploy/segue/internal/cli"

func main() { cli.Main() }
