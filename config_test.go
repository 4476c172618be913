package main

import (
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// text is what a flag has set, to compare.
func (c *config) text(name string) string {
	switch name {
	case "port":
		return fmt.Sprint(c.port)
	case "listen":
		return fmt.Sprint(c.listen)
	case "interface":
		return fmt.Sprint(c.interfaces)
	case "secret":
		return string(c.secret)
	case "secret-file":
		return c.secretFile
	case "whitelist":
		return c.whitelist
	case "blacklist":
		return c.blacklist
	case "memory":
		return fmt.Sprint(c.memory)
	case "interval":
		return fmt.Sprint(c.interval)
	case "workers":
		return fmt.Sprint(c.workers)
	case "scope":
		return fmt.Sprint(c.scopes)
	case "isolate":
		return fmt.Sprintf("%d+%d", c.isolated.n[0], c.isolated.n[1])
	case "external-ip":
		if c.externalFile != "" {
			return c.externalFile
		}
		if c.externalAuto {
			return "auto"
		}
		var all []string
		for _, a := range []ipaddr.Addr{{IP: string(c.external4[:])}, {IP: string(c.external6[:])}} {
			if !a.IsUnspecified() {
				all = append(all, a.String())
			}
		}
		return strings.Join(all, " ")
	case "connect-limit":
		return fmt.Sprint(c.connectLimit)
	case "scrape-limit":
		return fmt.Sprint(c.scrapeLimit)
	case "debug":
		return fmt.Sprint(c.debug)
	case "plan":
		return fmt.Sprint(c.plan)
	case "probe":
		return c.probe
	case "probe-scrape":
		return fmt.Sprint(c.probeScrape)
	case "probe-announce":
		return fmt.Sprint(c.probeAnnounce)
	case "version":
		return fmt.Sprint(c.version)
	case "help":
		return fmt.Sprint(c.help)
	}
	return "no such flag: " + name
}

// flagValue is a value and what it means, or a part of the error for it.
type flagValue struct{ value, want string }

// flagCase are the valid and invalid values of a flag.
type flagCase struct {
	name, short    string
	valid, invalid []flagValue
}

var flagCases = []flagCase{
	{name: "port", short: "p", valid: []flagValue{
		{value: "1", want: "1"},
		{value: "01", want: "1"},
		{value: "6969", want: "6969"},
		{value: "65535", want: "65535"},
	}, invalid: []flagValue{
		{value: "0", want: "1 to 65535"},
		{value: "-1", want: "1 to 65535"},
		{value: "1 ", want: "1 to 65535"},
		{value: "1e3", want: "1 to 65535"},
		{value: "0x10", want: "1 to 65535"},
		{value: "http", want: "1 to 65535"},
		{value: "65536", want: "1 to 65535"},
		{value: "18446744073709551617", want: "1 to 65535"},
	}},
	{name: "listen", valid: []flagValue{
		{value: "::1", want: "[::1]"},
		{value: "[::1]", want: "[::1]"},
		{value: "127.0.0.1", want: "[127.0.0.1]"},
		{value: "fe80::1%2", want: "[fe80::1%2]"},
		{value: "0.0.0.0,[::]", want: "[0.0.0.0 ::]"},
		{value: "fe80::1%eth0", want: "[fe80::1%eth0]"},
		{value: "[fe80::1%eth0],[fe80::1%eth1]", want: "[fe80::1%eth0 fe80::1%eth1]"},
		{value: " 192.0.2.1 , [2001:db8::1] ,::1", want: "[192.0.2.1 2001:db8::1 ::1]"},
	}, invalid: []flagValue{
		{value: ",", want: "IP addresses"},
		{value: "::%2", want: "IP addresses"},
		{value: "::1]", want: "IP addresses"},
		{value: "[::1", want: "IP addresses"},
		{value: "1.2.3", want: "IP addresses"},
		{value: "[::1]:80", want: "IP addresses"},
		{value: "256.0.0.1", want: "IP addresses"},
		{value: "localhost", want: "IP addresses"},
		{value: "127.0.0.1,", want: "IP addresses"},
		{value: "127.0.0.1:80", want: "IP addresses"},
		{value: "127.0.0.1 ::1", want: "IP addresses"},
		{value: "::ffff:192.0.2.1", want: "IP addresses"},
		{value: "::1,[0::1]", want: "the same address twice"},
		{value: "0.0.0.0,0.0.0.0", want: "the same address twice"},
	}},
	{name: "interface", valid: []flagValue{
		{value: "1-2", want: "[1-2]"},
		{value: "wan", want: "[wan]"},
		{value: "a,b,a", want: "[a b]"},
		{value: "wlan0-123456789", want: "[wlan0-123456789]"},
		{value: "br-lan, eth0.2,lan", want: "[br-lan eth0.2 lan]"},
	}, invalid: []flagValue{
		{value: ",", want: "names of interfaces"},
		{value: "7", want: "names of interfaces"},
		{value: "a b", want: "names of interfaces"},
		{value: "a%b", want: "names of interfaces"},
		{value: "a/b", want: "names of interfaces"},
		{value: "wan,", want: "names of interfaces"},
		{value: "0123456789abcdef", want: "names of interfaces"},
	}},
	{name: "secret", short: "s", valid: []flagValue{
		{value: "x", want: "x"},
		{value: "-port", want: "-port"},
		{value: " a b=c ", want: " a b=c "},
		{value: "päßword", want: "päßword"},
	}},
	{name: "secret-file", valid: []flagValue{
		{value: "/a", want: "/a"},
		{value: "b=c", want: "b=c"},
	}},
	{name: "whitelist", short: "w", valid: []flagValue{
		{value: "-", want: "-"},
		{value: "/a", want: "/a"},
	}},
	{name: "blacklist", valid: []flagValue{
		{value: "/a", want: "/a"},
	}},
	{name: "memory", valid: []flagValue{
		{value: "1", want: "1"},
		{value: "1G", want: "1073741824"},
		{value: "16M", want: "16777216"},
		{value: "16m", want: "16777216"},
		{value: "16MB", want: "16777216"},
		{value: "auto", want: "0"},
		{value: "16MiB", want: "16777216"},
		{value: "8192K", want: "8388608"},
		{value: "8388608", want: "8388608"},
	}, invalid: []flagValue{
		{value: "0", want: "16M or 1G"},
		{value: "M", want: "16M or 1G"},
		{value: "-1", want: "16M or 1G"},
		{value: "0M", want: "16M or 1G"},
		{value: "16I", want: "16M or 1G"},
		{value: "16T", want: "16M or 1G"},
		{value: "1.5G", want: "16M or 1G"},
		{value: "16 M", want: "16M or 1G"},
		{value: "16MI", want: "16M or 1G"},
		{value: "16MK", want: "16M or 1G"},
		{value: "lots", want: "16M or 1G"},
		{value: "16MBB", want: "16M or 1G"},
		{value: "17179869184G", want: "16M or 1G"},
		{value: "18446744073709551615", want: "16M or 1G"},
		{value: "18446744073709551616", want: "16M or 1G"},
		{value: "1000G", want: "the most on this processor"},
		{value: fmt.Sprint(int64(maxMemory) + 1), want: "the most on this processor"},
	}},
	{name: "interval", valid: []flagValue{
		{value: "1m", want: "60"},
		{value: "2h", want: "7200"},
		{value: "15m", want: "900"},
		{value: "60s", want: "60"},
		{value: "90s", want: "90"},
		{value: "900s", want: "900"},
		{value: "1h30m", want: "5400"},
		{value: "119m59.9s", want: "7199"},
	}, invalid: []flagValue{
		{value: "0", want: "1m to 2h"},
		{value: "15", want: "1m to 2h"},
		{value: "59s", want: "1m to 2h"},
		{value: "900", want: "1m to 2h"},
		{value: "-15m", want: "1m to 2h"},
		{value: "soon", want: "1m to 2h"},
		{value: "2h1ns", want: "1m to 2h"},
		{value: "2h0m1s", want: "1m to 2h"},
		{value: "59.999s", want: "1m to 2h"},
	}},
	{name: "workers", valid: []flagValue{
		{value: "1", want: "1"},
		{value: "64", want: "64"},
	}, invalid: []flagValue{
		{value: "0", want: "1 to 64"},
		{value: "-1", want: "1 to 64"},
		{value: "65", want: "1 to 64"},
		{value: "1.5", want: "1 to 64"},
		{value: "two", want: "1 to 64"},
	}},
	{name: "scope", valid: []flagValue{
		{value: "off", want: "false"},
		{value: "auto", want: "true"},
	}, invalid: []flagValue{
		{value: "on", want: "auto or off"},
		{value: "AUTO", want: "auto or off"},
		{value: "false", want: "auto or off"},
	}},
	{name: "isolate", valid: []flagValue{
		{value: "none", want: "0+0"},
		{value: "10.0.0.0/8", want: "2+2"},
		{value: "none,200::/7", want: "0+1"},
		{value: "100.64.0.0/10", want: "1+2"},
		{value: "192.168.2.1/24", want: "2+2"},
		{value: "192.168.2.0/24, fd00:2::/64", want: "2+3"},
		{value: "172.16.0.0/12,192.168.0.0/16,fc00::/7", want: "3+3"},
	}, invalid: []flagValue{
		{value: ",", want: "private prefixes"},
		{value: "guest", want: "private prefixes"},
		{value: "192.168.2.0", want: "private prefixes"},
		{value: "fd00:2::%eth0/64", want: "private prefixes"},
		{value: "10.0.0.0/7", want: "want a prefix of 8 bits or more"},
		{value: "10.0.0.0/33", want: "want a prefix of 8 bits or more"},
		{value: "fd00::/6", want: "want a prefix of 7 bits or more"},
		{value: "fd00::/129", want: "want a prefix of 7 bits or more"},
		{value: "192.168.0.0/15", want: "192.168.0.0/15 is not a private network"},
		{value: "203.0.113.0/24", want: "203.0.113.0/24 is not a private network"},
		{value: "2001:db8::/64", want: "2001:db8::/64 is not a private network"},
		{value: "fe80::/64", want: "fe80::/64 is not a private network"},
		{value: "192.168.2.0/24,none", want: "private prefixes"},
	}},
	{name: "external-ip", valid: []flagValue{
		{value: "auto", want: "auto"},
		{value: "./address", want: "./address"},
		{value: "100.128.0.1", want: "100.128.0.1"},
		{value: "2001:db8::7", want: "2001:db8::7"},
		{value: "203.0.113.7", want: "203.0.113.7"},
		{value: "[2001:db8::7], 8.8.8.8", want: "8.8.8.8 2001:db8::7"},
		{value: "/run/pico-tracker/address", want: "/run/pico-tracker/address"},
	}, invalid: []flagValue{
		{value: "192.168.1.1", want: "192.168.1.1 is a private or reserved address"},
		{value: "off", want: "IPv4 address"},
		{value: "auto,8.8.8.8", want: "IPv4 address"},
		{value: "fe80::1%eth0", want: "IPv4 address"},
		{value: "::ffff:8.8.8.8", want: "IPv4 address"},
		{value: "8.8.8.8,2001:db8::1,2001:db8::2", want: "IPv4 address"},
		{value: "8.8.8.8,fd00::1", want: "fd00::1 is a private or reserved address"},
		{value: "::", want: "is a private or reserved address"},
		{value: "0.0.0.0", want: "is a private or reserved address"},
		{value: "127.0.0.1", want: "is a private or reserved address"},
		{value: "224.0.0.1", want: "is a private or reserved address"},
		{value: "100.64.0.1", want: "is a private or reserved address"},
		{value: "8.8.8.8,8.8.4.4", want: "two IPv4 addresses"},
	}},
	{name: "connect-limit", valid: []flagValue{
		{value: "0", want: "0"},
		{value: "1", want: "1"},
		{value: "1000000", want: "1000000"},
	}, invalid: []flagValue{
		{value: "-1", want: "0 to 1000000"},
		{value: "many", want: "0 to 1000000"},
		{value: "1000001", want: "0 to 1000000"},
	}},
	{name: "scrape-limit", valid: []flagValue{
		{value: "1", want: "1"},
		{value: "102", want: "102"},
	}, invalid: []flagValue{
		{value: "0", want: "1 to 102"},
		{value: "103", want: "1 to 102"},
		{value: "all", want: "1 to 102"},
	}},
	{name: "debug", short: "d", valid: []flagValue{
		{value: "0", want: "false"},
		{value: "1", want: "true"},
		{value: "F", want: "false"},
		{value: "t", want: "true"},
		{value: "TRUE", want: "true"},
		{value: "true", want: "true"},
		{value: "false", want: "false"},
	}, invalid: []flagValue{
		{value: "2", want: "true or false"},
		{value: "yes", want: "true or false"},
		{value: "maybe", want: "true or false"},
	}},
}

// TestFlags checks each flag in each spelling, from the command line and from
// the environment. An error has the origin, the value and the valid values. The
// exit code is 2.
func TestFlags(t *testing.T) {
	for _, c := range flagCases {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "interface" && !udp.BindsInterfaces {
				return // TestInterfaces has the error
			}
			for _, v := range c.valid {
				c.checkValid(t, v)
			}
			for _, v := range c.invalid {
				c.checkInvalid(t, v)
			}
			c.checkMissing(t)
		})
	}
}

func (c *flagCase) variable() string {
	return "PICO_TRACKER__" + strings.ReplaceAll(strings.ToUpper(c.name), "-", "_")
}

// spellings are the ways to give the flag a value. A boolean needs the "=".
func (c *flagCase) spellings(value string) (all [][]string) {
	for _, name := range []string{c.name, c.short} {
		if name == "" {
			continue
		}
		all = append(all, []string{"-" + name + "=" + value}, []string{"--" + name + "=" + value})
		if c.name != "debug" {
			all = append(all, []string{"-" + name, value}, []string{"--" + name, value})
		}
	}
	return all
}

func (c *flagCase) checkValid(t *testing.T, v flagValue) {
	t.Helper()
	for _, args := range c.spellings(v.value) {
		if got, err := parseConfig(args, nil); err != nil || got.text(c.name) != v.want {
			t.Errorf("%q: got %v, %v, want %s", args, got, err, v.want)
		}
	}
	env := []string{c.variable() + "=" + v.value}
	if got, err := parseConfig(nil, env); err != nil || got.text(c.name) != v.want {
		t.Errorf("%q: got %v, %v, want %s", env, got, err, v.want)
	}
}

func (c *flagCase) checkInvalid(t *testing.T, v flagValue) {
	t.Helper()
	shown := " " + strconv.Quote(v.value) + ": "
	for _, args := range c.spellings(v.value) {
		expectUsageError(t, args, nil, "-"+c.name+shown, v.want)
	}
	expectUsageError(t, nil, []string{c.variable() + "=" + v.value}, c.variable()+shown, v.want)
}

// checkMissing: an empty flag is an error; an empty variable counts as not set.
func (c *flagCase) checkMissing(t *testing.T) {
	t.Helper()
	expectUsageError(t, []string{"-" + c.name + "="}, nil, "-"+c.name, "want ")
	if c.name != "debug" {
		expectUsageError(t, []string{"-" + c.name}, nil, "-"+c.name+": the value is missing; want ")
	}
	want, err := parseConfig(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	env := []string{c.variable() + "="}
	if got, err := parseConfig(nil, env); err != nil || got.text(c.name) != want.text(c.name) {
		t.Errorf("%q: got %v, %v, want the default %s", env, got, err, want.text(c.name))
	}
}

// program runs the program to its end. Should it get as far as serving, it is
// told to stop at once.
func program(args, env []string) (code int, stdout, stderr string) {
	var out, log logLines
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	code = run(signals, args, env, &out, &log)
	return code, out.String(), log.String()
}

// expectUsageError runs the program, which must exit with 2 and say why in its
// last line.
func expectUsageError(t *testing.T, args, env []string, parts ...string) {
	t.Helper()
	expectError(t, 2, args, env, parts...)
}

// expectFailure runs the program, which must exit with 1 and say why in its
// last line.
func expectFailure(t *testing.T, args, env []string, parts ...string) {
	t.Helper()
	expectError(t, 1, args, env, parts...)
}

func expectError(t *testing.T, want int, args, env []string, parts ...string) {
	t.Helper()
	code, stdout, stderr := program(args, env)
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	last := lines[len(lines)-1]
	ok := code == want && stdout == "" && strings.HasPrefix(last, "[ERROR] ") && strings.Count(stderr, "[ERROR]") == 1
	for _, p := range parts {
		ok = ok && strings.Contains(last, p)
	}
	if !ok {
		t.Errorf("%q %q: exit %d, %q, %q; want %d and %q", args, env, code, stdout, stderr, want, parts)
	}
}

func TestDefaults(t *testing.T) {
	c, err := parseConfig(nil, []string{"PATH=/bin", "HOME", "=x", ""})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"port": "1337", "listen": "[0.0.0.0 ::]", "interface": "[]", "secret": "", "secret-file": "", "whitelist": "", "blacklist": "", "memory": "0",
		"interval": "900", "scope": "true", "external-ip": "", "isolate": "1+2", "connect-limit": "10000", "scrape-limit": "102", "debug": "false", "version": "false", "help": "false", "probe": "",
	} {
		if got := c.text(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if c.workers < 1 || c.workers > maxWorkers {
		t.Errorf("%d workers", c.workers)
	}
}

// TestPrecedence checks that a flag wins over the environment, the last of two
// flags over the first, and the tracker's own variable over DEBUG.
func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		args, env  []string
		name, want string
	}{
		{args: []string{"-port=1"}, env: []string{"PICO_TRACKER__PORT=2"}, name: "port", want: "1"},
		{env: []string{"PICO_TRACKER__PORT=2"}, name: "port", want: "2"},
		{args: []string{"-port=1", "-p", "3"}, name: "port", want: "3"},
		{args: []string{"-p=3", "--port=1"}, env: []string{"PICO_TRACKER__PORT=bad"}, name: "port", want: "1"},
		{args: []string{"-connect-limit=0"}, env: []string{"PICO_TRACKER__CONNECT_LIMIT=5"}, name: "connect-limit", want: "0"},
		{env: []string{"DEBUG=1"}, name: "debug", want: "true"},
		{env: []string{"DEBUG=0"}, name: "debug", want: "false"},
		{env: []string{"DEBUG=false"}, name: "debug", want: "false"},
		{env: []string{"DEBUG="}, name: "debug", want: "false"},
		{env: []string{"DEBUG=0", "PICO_TRACKER__DEBUG=1"}, name: "debug", want: "true"},
		{env: []string{"DEBUG=1", "PICO_TRACKER__DEBUG=0"}, name: "debug", want: "false"},
		{env: []string{"DEBUG=1", "PICO_TRACKER__DEBUG="}, name: "debug", want: "true"},
		{args: []string{"-debug=false"}, env: []string{"DEBUG=1"}, name: "debug", want: "false"},
		{args: []string{"-d"}, env: []string{"DEBUG=0"}, name: "debug", want: "true"},
		{env: []string{"DEBUG=app:*"}, name: "debug", want: "false"},
		{env: []string{"DEBUG=*"}, name: "debug", want: "false"},
		{env: []string{"PORT=99"}, name: "port", want: "1337"},
		{args: []string{"-listen=127.0.0.1", "-listen=::1"}, name: "listen", want: "[::1]"},
	} {
		got, err := parseConfig(c.args, c.env)
		if err != nil || got.text(c.name) != c.want {
			t.Errorf("%q %q: %v, %v, want %s", c.args, c.env, got, err, c.want)
		}
	}
}

// TestInterfaces checks that several -interface flags add up, and that each
// address is bound on each interface, except an address that names its
// interface.
func TestInterfaces(t *testing.T) {
	if !udp.BindsInterfaces {
		expectUsageError(t, []string{"-interface=lo"}, nil, "not supported on this system; use -listen")
		return
	}
	for _, c := range []struct {
		args, env []string
		want      string
	}{
		{args: []string{"-interface=lan", "-interface", "wan,lo"}, env: []string{"PICO_TRACKER__INTERFACE=x"}, want: "[0.0.0.0%lan 0.0.0.0%wan 0.0.0.0%lo ::%lan ::%wan ::%lo]"},
		{args: []string{"-listen=fe80::1%eth0,127.0.0.1"}, env: []string{"PICO_TRACKER__INTERFACE=lan,wan"}, want: "[fe80::1%eth0 127.0.0.1%lan 127.0.0.1%wan]"},
		{args: []string{"-listen=::%wan"}, want: "[::%wan]"},
	} {
		got, err := parseConfig(c.args, c.env)
		if err != nil || got.text("listen") != c.want {
			t.Errorf("%q %q: %v, %v, want %s", c.args, c.env, got, err, c.want)
		}
	}
	// Sockets are sockets to the memory.
	interfaces, err := parseConfig([]string{"-memory=64M", "-workers=1", "-interface=a,b"}, nil)
	workers, err2 := parseConfig([]string{"-memory=64M", "-workers=2"}, nil)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	l1, err := interfaces.memoryPlan()
	l2, err2 := workers.memoryPlan()
	if err != nil || err2 != nil || l1 != l2 {
		t.Errorf("on two interfaces %+v, %v; with two workers %+v, %v", l1, err, l2, err2)
	}
}

// TestUnknownFlags are not guessed at. Their values are not repeated.
func TestUnknownFlags(t *testing.T) {
	for arg, want := range map[string]string{
		"-nope": `unknown flag "-nope"`, "--nope": `unknown flag "--nope"`, "nope": `unexpected argument "nope"`,
		"-": `unexpected argument "-"`, "--": `unexpected argument "--"`, "": `unexpected argument ""`, "---port=1": `unknown flag "---port"`,
		"-=": `unexpected argument "-="`, "-secert=hunter2": `unknown flag "-secert"`, "-PORT=1": `unknown flag "-PORT"`, "-portx": `unknown flag "-portx"`,
	} {
		expectUsageError(t, []string{arg}, nil, want)
	}
	if _, _, stderr := program([]string{"-secert=hunter2"}, nil); strings.Contains(stderr, "hunter2") {
		t.Errorf("what may be a secret is shown: %q", stderr)
	}
}

// TestEitherOr checks that the error for two flags that exclude each other has
// both origins.
func TestEitherOr(t *testing.T) {
	expectUsageError(t, []string{"-secret=a", "-secret-file=b"}, nil, "-secret and -secret-file: give only one of them")
	expectUsageError(t, []string{"-secret-file=b"}, []string{"PICO_TRACKER__SECRET=a"}, "PICO_TRACKER__SECRET and -secret-file: give only one of them")
	if c, err := parseConfig([]string{"-scope=off", "-external-ip=/run/address"}, nil); err != nil || c.externalFile == "" {
		t.Errorf("-scope off and a path: got %v, want no error", err)
	}
	expectUsageError(t, []string{"-scope=off", "-isolate=10.0.0.0/8"}, nil, "-isolate has no effect with -scope off: give only one of them")
	expectUsageError(t, []string{"-scope=off", "-external-ip=auto"}, nil, "-external-ip has no effect with -scope off: give only one of them")
	expectUsageError(t, []string{"-whitelist=a", "-blacklist=b"}, nil, "-whitelist and -blacklist: give only one of them")
	expectUsageError(t, []string{"-w=a"}, []string{"PICO_TRACKER__BLACKLIST=b"}, "-whitelist and PICO_TRACKER__BLACKLIST: give only one of them")
}

// TestHelp checks that -help prints every flag with its short form, value,
// default and group. It fits on two screens.
func TestHelp(t *testing.T) {
	secret := "hunter2hunter2hunter2hunter2hunter2"
	help := string(helpText())
	for _, args := range [][]string{{"-help"}, {"-h"}, {"--help"}, {"-secret", secret, "-help"}, {"-help", "-secret-file=x", "-secret=" + secret}} {
		code, stdout, stderr := program(args, []string{"PICO_TRACKER__SECRET=" + secret})
		if code != 0 || stderr != "" || stdout != help {
			t.Errorf("%q: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
	text := strings.Join(strings.Fields(help), " ")
	want := []string{
		"pico-tracker [flags] -plan ", "pico-tracker [flags] -probe ADDRESS ", "pico-tracker -status FILE ",
		"Serve:", "Access:", "Network:", "Monitor:", "Commands:", "Examples:",
		"PICO_TRACKER__SECRET_FILE", "DEBUG", "SIGHUP", "SIGUSR1", "Exit codes: 0 success, 1 failure, 2 wrong flag or variable.",
		"/etc/config/pico-tracker", "/etc/default/pico-tracker", "man pico-tracker", "https://",
		"1 to 65535 (default 1337)", "(default 0.0.0.0,[::])", "1m to 2h (default 15m)", "1 to 64 (default processors)",
	}
	for i := range options {
		o := &options[i]
		entry := "-" + o.name
		if o.short != "" {
			entry += ", -" + o.short
		}
		if o.value != "" {
			entry += " " + o.value
		}
		entry += " " + o.help
		if o.defaultText != "" {
			entry += " (default " + o.defaultText + ")"
		}
		want = append(want, entry)
		if o.set == nil || o.expected == "" || o.help == "" || strings.HasSuffix(o.help, ".") {
			t.Errorf("-%s is not complete", o.name)
		}
		if i > 0 && o.group < options[i-1].group {
			t.Errorf("-%s is not with the other flags of its group", o.name)
		}
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("the help lacks %q", w)
		}
	}
	lines := strings.Split(strings.TrimSuffix(help, "\n"), "\n")
	if len(lines) > 80 {
		t.Errorf("%d lines, want two screens of 40", len(lines))
	}
	for i, line := range lines {
		if len(line) > 80 || strings.HasSuffix(line, " ") {
			t.Errorf("line %d: %q, %d wide, want at most 80 without blanks at the end", i+1, line, len(line))
		}
	}
}

// TestHelpAlwaysWorks, whatever else is wrong.
func TestHelpAlwaysWorks(t *testing.T) {
	broken := []string{"PICO_TRACKER__PORT=abc", "PICO_TRACKER__NONSENSE=1", "PICO_TRACKER__DEBUG=app:*", "DEBUG=app:*"}
	for _, c := range []struct {
		args    []string
		version bool
	}{
		{args: []string{"-help"}},
		{args: []string{"-p", "abc", "-help"}},
		{args: []string{"-nonsense", "-help"}},
		{args: []string{"nonsense", "-h"}},
		{args: []string{"-h", "-p"}},
		{args: []string{"-whitelist", "-help"}},
		{args: []string{"-plan", "-status", "x", "-help"}},
		{args: []string{"-help", "-version"}},
		{args: []string{"-v"}, version: true},
		{args: []string{"-v", "-p", "abc"}, version: true},
		{args: []string{"-p", "abc", "-version"}, version: true},
	} {
		want := string(helpText())
		if c.version {
			want = "pico-tracker " + version + "\n"
		}
		if code, stdout, stderr := program(c.args, broken); code != 0 || stdout != want || stderr != "" {
			t.Errorf("%q: exit %d, %q, %q", c.args, code, stdout, stderr)
		}
	}
	// What stands behind -secret is the secret.
	if _, stdout, _ := program([]string{"-secret", "-help", "-memory=1M"}, nil); stdout != "" {
		t.Errorf("-secret -help: %q", stdout)
	}
}

// TestMessages checks that an error says what is wrong, where, and what would
// be right.
func TestMessages(t *testing.T) {
	const listen = "want IP addresses separated by commas, for example 192.168.1.1,[fd00::1]"
	const external = "want a public IPv4 address, a public IPv6 address, both with a comma, auto, or the path of a file (with a /)"
	const interval = "want a time from 1m to 2h, for example 15m or 900s"
	const probe = "want HOST, HOST:PORT, [HOST]:PORT, udp://HOST:PORT/announce, or self"
	for _, c := range []struct {
		name string
		args string // separated by blanks
		env  string
		want string
	}{
		{name: "memory without a unit", args: "-memory 16", want: `-memory "16": too small (16 bytes; did you mean 16M?); want at least 5M for this configuration`},
		{name: "memory too small", args: "-memory 1M", want: `-memory "1M": too small; want at least 5M for this configuration`},
		{name: "memory too small, variable", env: "PICO_TRACKER__MEMORY=100K", want: `PICO_TRACKER__MEMORY "100K": too small; want at least 5M for this configuration`},
		{name: "number as argument", args: "1337", want: `unexpected argument "1337"; want flags, for example -port 1337`},
		{name: "word as argument", args: "start", want: `unexpected argument "start"; want flags, for example -port 1337`},
		{name: "value of a boolean", args: "-d maybe", want: `unexpected argument "maybe" after -debug, which takes no value (-debug=false switches it off)`},
		{name: "second value", args: "-port 1 2", want: `unexpected argument "2" after the value of -port; want one value, then flags`},
		{name: "secret with a blank", args: "-secret hunter 2", want: `unexpected argument after the value of -secret; put quotes around a value with spaces`},
		{name: "capitals", args: "-Port 1", want: `unknown flag "-Port"; did you mean -port?`},
		{name: "letters exchanged", args: "--prot=1", want: `unknown flag "--prot"; did you mean -port?`},
		{name: "letter missing", args: "-whitelst x", want: `unknown flag "-whitelst"; did you mean -whitelist?`},
		{name: "underscore", args: "-white_list=x", want: `unknown flag "-white_list"; did you mean -whitelist?`},
		{name: "beginning of a flag", args: "-mem 16M", want: `unknown flag "-mem"; did you mean -memory?`},
		{name: "unknown", args: "-foo", want: `unknown flag "-foo"; -help lists the flags`},
		{name: "secret misspelled", args: "-secert=hunter2", want: `unknown flag "-secert"; did you mean -secret?`},
		{name: "value missing at the end", args: "-port", want: `-port: the value is missing; want a port number from 1 to 65535`},
		{name: "value missing before a flag", args: "-stats -debug", want: `-stats: the value is missing before "-debug"; want the path of a file`},
		{name: "listen with a port", args: "-listen 127.0.0.1:1337", want: `-listen "127.0.0.1:1337": the port goes into -port; ` + listen},
		{name: "listen with a port, IPv6", args: "-listen [::1]:1337", want: `-listen "[::1]:1337": the port goes into -port; ` + listen},
		{name: "listen on a name", args: "-listen localhost", want: `-listen "localhost": a name is no address; an interface goes into -interface; ` + listen},
		{name: "listen on an interface", args: "-listen eth0", want: `-listen "eth0": a name is no address; an interface goes into -interface; ` + listen},
		{name: "listen everywhere", args: "-listen *", want: `-listen "*": 0.0.0.0,[::] stands for all addresses; ` + listen},
		{name: "listen on no address", args: "-listen 192.168.1.256", want: `-listen "192.168.1.256": ` + listen},
		{name: "listen on a link", args: "-listen fe80::1", want: `-listen: fe80::1 needs the name of its interface, for example fe80::1%eth0`},
		{name: "interval without a unit", args: "-interval 900", want: `-interval "900": the unit is missing (did you mean 900s?); ` + interval},
		{name: "interval in days", args: "-interval 1d", want: `-interval "1d": ` + interval},
		{name: "two commands", args: "-plan -status x", want: `-plan and -status: give only one of them`},
		{name: "two other commands", args: "-probe self -plan", want: `-plan and -probe: give only one of them`},
		{name: "scrape without probe", args: "-probe-scrape " + probedHash, want: `-probe-scrape needs -probe ADDRESS`},
		{name: "announce without probe", args: "-probe-announce " + probedHash, want: `-probe-announce needs -probe ADDRESS`},
		{name: "private public address", args: "-external-ip 192.168.1.1", want: `-external-ip "192.168.1.1": 192.168.1.1 is a private or reserved address; ` + external},
		{name: "two public addresses", args: "-external-ip 203.0.113.1,203.0.113.2", want: `-external-ip "203.0.113.1,203.0.113.2": two IPv4 addresses; ` + external},
		{name: "public address without scopes", args: "-external-ip auto -scope off", want: `-external-ip has no effect with -scope off: give only one of them`},
		{name: "probe of HTTP", args: "-probe http://127.0.0.1:1337/announce", want: `-probe "http://127.0.0.1:1337/announce": only UDP trackers can be probed; ` + probe},
		{name: "probe of WebTorrent", args: "-probe wss://foo", want: `-probe "wss://foo": only UDP trackers can be probed; ` + probe},
		{name: "probe of a port too large", args: "-probe 127.0.0.1:99999", want: `-probe "127.0.0.1:99999": the port must be a number from 1 to 65535; ` + probe},
		{name: "probe without a host", args: "-probe udp://:1337", want: `-probe "udp://:1337": ` + probe},
		{name: "probe of a port alone", args: "-probe 1337", want: `-probe "1337": ` + probe},
		{name: "escapes in a value", args: "-port \x1b[31m", want: `-port "\x1b[31m": want a port number from 1 to 65535`},
		{name: "unknown variable", env: "PICO_TRACKER__NONSENSE=1", want: `"PICO_TRACKER__NONSENSE": unknown variable; -help lists the flags`},
		{name: "misspelled variable", env: "PICO_TRACKER__WHITE_LIST=/etc/list", want: `"PICO_TRACKER__WHITE_LIST": unknown variable; did you mean PICO_TRACKER__WHITELIST?`},
		{name: "letters of a variable exchanged", env: "PICO_TRACKER__PROT=6969", want: `"PICO_TRACKER__PROT": unknown variable; did you mean PICO_TRACKER__PORT?`},
		{name: "variable in lower case", env: "PICO_TRACKER__port=6969", want: `"PICO_TRACKER__port": unknown variable; did you mean PICO_TRACKER__PORT?`},
		{name: "variable of a command", env: "PICO_TRACKER__PROBE=self", want: `"PICO_TRACKER__PROBE": there is no such variable, -probe is a flag only; -help lists the flags`},
		{name: "variable of the help", env: "PICO_TRACKER__HELP=1", want: `"PICO_TRACKER__HELP": there is no such variable, -help is a flag only; -help lists the flags`},
		{name: "debug by variable", env: "PICO_TRACKER__DEBUG=app:*", want: `PICO_TRACKER__DEBUG "app:*": want true or false`},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(c.args)
			code, stdout, stderr := program(args, []string{c.env, "PICO_TRACKER__WORKERS=1"})
			if code != 2 || stdout != "" || !strings.HasSuffix(stderr, "[ERROR] "+c.want+"\n") || strings.Count(stderr, "[ERROR]") != 1 {
				t.Errorf("%q %q: exit %d, %q, %q\nwant exit 2, %q", args, c.env, code, stdout, stderr, c.want)
			}
		})
	}
}

// TestVariablesNearlyOurs checks that a variable with nearly the right name
// gets a warning, except if Docker or Kubernetes set it for a service.
func TestVariablesNearlyOurs(t *testing.T) {
	for _, c := range []struct{ env, want string }{
		{env: "PICO_TRACKER_PORT=6969", want: `"PICO_TRACKER_PORT" is ignored; did you mean PICO_TRACKER__PORT?`},
		{env: "pico_tracker__port=6969", want: `"pico_tracker__port" is ignored; did you mean PICO_TRACKER__PORT?`},
		{env: "PICO_TRACKER_SECRET_FILE=/x", want: `"PICO_TRACKER_SECRET_FILE" is ignored; did you mean PICO_TRACKER__SECRET_FILE?`},
		{env: "PICOTRACKER_WHITE_LIST=/x", want: `"PICOTRACKER_WHITE_LIST" is ignored; did you mean PICO_TRACKER__WHITELIST?`},
		{env: "PICO_TRACKER_PORT=tcp://10.0.0.1:1337"},
		{env: "PICO_TRACKER_PORT=udp://172.17.0.2:1337"},
		{env: "PICO_TRACKER_SERVICE_PORT=1337"},
		{env: "PICO_TRACKER_PORT_1337_UDP_PORT=1337"},
		{env: "PICO_TRACKER_VERSION=1.2.3"},
		{env: "PICO_TRACKER_PORT="},
		{env: "PICO_TRACKER__NONSENSE="},
		{env: "PORT=6969"},
	} {
		t.Run(c.env, func(t *testing.T) {
			got, err := parseConfig(nil, []string{c.env})
			if err != nil {
				t.Fatal(err)
			}
			if warnings := strings.Join(got.warnings, "\n"); warnings != c.want || got.port != 1337 {
				t.Errorf("warnings %q, port %d; want %q, 1337", warnings, got.port, c.want)
			}
		})
	}
	code, _, stderr := program([]string{"-plan"}, []string{"PICO_TRACKER_PORT=6969"})
	if want := "[WARN] \"PICO_TRACKER_PORT\" is ignored; did you mean PICO_TRACKER__PORT?\n"; code != 0 || stderr != want {
		t.Errorf("exit %d, %q, want 0, %q", code, stderr, want)
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"-version"}, {"-v"}, {"--version=true"}} {
		if code, stdout, stderr := program(args, nil); code != 0 || stdout != "pico-tracker "+version+"\n" || stderr != "" {
			t.Errorf("%q: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// TestSecretIsNeverShown, whatever goes wrong beside it.
func TestSecretIsNeverShown(t *testing.T) {
	const secret = "hunter2"
	file := filepath.Join(t.TempDir(), "secret")
	writeFile(t, file, secret)
	for _, args := range [][]string{
		{"-secret", secret, "-port=0"}, {"-secret=" + secret, "-secret-file=x"}, {"-s", secret, "-memory=1K"}, {"-secret", secret, "-nope"},
		{"-secret", secret, "-whitelist=a", "-blacklist=b"}, {"-s=" + secret, "-listen=x"}, {"-secret-file", file, "-memory=1K"},
		{"-sercet=" + secret}, {"-secret", secret, "-listen", "127.0.0.1,[::1]", "-port", "61234", "-debug", "-memory=16M"},
	} {
		_, stdout, stderr := program(args, []string{"PICO_TRACKER__SECRET_FILE="})
		if stderr == "" || strings.Contains(stdout+stderr, secret) {
			t.Errorf("%q: %q, %q", args, stdout, stderr)
		}
	}
}

// TestSecretFile checks that white space around the secret is cut, and that a
// missing or empty file is an error.
func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for text, want := range map[string]string{"abc": "abc", "abc\n": "abc", " \t\r\na b c\r\n\n": "a b c", "abc\x00": "abc\x00"} {
		writeFile(t, path, text)
		c, err := parseConfig([]string{"-secret-file", path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.readSecret(); string(got) != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	writeFile(t, path, " \n")
	expectFailure(t, []string{"-secret-file", path}, nil, "-secret-file "+strconv.Quote(path)+": the file is empty")
	expectFailure(t, nil, []string{"PICO_TRACKER__SECRET_FILE=" + path}, "PICO_TRACKER__SECRET_FILE "+strconv.Quote(path)+": the file is empty")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expectFailure(t, []string{"-secret-file", path}, nil, "-secret-file "+strconv.Quote(path)+": no such file")
	expectFailure(t, []string{"-secret-file", filepath.Dir(path)}, nil, "-secret-file "+strconv.Quote(filepath.Dir(path))+": this is not a regular file")
}

// TestSigningKey checks that the key is random without a secret, and that a
// short secret gets a warning. The log never has a secret.
func TestSigningKey(t *testing.T) {
	key := func(secret string, want ...string) string {
		t.Helper()
		var lines logLines
		c := &config{origins: map[string]string{"secret": "-secret"}}
		if secret != "" {
			c.secret = []byte(secret)
		}
		k, err := signingKey(c, &logger.Logger{Out: &lines})
		if err != nil || len(k) != 32 || secret != "" && strings.Contains(lines.String(), secret) {
			t.Fatalf("%x, %v, %q", k, err, lines.String())
		}
		lines.expectLines(t, want...)
		return string(k)
	}
	const random = "[INFO] no -secret: made a random one; set -secret-file to keep clients connected over a restart"
	first, second := key("", random), key("", random)
	if first == second {
		t.Error("got the same key for two random secrets")
	}
	short, long := strings.Repeat("k", 31), strings.Repeat("k", 32)
	if key(short, "[WARN] -secret: the secret has 31 characters and is easy to guess; use 32 or more") == key(long) {
		t.Error("got the same key for two secrets")
	}
	if k := key(long); k != key(long) || strings.Contains(k, "kkkk") {
		t.Error("want one key for one secret, which does not contain the secret")
	}
}

// TestMemoryTooSmall checks that the error for too little memory has the origin
// and the smallest size that is enough.
func TestMemoryTooSmall(t *testing.T) {
	expectUsageError(t, []string{"-memory", "1M", "-workers=1"}, nil, `-memory "1M": too small; want at least `)
	expectUsageError(t, []string{"-workers=1"}, []string{"PICO_TRACKER__MEMORY=100K"}, `PICO_TRACKER__MEMORY "100K": too small; want at least `)

	for _, sockets := range []int{1, 2, 4, 16, 128} {
		for _, list := range []*listEstimate{nil, {}, {hashes: 25000}, {hashes: 2500000}, {hashes: 1000, directory: true}} {
			for total := 1; total < 40<<20; total = total*3/2 + 777_777 {
				l, err := planMemory(total, sockets, list)
				if err == nil {
					checkLayout(t, l, total, sockets, list)
					continue
				}
				m := regexp.MustCompile(`at least (\d+)M`).FindStringSubmatch(err.Error())
				if m == nil {
					t.Fatalf("%d bytes, %d sockets: %v", total, sockets, err)
				}
				least, _ := strconv.Atoi(m[1])
				if l, err = planMemory(least<<20, sockets, list); err != nil || least<<20 <= total {
					t.Fatalf("%d bytes, %d sockets, a list of %v: at least %dM, which has %v", total, sockets, list, least, err)
				}
				checkLayout(t, l, least<<20, sockets, list)
			}
		}
	}
}

// TestPlanMemoryHugeList checks that a list file of any size neither hangs nor
// overflows the plan. If it does not fit, there is an error.
func TestPlanMemoryHugeList(t *testing.T) {
	for bits := 20; bits < 50; bits++ {
		for _, size := range []int64{1 << bits, 1<<bits + 1<<bits/2, 1<<bits + 1<<bits*6/10} {
			for _, directory := range []bool{false, true} {
				total := 64 << 20
				list := &listEstimate{hashes: size / minListLine, directory: directory}
				l, err := planMemory(total, 2, list)
				if err != nil {
					if !strings.Contains(err.Error(), "want at least") {
						t.Errorf("a list of %d bytes: %v", size, err)
					}
					continue
				}
				checkLayout(t, l, total, 2, list)
			}
		}
	}
}

// checkLayout adds up the parts, in numbers that don't overflow.
func checkLayout(t *testing.T, l memoryPlan, total, sockets int, list *listEstimate) {
	t.Helper()
	sum := big.NewInt(runtimeBytes)
	for _, part := range [][2]int{{sockets, l.perWorker}, {l.pages, pageCost}, {1, listBytes(l.listMax, l.listFiles)}} {
		sum.Add(sum, new(big.Int).Mul(big.NewInt(int64(part[0])), big.NewInt(int64(part[1]))))
	}
	if l.pages < minPages || l.listMax < 0 || sum.Cmp(big.NewInt(int64(total))) > 0 {
		t.Fatalf("%d bytes, %d sockets, a list of %v: %+v is %v bytes", total, sockets, list, l, sum)
	}
	if l.shards&(l.shards-1) != 0 || l.shards < 1 || l.batch < 1 || l.batch > udp.MaxBatch && udp.MaxBatch > 1 || l.total != total {
		t.Fatalf("%+v", l)
	}
	// A shard has at least 2 MiB. With enough memory each worker has 8 or more.
	if l.shards > 1 && l.pages/l.shards < 512 || l.shards >= 16*sockets || l.shards < 8*sockets && l.pages >= 2*512*8*sockets {
		t.Fatalf("%d shards for %d pages and %d sockets", l.shards, l.pages, sockets)
	}
	if list != nil && int64(l.listMax) < min(list.hashes, math.MaxInt32/minListLine) {
		t.Fatalf("a list of %d torrents has room for %d", list.hashes, l.listMax)
	}
	if quota := int(l.quota()); quota < peerCost6 || quota*quotaGranule > l.pages*pageSize/20 {
		t.Fatalf("a quota of %d granules for %d pages", quota, l.pages)
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int]string{
		1 << 10: "1K", 64 << 10: "64K", 1 << 20: "1M", 16 << 20: "16M", 16<<20 + 5: "16M", 3<<20 + 1<<19: "3584K", 1 << 30: "1G", 1<<30 + 1<<29: "1536M",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// FuzzSize compares with big numbers and a pattern.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"16M", "1g", "0", "8192KiB", "1MK", "16I", "99999999999999999999", "32G", "33G", "1b"} {
		f.Add(s)
	}
	pattern := regexp.MustCompile(`^([0-9]+)(?:([KMG])(?:I?B)?)?$`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseSize(s)
		var want *big.Int
		if m := pattern.FindStringSubmatch(strings.ToUpper(s)); m != nil {
			want, _ = new(big.Int).SetString(m[1], 10)
			want.Lsh(want, uint(10*(1+strings.Index("KMG", m[2]))))
			if m[2] == "" {
				want.Rsh(want, 10)
			}
			if want.Sign() == 0 || want.Cmp(big.NewInt(maxMemory)) > 0 {
				want = nil
			}
		}
		if (err == nil) != (want != nil) || err == nil && big.NewInt(int64(got)).Cmp(want) != 0 {
			t.Fatalf("%q: %d, %v, want %v", s, got, err, want)
		}
	})
}

// FuzzListen: what is accepted are literal addresses, none of them twice, and
// what is written of them is read as the same.
func FuzzListen(f *testing.F) {
	for _, s := range []string{"0.0.0.0,[::]", "127.0.0.1", "[fe80::1%eth0], ::1", "::ffff:1.2.3.4", "1.2.3.4,1.2.3.4", "[", "]", ","} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseListen(s)
		if err != nil {
			return
		}
		if len(got) != strings.Count(s, ",")+1 {
			t.Fatalf("%q: %v", s, got)
		}
		again := ""
		for i, a := range got {
			if len(a.IP) != 4 && len(a.IP) != 16 || a.IsMapped() || slices.Contains(got[:i], a) {
				t.Fatalf("%q: %v", s, got)
			}
			if a.Is6() {
				again += ",[" + a.String() + "]"
			} else {
				again += "," + a.String()
			}
		}
		if second, err := parseListen(again[1:]); err != nil || !slices.Equal(got, second) {
			t.Fatalf("%q is %v, which is read as %v, %v", s, got, second, err)
		}
	})
}

// FuzzInterval: what is accepted lies between the limits, to the second.
func FuzzInterval(f *testing.F) {
	for _, s := range []string{"15m", "2h", "59.9s", "1m0.5s", "7200s", "-1h", "1e3s", "9999999999h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" {
			return
		}
		c, err := parseConfig([]string{"-interval=" + s}, nil)
		d, bad := time.ParseDuration(s)
		want := bad == nil && d >= time.Minute && d <= 2*time.Hour
		if (err == nil) != want {
			t.Fatalf("%q: %v", s, err)
		}
		if want && time.Duration(c.interval) != d/time.Second {
			t.Fatalf("%q: %d", s, c.interval)
		}
	})
}

// FuzzCommandLine: no arguments and no environment make the parser do anything
// but accept them or name a mistake.
func FuzzCommandLine(f *testing.F) {
	f.Add("-port\n80\n-d", "DEBUG=1\nPICO_TRACKER__SECRET=x")
	f.Add("--listen=127.0.0.1\n-secret\nx", "")
	f.Add("-help", "PICO_TRACKER__PORT=0")
	f.Fuzz(func(t *testing.T, args, env string) {
		c, err := parseConfig(strings.Split(args, "\n"), strings.Split(env, "\n"))
		if _, ok := err.(usageError); (c == nil) == (err == nil) || err != nil && (!ok || err.Error() == "") {
			t.Fatalf("%q %q: %v, %v", args, env, c, err)
		}
		if err != nil || c.help || c.version {
			return
		}
		if c.port == 0 || len(c.listen) == 0 || c.interval < minInterval || c.interval > maxInterval || c.workers < 1 || c.workers > maxWorkers ||
			c.memory < 0 || c.memory > maxMemory || c.secret != nil && c.secretFile != "" || c.whitelist != "" && c.blacklist != "" {
			t.Fatalf("%q %q: %+v", args, env, c)
		}
	})
}
