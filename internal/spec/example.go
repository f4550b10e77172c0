package spec

import (
	"strings"
)

// Example returns the commented segue.yaml that a service starts with; service
// must be a valid name. It shows what most services set, some of it commented out;
// everything else is in the guide.
func Example(service string) []byte {
	return []byte(strings.ReplaceAll(example, "SERVICE", service))
}

const example = `# What the service is, how a release of it starts, is proved and gets traffic.
# "segue validate" checks this file, "segue plan" says what a deploy would do.

service: SERVICE

# The file or directory to release. Instances run from Segue's own copy of it.
artifact: .

# How to start an instance. It must listen on the port it is given: here as an
# argument, and in the environment as PORT. {{.Socket}}, {{.RunDir}},
# {{.Release}}, {{.Instance}} and others can be used, too; keep the quotes.
command: ["python3", "-m", "http.server", "--bind", "127.0.0.1", "{{.Port}}"]

# How many copies run.
instances: 2

# Which requests the service gets. Without hosts: all that no other service names.
route:
  hosts: []
  # hosts: [example.com, "*.example.com"]
  # paths: [/]

# When an instance is ready.
health:
  http:
    path: /
    # status: 200           # without it any 2xx or 3xx
  # tcp: true               # instead of http: a connection is accepted
  # command: ["./check"]    # instead of http: exit code 0
  # start_deadline: 60s     # how long it may take to get ready

# Tests of the new release before it gets traffic.
smoke:
  - http:
      path: /
      status: 200
      # contains: "Welcome"
      # json: {"$.status": "ok"}
  # - command: ["./smoke-test"]   # gets the address in SEGUE_CANDIDATE

# How traffic moves: all at once to the new release beside the old one, which is
# watched for the bake time. Others: canary (in steps), rolling (instance by
# instance), exclusive (never two at once), worker (no requests at all).
strategy:
  blue-green:
    bake: 10s

# While it is watched, a release is taken back when more of its answers fail.
guard:
  max_errors: 5%

# Commands at moments of a deployment.
# hooks:
#   before_start:
#     - command: ["./migrate"]

# How long requests in flight may take to finish on the old release, and how
# long it stays warm for a rollback in no time.
drain: 30s
warm: 10m

# ${NAME} is the variable NAME of Segue's own environment, $$ a dollar sign.
# env:
#   LOG_LEVEL: info
#   DATABASE_URL: ${DATABASE_URL}
# env_file: service.env

# listen: port         # or socket: a unix socket in {{.Socket}} and SOCKET
# protocol: http       # or h2c: HTTP/2 without TLS, as a gRPC server speaks it
# stop_signal: TERM    # what asks an instance to stop
# stop_grace: 10s      # how long it then has
# limits:              # per instance; none by default
#   memory: 512MiB
#   cpu: 0.5
`
