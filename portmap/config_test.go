package main

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	plain := config{port: 1337, publicPort: 1337, protocols: protocolNames, lifetime: time.Hour, check: time.Minute}
	with := func(change func(*config)) config {
		c := plain
		change(&c)
		return c
	}
	tests := []struct {
		name        string
		args        string
		environment []string
		want        config
		mistake     string
	}{
		{name: "defaults", want: plain},
		{name: "flags", args: "-port 6969 -public-port 40000 -file /run/x -protocols upnp,pcp -gateway 10.0.0.1 -lifetime 2h -check 30s -debug",
			want: config{port: 6969, publicPort: 40000, file: "/run/x", protocols: []string{"upnp", "pcp"},
				gateway: netip.MustParseAddr("10.0.0.1"), lifetime: 2 * time.Hour, check: 30 * time.Second, debug: true}},
		{name: "port for both", args: "-port 6969", want: with(func(c *config) { c.port, c.publicPort = 6969, 6969 })},
		{name: "the tracker's variable", environment: []string{"PICO_TRACKER__PORT=6969"}, want: with(func(c *config) { c.port, c.publicPort = 6969, 6969 })},
		{name: "own variable wins", environment: []string{"PICO_TRACKER_PORTMAP__PORT=7000", "PICO_TRACKER__PORT=6969"},
			want: with(func(c *config) { c.port, c.publicPort = 7000, 7000 })},
		{name: "flag wins", args: "-port 8000", environment: []string{"PICO_TRACKER_PORTMAP__PORT=7000"},
			want: with(func(c *config) { c.port, c.publicPort = 8000, 8000 })},
		{name: "empty variable", environment: []string{"PICO_TRACKER_PORTMAP__PUBLIC_PORT="}, want: plain},
		{name: "help in spite of mistakes", args: "-port 0 -help", environment: []string{"PICO_TRACKER_PORTMAP__CHECK=x"}, want: config{help: true}},
		{name: "version", args: "--version", want: config{version: true}},

		{name: "port 0", args: "-port 0", mistake: `-port "0": want a port number from 1 to 65535`},
		{name: "port 65536", args: "-public-port 65536", mistake: `-public-port "65536": want a port number from 1 to 65535`},
		{name: "no file", args: "-file /run/", mistake: `-file "/run/": want the path of a file`},
		{name: "unknown protocol", args: "-protocols pcp,natpmp", mistake: `-protocols "pcp,natpmp": want some of pcp,nat-pmp,upnp, each once`},
		{name: "protocol twice", args: "-protocols pcp,pcp", mistake: `want some of pcp,nat-pmp,upnp, each once`},
		{name: "IPv6 gateway", args: "-gateway fe80::1", mistake: `-gateway "fe80::1": want an IPv4 address`},
		{name: "short lifetime", args: "-lifetime 1m59s", mistake: `-lifetime "1m59s": want a time from 2m to 24h`},
		{name: "long check", args: "-check 61m", mistake: `-check "61m": want a time from 1s to 1h`},
		{name: "bare number", args: "-check 60", mistake: `-check "60": want a time from 1s to 1h`},
		{name: "unknown flag", args: "-prot 1", mistake: `-prot: no such flag; -help lists them`},
		{name: "no value", args: "-port", mistake: `-port: want a value`},
		{name: "argument", args: "start", mistake: `unexpected argument "start"`},
		{name: "bad boolean", args: "-debug=maybe", mistake: `-debug "maybe": want true or false`},
		{name: "bad variable", environment: []string{"PICO_TRACKER_PORTMAP__CHECK=x"}, mistake: `PICO_TRACKER_PORTMAP__CHECK "x": want a time`},
		{name: "unknown variable", environment: []string{"PICO_TRACKER_PORTMAP__PROT=x"}, mistake: `PICO_TRACKER_PORTMAP__PROT: no such variable`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseConfig(strings.Fields(test.args), test.environment)
			if test.mistake != "" {
				if err == nil || !strings.Contains(err.Error(), test.mistake) {
					t.Errorf("got error %v, want %q", err, test.mistake)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(*got, test.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

// What openwrt/packages asks of every program must end at once.
func TestRun(t *testing.T) {
	tests := []struct {
		args string
		code int
		want string
	}{
		{args: "-help", code: exitOK, want: "Usage: pico-tracker-portmap"},
		{args: "--help", code: exitOK, want: "Usage: pico-tracker-portmap"},
		{args: "-version", code: exitOK, want: "pico-tracker-portmap " + version},
		{args: "-v", code: exitOK, want: "pico-tracker-portmap " + version},
		{args: "-V", code: exitUsage, want: "no such flag"},
		{args: "version", code: exitUsage, want: "unexpected argument"},
		{args: "help", code: exitUsage, want: "unexpected argument"},
		{args: "-?", code: exitUsage, want: "no such flag"},
		{args: "-file /no/such/directory/address", code: exitFailure, want: "/no/such/directory/address"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(strings.Fields(test.args), nil, &out, &out); code != test.code || !strings.Contains(out.String(), test.want) {
				t.Errorf("got exit code %d and %q, want %d and %q", code, out.String(), test.code, test.want)
			}
		})
	}
}

// The log has one line for a message, whatever a router sends.
func TestLogLine(t *testing.T) {
	var out bytes.Buffer
	l := &logger{out: &out, err: &out}
	l.warn("%s", "a\nb\x1b[31m"+strings.Repeat("x", 1000))
	if got := out.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") || len(got) > maxLogLine+20 {
		t.Errorf("got %d bytes: %.60q", len(got), got)
	}
}

// doc.go lists the files.
func TestFilesListed(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{range .GoFiles}}{{.}} {{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := exec.Command("go", "doc", "-cmd", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range strings.Fields(string(out)) {
		name := strings.TrimSuffix(strings.TrimSuffix(file, ".go"), "_linux")
		if name != "doc" && !strings.Contains(string(doc), "\n    "+name+" ") && !strings.Contains(string(doc), "\t"+name+" ") {
			t.Errorf("doc.go does not list %s", file)
		}
	}
}

// -help and the manual page list each flag, and no other.
func TestUsage(t *testing.T) {
	var listed []string
	for _, line := range strings.Split(usage, "\n") {
		if rest, ok := strings.CutPrefix(line, "  -"); ok {
			name, _, _ := strings.Cut(rest, " ")
			listed = append(listed, name)
			_, err := parseConfig([]string{"-" + name + "=?/"}, nil)
			if err == nil || strings.Contains(err.Error(), "no such flag") {
				t.Errorf("-%s is in -help, but gives %v", name, err)
			}
		}
	}
	want := []string{"port", "public-port", "file", "protocols", "gateway", "lifetime", "check", "debug", "version", "help"}
	if !reflect.DeepEqual(listed, want) {
		t.Errorf("got %v, want %v", listed, want)
	}
	page, err := os.ReadFile("../packaging/pico-tracker-portmap.8")
	if err != nil {
		t.Fatal(err)
	}
	listed = nil
	for _, m := range regexp.MustCompile(`(?m)^\\fB\\-([a-z\\-]+)\\fR(?: \\fI[A-Z]+\\fR)?$`).FindAllStringSubmatch(string(page), -1) {
		listed = append(listed, strings.ReplaceAll(m[1], `\-`, "-"))
	}
	if !reflect.DeepEqual(listed, want) {
		t.Errorf("the manual page has %v, want %v", listed, want)
	}
}
