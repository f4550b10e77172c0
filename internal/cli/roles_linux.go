package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/daemon"
	"github.com/segue-deploy/segue/internal/proxy"
)

// newRoles are the verbs that run a part of Segue rather than talk to one.
func newRoles(o *options) []*cobra.Command { return []*cobra.Command{newServe(o), newProxy(o)} }

func newServe(o *options) *cobra.Command {
	var (
		listen           []string
		portMin, portMax int
		artifactLimit    int64
		stopAll          bool
		verbose          bool
		forProxy         proxyFlags
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon; it starts and keeps the proxy",
		Long: "Run the daemon, which deploys, and keeps a proxy running on the listening sockets.\n" +
			"When the daemon ends, traffic goes on: the proxy and all instances stay, and the next\n" +
			"daemon finds them. --stop-all stops everything on purpose.",
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := filepath.Abs(o.stateDir)
			if err != nil {
				return err
			}
			cfg := daemon.Config{
				StateDir: dir, Listen: listen, Proxy: forProxy.arguments(dir),
				PortMin: portMin, PortMax: portMax, ArtifactLimit: artifactLimit << 20,
				Version: version(), Binary: ownPath(), Logger: newLogger(cmd.ErrOrStderr(), verbose), AfterAppend: crashPoint(), AtUpgrade: upgradeCrashPoint(),
			}
			// What the proxy would refuse is refused here, where somebody reads it.
			if _, err := forProxy.config(cfg.Logger); err != nil {
				return err
			}
			if stopAll {
				return stopEverything(cmd, o, cfg)
			}
			return serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&listen, "listen", []string{":8080"}, "address for clients; may be given several times. A proxy that runs already keeps its own")
	f.IntVar(&portMin, "port-min", 20000, "first port for instances; keep the range outside of net.ipv4.ip_local_port_range")
	f.IntVar(&portMax, "port-max", 29999, "last port for instances")
	f.Int64Var(&artifactLimit, "artifact-limit", 2048, "the most that one artifact may have, in MiB")
	f.BoolVar(&stopAll, "stop-all", false, "stop the daemon, the proxy and all instances; the next daemon starts them again")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	forProxy.add(cmd)
	return cmd
}

func serve(ctx context.Context, cfg daemon.Config) error {
	d, err := daemon.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Run(ctx), d.Close()); err != nil {
		return err
	}
	return d.Become()
}

// program says what this program is.
type program = daemon.Program

func thisProgram() program {
	return program{Version: version(), Go: runtime.Version(), Journal: daemon.JournalFormat}
}

// ownPath is where the program was started from, which is where its successor will be.
func ownPath() string {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		if path, err = filepath.Abs(path); err == nil {
			return path
		}
	}
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}

// stopEverything asks the daemon, if one runs, and then makes sure itself.
func stopEverything(cmd *cobra.Command, o *options, cfg daemon.Config) error {
	ctx := cmd.Context()
	client := o.client()
	if _, err := client.Version(ctx); err == nil {
		if err := client.StopAll(ctx); err != nil {
			return err
		}
	}
	cfg.Listen = nil
	d, err := daemon.Open(ctx, cfg)
	for errors.Is(err, daemon.ErrLocked) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("not waited for: everything is being stopped")
		}
		d, err = daemon.Open(ctx, cfg)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(d.StopAll(ctx), d.Close()); err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), "stopped the daemon, the proxy and all instances; 'segue serve' starts them again")
	return nil
}

func newLogger(out io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))
}

// proxyFlags are those flags of serve that the proxy is started with.
type proxyFlags struct {
	accessLog      string
	accessLogFile  string
	trusted        []string
	maxConnections int
	answerTimeout  time.Duration
}

func (p *proxyFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.accessLog, "access-log", "off", "which requests the proxy logs: off, all, or N for one in N")
	f.StringVar(&p.accessLogFile, "access-log-file", "", "where to (default: access.log in the state directory)")
	f.StringArrayVar(&p.trusted, "trusted-proxy", nil, "address or CIDR of a proxy in front, whose X-Forwarded-* is believed; may be given several times")
	f.IntVar(&p.maxConnections, "max-connections", 0, "the most connections of clients; more wait in the kernel (0: the default of 16384)")
	f.DurationVar(&p.answerTimeout, "answer-timeout", 0, "how long an instance may take to begin its answer (0: the default of 1m)")
}

// arguments hand the flags on.
func (p *proxyFlags) arguments(stateDir string) []string {
	file := p.accessLogFile
	if file == "" {
		file = filepath.Join(stateDir, "access.log")
	}
	args := []string{
		"--access-log", p.accessLog, "--access-log-file", file,
		"--max-connections", strconv.Itoa(p.maxConnections), "--answer-timeout", p.answerTimeout.String(),
	}
	for _, t := range p.trusted {
		args = append(args, "--trusted-proxy", t)
	}
	return args
}

// config is what the proxy makes of its flags.
func (p *proxyFlags) config(logger *slog.Logger) (proxy.Config, error) {
	cfg := proxy.Config{
		Version: version(), Logger: logger,
		MaxConnections: p.maxConnections, ResponseHeaderTimeout: p.answerTimeout,
	}
	for _, t := range p.trusted {
		prefix, err := parsePrefix(t)
		if err != nil {
			return cfg, fmt.Errorf("--trusted-proxy %s: want an address or a CIDR such as 10.0.0.0/8", t)
		}
		cfg.TrustedProxies = append(cfg.TrustedProxies, prefix)
	}
	switch p.accessLog {
	case "off":
	case "all":
		cfg.AccessLog.Every = 1
	default:
		n, err := strconv.Atoi(p.accessLog)
		if err != nil || n < 1 {
			return cfg, fmt.Errorf("--access-log %s: want off, all, or a number", p.accessLog)
		}
		cfg.AccessLog.Every = n
	}
	return cfg, nil
}

// openAccessLog opens the file for appending, so that it may be truncated by
// whoever rotates it.
func (p *proxyFlags) openAccessLog(cfg *proxy.Config) error {
	if cfg.AccessLog.Every == 0 {
		return nil
	}
	file, err := os.OpenFile(p.accessLogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open the access log: %w", err)
	}
	cfg.AccessLog.Writer = file
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// newProxy is the role that the daemon starts; nobody else has its sockets.
func newProxy(_ *options) *cobra.Command {
	var (
		flags   proxyFlags
		sockets int
	)
	cmd := &cobra.Command{
		Use:    "proxy",
		Short:  "Run the proxy on sockets handed over by the daemon",
		Hidden: true,
		Args:   atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := proxyFault(); err != nil {
				return err
			}
			logger := newLogger(cmd.ErrOrStderr(), false)
			cfg, err := flags.config(logger)
			if err != nil {
				return err
			}
			if err := flags.openAccessLog(&cfg); err != nil {
				return err
			}
			control, err := inherited(daemon.ControlFile)
			if err != nil {
				return fmt.Errorf("%w; 'segue serve' starts the proxy", err)
			}
			var listeners []net.Listener
			for i := range sockets {
				l, err := inherited(daemon.ControlFile + 1 + i)
				if err != nil {
					return err
				}
				listeners = append(listeners, l)
			}
			return proxy.New(cfg).Run(cmd.Context(), listeners, control)
		},
	}
	cmd.Flags().IntVar(&sockets, "sockets", 0, "how many listening sockets were handed over")
	flags.add(cmd)
	return cmd
}

// inherited is a listening socket that the daemon passed.
func inherited(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "inherited socket")
	if f == nil {
		return nil, fmt.Errorf("descriptor %d is not open", fd)
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is no listening socket: %w", fd, err)
	}
	return l, nil
}
