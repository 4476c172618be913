package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file reads the command line and the environment.

const usage = `Usage: pico-tracker-portmap [flags]

Asks the router in front of this machine to forward a UDP port to pico-tracker
and to tell its public address. Writes the address to a file for
pico-tracker -external-ip FILE. Removes the mapping when it stops.

  -port PORT            port of the tracker on this machine (default 1337)
  -public-port PORT     port to ask the router for (default: the value of -port);
                        if it is taken, the router gives another one and the log
                        has the address to use in torrents
  -file FILE            write the public address to this file; the directory must
                        exist. On systems without /etc/machine-id the key of the
                        mapping is in FILE.state
  -protocols LIST       protocols to try, in this order
                        (default pcp,nat-pmp,upnp)
  -gateway ADDRESS      the router (default: the gateway of the default route)
  -lifetime TIME        how long the router keeps the mapping if this program
                        dies, 2m to 24h (default 1h)
  -check TIME           how often to renew the mapping and look for a new public
                        address, 1s to 1h (default 1m)
  -debug                log every request
  -version              print the version
  -help                 print this

Each of these flags except -version and -help can be set by an environment
variable: PICO_TRACKER_PORTMAP__ and the name in capitals with _ for -, for
example PICO_TRACKER_PORTMAP__PUBLIC_PORT. A flag wins over its variable.
-port also has the tracker's variable, PICO_TRACKER__PORT.

SIGHUP asks the router now. SIGTERM and SIGINT remove the mapping and exit.
Exit codes: 0 stopped, 1 failure, 2 wrong flag or variable.
`

const (
	variablePrefix  = "PICO_TRACKER_PORTMAP__"
	trackerVariable = "PICO_TRACKER__PORT"
)

// config is what the user chose.
type config struct {
	port, publicPort uint16
	file             string
	protocols        []string
	gateway          netip.Addr // not valid: the default gateway
	lifetime, check  time.Duration
	debug            bool
	version, help    bool
}

// usageError is a mistake on the command line or in the environment.
type usageError string

func (e usageError) Error() string { return string(e) }

// parseConfig reads the command line and the environment ("NAME=value"). All its
// errors are usage errors.
func parseConfig(args, environment []string) (*config, error) {
	c := &config{port: 1337, protocols: protocolNames, lifetime: time.Hour, check: time.Minute}
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Func("port", "", portValue(&c.port))
	set.Func("public-port", "", portValue(&c.publicPort))
	set.Func("file", "", func(v string) error {
		if c.file = v; v == "" || strings.HasSuffix(v, "/") {
			return errors.New("want the path of a file")
		}
		return nil
	})
	set.Func("protocols", "", func(v string) (err error) {
		c.protocols, err = parseProtocols(v)
		return err
	})
	set.Func("gateway", "", func(v string) (err error) {
		if c.gateway, err = netip.ParseAddr(v); err != nil || !c.gateway.Is4() || c.gateway.IsUnspecified() {
			return errors.New("want an IPv4 address, for example 192.168.1.1")
		}
		return nil
	})
	set.Func("lifetime", "", timeValue(&c.lifetime, minLifetime, maxLifetime, "2m to 24h, for example 1h"))
	set.Func("check", "", timeValue(&c.check, time.Second, time.Hour, "1s to 1h, for example 1m"))
	set.BoolFunc("debug", "", boolValue(&c.debug))
	set.BoolFunc("version", "", boolValue(&c.version))
	set.BoolFunc("v", "", boolValue(&c.version))
	set.BoolFunc("help", "", boolValue(&c.help))
	set.BoolFunc("h", "", boolValue(&c.help))

	// Help and version work even if something else is wrong.
	for _, a := range args {
		switch a {
		case "-help", "--help", "-h", "--h":
			return &config{help: true}, nil
		case "-version", "--version", "-v", "--v":
			return &config{version: true}, nil
		}
	}
	if err := applyEnvironment(set, environment); err != nil {
		return nil, err
	}
	if err := set.Parse(args); err != nil {
		return nil, usageError(plainFlagError(err))
	}
	if set.NArg() > 0 {
		return nil, usageError(fmt.Sprintf("unexpected argument %q; -help lists the flags", set.Arg(0)))
	}
	if c.publicPort == 0 {
		c.publicPort = c.port
	}
	return c, nil
}

// applyEnvironment sets flags from their variables. An empty variable counts as
// not set, as compose files and init scripts expect.
func applyEnvironment(set *flag.FlagSet, environment []string) error {
	values := map[string]string{}
	for _, e := range environment {
		if name, value, ok := strings.Cut(e, "="); ok && value != "" {
			values[name] = value
		}
	}
	apply := func(name, variable string) error {
		value, ok := values[variable]
		if !ok {
			return nil
		}
		if err := set.Set(name, value); err != nil {
			return usageError(fmt.Sprintf("%s %q: %v", variable, value, err))
		}
		return nil
	}
	if err := apply("port", trackerVariable); err != nil {
		return err
	}
	var failure error
	known := map[string]bool{}
	set.VisitAll(func(f *flag.Flag) {
		if len(f.Name) == 1 || f.Name == "help" || f.Name == "version" {
			return
		}
		variable := variablePrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		known[variable] = true
		if err := apply(f.Name, variable); failure == nil {
			failure = err
		}
	})
	for name := range values {
		if strings.HasPrefix(name, variablePrefix) && !known[name] && failure == nil {
			failure = usageError(name + ": no such variable; -help lists the flags")
		}
	}
	return failure
}

// plainFlagError gives an error of the flag package the words of the others.
func plainFlagError(err error) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: "); ok {
		return name + ": no such flag; -help lists them"
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return name + ": want a value"
	}
	text = strings.Replace(text, "invalid boolean value ", "invalid value ", 1)
	if rest, ok := strings.CutPrefix(text, "invalid value "); ok {
		if value, rest, ok := strings.Cut(rest, " for "); ok {
			if _, rest, ok = strings.Cut(rest, "-"); ok {
				name, reason, _ := strings.Cut(rest, ": ")
				return fmt.Sprintf("-%s %s: %s", name, value, reason)
			}
		}
	}
	return text
}

func portValue(field *uint16) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		if *field = uint16(n); err != nil || n == 0 {
			return errors.New("want a port number from 1 to 65535")
		}
		return nil
	}
}

func timeValue(field *time.Duration, least, most time.Duration, wants string) func(string) error {
	return func(v string) (err error) {
		if *field, err = time.ParseDuration(v); err != nil || *field < least || *field > most {
			return errors.New("want a time from " + wants)
		}
		return nil
	}
}

func boolValue(field *bool) func(string) error {
	return func(v string) (err error) {
		if *field, err = strconv.ParseBool(v); err != nil {
			return errors.New("want true or false")
		}
		return nil
	}
}

func parseProtocols(v string) ([]string, error) {
	var names []string
	for _, part := range strings.Split(v, ",") {
		name := strings.TrimSpace(part)
		if !slices.Contains(protocolNames, name) || slices.Contains(names, name) {
			return nil, errors.New("want some of " + strings.Join(protocolNames, ",") + ", each once")
		}
		names = append(names, name)
	}
	return names, nil
}
