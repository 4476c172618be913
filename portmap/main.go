package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "dev"

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(args, environment []string, stdout, stderr io.Writer) int {
	c, err := parseConfig(args, environment)
	var mistake usageError
	switch {
	case errors.As(err, &mistake):
		fmt.Fprintf(stderr, "pico-tracker-portmap: %v\n", err)
		return exitUsage
	case err != nil:
		fmt.Fprintf(stderr, "pico-tracker-portmap: %v\n", err)
		return exitFailure
	case c.help:
		io.WriteString(stdout, usage)
		return exitOK
	case c.version:
		fmt.Fprintf(stdout, "pico-tracker-portmap %s\n", version)
		return exitOK
	}
	l := &logger{out: stdout, err: stderr, verbose: c.debug}
	if err := serve(c, l); err != nil {
		l.error("%v", err)
		return exitFailure
	}
	return exitOK
}

// serve keeps the mapping until a signal arrives.
func serve(c *config, l *logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)

	n, err := loadNonce(c.file, machineID, c.port)
	if err != nil {
		return err
	}
	if c.file != "" {
		// What an earlier run wrote may be untrue now.
		if err := writeAddress(c.file, netip.AddrPort{}); err != nil {
			return err
		}
	}
	l.info("pico-tracker-portmap %s: asking the router for public UDP port %d to port %d", version, c.publicPort, c.port)
	hints := make(chan string, 1)
	go listenAnnouncements(ctx, c.gateway, hints, l)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-reload:
				select {
				case hints <- "SIGHUP":
				default:
				}
			}
		}
	}()
	newMapper(c, l, n).run(ctx, hints)
	return nil
}
