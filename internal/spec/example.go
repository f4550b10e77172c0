package spec

import (
	"strings"
)

// Example returns the commented segue.yaml that a service starts with; service
// must be a valid name. It shows what most services set, and the rest commented
// out with its defaults.
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
    # host: localhost
    # status: 200           # without it any 2xx or 3xx
  # tcp: true               # instead of http: a connection is accepted
  # command: ["./check"]    # instead of http: exit code 0
  interval: 1s
  timeout: 5s
  start_deadline: 60s
  # healthy: 1
  # unhealthy: 3

# Tests of the new release before it gets traffic.
smoke:
  - http:
      path: /
      status: 200
      # method: GET
      # headers: {Accept: text/html}
      # body: ""
      # contains: "Welcome"
    # timeout: 30s
  # - command: ["./smoke-test"]   # gets the address in SEGUE_CANDIDATE

# How traffic moves: all at once to the new release beside the old one, which is
# watched for the bake time and taken back when more answers fail than this.
strategy:
  blue-green:
    bake: 10s
    max_errors: 5%
    # min_requests: 20

# How long requests in flight may take to finish on the old release, and how
# long it stays warm for a rollback in no time.
drain: 30s
warm: 10m

# ${NAME} is the variable NAME of Segue's own environment, $$ a dollar sign.
# env:
#   LOG_LEVEL: info
#   DATABASE_URL: ${DATABASE_URL}
# env_file: service.env

# dir: ""              # working directory in the artifact
# listen: port         # or socket: a unix socket in {{.Socket}} and SOCKET
# user: ""             # whom to run as; Segue's own user without it
# limits:              # per instance; none by default
#   memory: 512MiB
#   cpu: 0.5
#   processes: 100
# stop_grace: 10s      # between SIGTERM and SIGKILL
# keep: 5              # old releases on disk
# logs:
#   max_size: 10MiB
`
