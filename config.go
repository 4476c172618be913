package main

import (
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/metainfo"
	"github.com/fabricionaweb/pico-tracker/internal/suggest"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file reads the command line and the environment: a flag wins over its
// variable, and the variable wins over the default.

// config holds the values of all flags.
type config struct {
	port                       uint16
	listen                     []ipaddr.Addr
	interfaces                 []string
	secret                     []byte // nil: none given
	whitelist                  string
	blacklist                  string
	memory                     int    // bytes; 0 is auto
	memoryText                 string // the same as the user wrote it; "": not given
	interval                   seconds
	workers                    int
	scopes                     bool       // peers are given by scope
	externalAuto               bool       // the external addresses follow the default routes
	isolated                   *isolation // of -isolate and the VPNs
	externalFile               string     // the external addresses follow this file; "": they do not
	external4                  [4]byte
	external6                  [16]byte
	connectLimit               uint32
	scrapeLimit                int
	sandbox                    bool // drop the rights that are not needed
	debug                      bool
	files                      []string // for -hash and -add-tracker
	hash                       bool     // print info hashes
	addTracker                 string   // a tracker to write into .torrent files; "": serve
	announceURL                string   // the tracker that -hash looks for; "": none
	inPlace                    bool
	version                    bool
	help                       bool
	plan                       bool
	stats                      string // the file for reports; "": none
	statsInterval              seconds
	top                        int             // torrents in the statistics
	status                     string          // a file of reports to show; "": serve
	probe                      string          // a tracker to ask; "": serve
	probeScrape, probeAnnounce *bep15.InfoHash // what to ask it for; nil: not

	secretFile string
	origins    map[string]string // flag name to where its value came from
	warnings   []string          // variables that are ignored, for the log
}

// usageError is a wrong flag or variable: the exit code is 2. No error wraps it,
// so that nobody needs errors.As, which takes 6 KB of flash.
type usageError string

func (e usageError) Error() string { return string(e) }

// option is a flag. -help, the variables and the checks of values come from the
// table of options. Tests compare it with the man page, the README, the settings
// of the packages and the init script.
type option struct {
	name, short string
	value       string // kind of value, in capitals; "": the flag is true or false
	group       group
	command     bool   // does something else than serve
	list        bool   // repeated, its values add up
	files       bool   // arguments behind it that are no flags are files
	help        string // what it does, without a full stop at the end
	defaultText string // the default, as people read it; "": none is worth a word
	expected    string // what a valid value is
	set         func(*config, string) error
}

// group is a heading of -help.
type group uint8

const (
	groupServe group = iota
	groupAccess
	groupNetwork
	groupMonitor
	groupCommands // these have no variables
)

var groupNames = [...]string{groupServe: "Serve", groupAccess: "Access", groupNetwork: "Network", groupMonitor: "Monitor", groupCommands: "Commands"}

// errValue stands for an error that only says what would be right.
var errValue = errors.New("")

// options are in the order of their groups, because -help prints them in this
// order.
var options = []option{
	{name: "port", short: "p", value: "PORT", group: groupServe, defaultText: "1337",
		help:     "UDP port, 1 to 65535",
		expected: "a port number from 1 to 65535", set: func(c *config, v string) error {
			n, err := parseNumber(v, 1, 65535)
			c.port = uint16(n)
			return err
		}},
	{name: "secret", short: "s", value: "KEY", group: groupServe, defaultText: "random",
		help:     "secret that signs connection IDs, 32 characters or more; use the same one on all machines of a cluster",
		expected: "a secret that is not empty", set: func(c *config, v string) error {
			if v == "" {
				return errValue
			}
			c.secret = []byte(v)
			return nil
		}},
	{name: "secret-file", value: "FILE", group: groupServe,
		help:     "read the secret from this file, so that ps hides it",
		expected: expectedFile, set: setPath(func(c *config) *string { return &c.secretFile })},
	{name: "memory", value: "SIZE", group: groupServe, defaultText: "an eighth of the memory, 8M to 256M",
		help:     "limit of the resident memory, for example 16M or 1G",
		expected: "a size, for example 16M or 1G, or auto", set: func(c *config, v string) (err error) {
			c.memoryText = v
			if v == "auto" {
				c.memory = 0
				return nil
			}
			c.memory, err = parseSize(v)
			return err
		}},
	{name: "interval", value: "TIME", group: groupServe, defaultText: "15m",
		help:     "announce interval of clients, 1m to 2h",
		expected: "a time from 1m to 2h, for example 15m or 900s", set: func(c *config, v string) (err error) {
			c.interval, err = parseDuration(v, minInterval, maxInterval)
			return err
		}},
	{name: "workers", value: "N", group: groupServe, defaultText: "processors",
		help:     "sockets for each address, 1 to 64",
		expected: "a number from 1 to 64", set: func(c *config, v string) error {
			n, err := parseNumber(v, 1, maxWorkers)
			c.workers = int(n)
			return err
		}},
	{name: "connect-limit", value: "N", group: groupServe, defaultText: "10000",
		help:     "connects from one IP address and port in 2 minutes; 0: no limit",
		expected: "a number from 0 to 1000000", set: func(c *config, v string) error {
			n, err := parseNumber(v, 0, 1000000)
			c.connectLimit = uint32(n)
			return err
		}},
	{name: "scrape-limit", value: "N", group: groupServe, defaultText: "102",
		help:     "torrents answered in one scrape, 1 to 102",
		expected: "a number from 1 to 102", set: func(c *config, v string) error {
			n, err := parseNumber(v, 1, maxScrapeHashes)
			c.scrapeLimit = int(n)
			return err
		}},
	{name: "sandbox", value: "MODE", group: groupServe, defaultText: "auto",
		help:     "auto: drop the rights that the tracker does not need (Linux); off: keep them",
		expected: "auto or off", set: func(c *config, v string) error {
			if c.sandbox = v == "auto"; !c.sandbox && v != "off" {
				return errValue
			}
			return nil
		}},
	{name: "whitelist", short: "w", value: "FILE", group: groupAccess,
		help:     "track only these torrents: a list of info hashes and magnet links, a .torrent file, or a directory of both",
		expected: expectedList, set: setPath(func(c *config) *string { return &c.whitelist })},
	{name: "blacklist", value: "FILE", group: groupAccess,
		help:     "track all torrents except those in this list or directory",
		expected: expectedList, set: setPath(func(c *config) *string { return &c.blacklist })},
	{name: "listen", value: "ADDRESSES", group: groupNetwork, defaultText: "0.0.0.0,[::]",
		help:     "IP addresses to listen on, separated by commas; [::] is IPv6 only",
		expected: "IP addresses separated by commas, for example 192.168.1.1,[fd00::1]", set: func(c *config, v string) (err error) {
			c.listen, err = parseListen(v)
			if err == errValue {
				err = listenError(v)
			}
			return err
		}},
	{name: "interface", value: "NAMES", group: groupNetwork, list: true, defaultText: "all",
		help:     "accept requests only on these interfaces; separate them with commas, or repeat the flag",
		expected: "names of interfaces separated by commas, for example br-lan,wan", set: func(c *config, v string) (err error) {
			c.interfaces, err = parseInterfaces(v)
			return err
		}},
	{name: "scope", value: "MODE", group: groupNetwork, defaultText: "auto",
		help:     "auto: clients get peers that they can reach, LAN peers first; off: clients get all peers",
		expected: "auto or off", set: func(c *config, v string) error {
			if c.scopes = v == "auto"; !c.scopes && v != "off" {
				return errValue
			}
			return nil
		}},
	{name: "external-ip", value: "ADDRESS", group: groupNetwork, list: true,
		help:     "public IPv4 or IPv6 address, or both, for LAN peers; auto: of the default route; or a file with it",
		expected: "a public IPv4 address, a public IPv6 address, both with a comma, auto, or the path of a file (with a /)", set: setExternalIP},
	{name: "isolate", value: "NETWORKS", group: groupNetwork, list: true, defaultText: "VPNs",
		help:     "private networks that do not reach each other, such as a guest network; none: without the VPNs",
		expected: "private prefixes, for example 192.168.2.0/24,fd00:2::/64, or none", set: setIsolate},
	{name: "stats", value: "FILE", group: groupMonitor,
		help:     "write statistics to this file, for -status and node_exporter (name it *.prom)",
		expected: expectedFile, set: setPath(func(c *config) *string { return &c.stats })},
	{name: "stats-interval", value: "TIME", group: groupMonitor, defaultText: "15s",
		help:     "how often -stats is written, 1s to 1h",
		expected: "a time from 1s to 1h, for example 15s", set: func(c *config, v string) (err error) {
			c.statsInterval, err = parseDuration(v, 1, 60*60)
			return err
		}},
	{name: "top", value: "N", group: groupMonitor, defaultText: "0",
		help:     "number of torrents with most peers in the statistics, 0 to 100",
		expected: "a number from 0 to 100", set: func(c *config, v string) error {
			n, err := parseNumber(v, 0, maxTop)
			c.top = int(n)
			return err
		}},
	{name: "debug", short: "d", group: groupMonitor,
		help:     "log every packet",
		expected: expectedBool, set: setBool(func(c *config) *bool { return &c.debug })},
	{name: "plan", group: groupCommands, command: true,
		help:     "print the use of memory and how much fits",
		expected: expectedBool, set: setBool(func(c *config) *bool { return &c.plan })},
	{name: "probe", value: "ADDRESS", group: groupCommands, command: true,
		help:     "ask a UDP tracker: HOST, HOST:PORT, udp://HOST:PORT, or self for the tracker with these flags",
		expected: "HOST, HOST:PORT, [HOST]:PORT, udp://HOST:PORT/announce, or self", set: func(c *config, v string) error {
			c.probe = v
			_, _, err := splitTarget(v, 1)
			return err
		}},
	{name: "probe-scrape", value: "HASH", group: groupCommands,
		help:     "with -probe: also ask for the counts of this torrent",
		expected: expectedHash, set: setHash(func(c *config) **bep15.InfoHash { return &c.probeScrape })},
	{name: "probe-announce", value: "HASH", group: groupCommands,
		help:     "with -probe: also announce a test peer, then remove it",
		expected: expectedHash, set: setHash(func(c *config) **bep15.InfoHash { return &c.probeAnnounce })},
	{name: "status", value: "FILE", group: groupCommands, command: true,
		help:     "show a -stats file, live on a terminal; exit code 1 if it is out of date",
		expected: expectedFile, set: setPath(func(c *config) *string { return &c.status })},
	{name: "hash", value: "FILE", group: groupCommands, command: true, files: true,
		help:     "print the info hashes of .torrent files or magnet links",
		expected: ".torrent files or magnet links", set: func(c *config, v string) error {
			c.hash = true
			return nil
		}},
	{name: "announce-url", value: "URL", group: groupCommands,
		help:     "with -hash: warn about torrents without this tracker",
		expected: expectedURL, set: func(c *config, v string) error {
			c.announceURL = v
			return parseTrackerURL(v)
		}},
	{name: "add-tracker", value: "URL", group: groupCommands, command: true, files: true,
		help:     "write this tracker into copies of .torrent files",
		expected: expectedURL, set: func(c *config, v string) error {
			c.addTracker = v
			return parseTrackerURL(v)
		}},
	{name: "in-place", short: "i", group: groupCommands,
		help:     "with -add-tracker: change the files themselves",
		expected: expectedBool, set: setBool(func(c *config) *bool { return &c.inPlace })},
	{name: "version", short: "v", group: groupCommands, command: true,
		help:     "print the version",
		expected: expectedBool, set: setBool(func(c *config) *bool { return &c.version })},
	{name: "help", short: "h", group: groupCommands, command: true,
		help:     "print this help",
		expected: expectedBool, set: setBool(func(c *config) *bool { return &c.help })},
}

const (
	maxWorkers = 64

	expectedFile = "the path of a file"
	expectedList = "the path of a file or a directory"
	expectedURL  = "the address of a tracker, for example udp://tracker.example:1337/announce"
	expectedBool = "true or false"
	expectedHash = "an info hash: 40 hexadecimal digits, or 64"
)

func setHash(field func(*config) **bep15.InfoHash) func(*config, string) error {
	return func(c *config, v string) error {
		h := new(bep15.InfoHash)
		hashes, _, err := parseLine([]byte(v))
		if err != nil || len(hashes) == 0 {
			return errValue
		}
		*h = hashes[0]
		*field(c) = h
		return nil
	}
}

func setPath(field func(*config) *string) func(*config, string) error {
	return func(c *config, v string) error {
		*field(c) = v
		if v == "" {
			return errValue
		}
		return nil
	}
}

func setBool(field func(*config) *bool) func(*config, string) error {
	return func(c *config, v string) error {
		b, err := strconv.ParseBool(v)
		*field(c) = b
		return err
	}
}

// parseTrackerURL checks the address of a tracker for a .torrent file.
func parseTrackerURL(v string) error {
	scheme, rest, ok := strings.Cut(v, "://")
	if !ok || scheme == "" || rest == "" || len(v) > metainfo.MaxURL || strings.ContainsAny(v, " \t\r\n") || strconv.Quote(v) != `"`+v+`"` {
		return errValue
	}
	return nil
}

// setExternalIP sets the public addresses of this network.
func setExternalIP(c *config, v string) error {
	c.externalAuto = v == "auto"
	if c.externalAuto {
		return nil
	}
	if strings.Contains(v, "/") {
		c.externalFile = v
		return nil
	}
	addrs, err := parseListen(v)
	if err != nil {
		return err
	}
	for i, a := range addrs {
		switch {
		case a.Zone != "" || i > 1:
			return errValue
		case !isGlobal(a.IP):
			return errors.New(a.String() + " is a private or reserved address")
		case i > 0 && a.Is6() == addrs[0].Is6():
			return errors.New("two " + ipaddr.FamilyName(a.Is6()) + " addresses")
		case a.Is6():
			copy(c.external6[:], a.IP)
		default:
			copy(c.external4[:], a.IP)
		}
	}
	return nil
}

// vpnPrefixes are the prefixes of VPNs that are isolated unless the user says none:
// Tailscale and carriers, Tailscale, Yggdrasil.
const vpnPrefixes = "100.64.0.0/10,fd7a:115c:a1e0::/48,200::/7"

// setIsolate sets the isolated networks.
func setIsolate(c *config, v string) error {
	c.isolated = newIsolation()
	parts := strings.Split(v, ",")
	if textutil.TrimSpace(parts[0]) == "none" {
		if parts = parts[1:]; len(parts) == 0 {
			return nil
		}
	} else if v != vpnPrefixes {
		parts = append(parts, strings.Split(vpnPrefixes, ",")...)
	}
	for _, part := range parts {
		part = textutil.TrimSpace(part)
		ip, length, ok := strings.Cut(part, "/")
		a, valid := ipaddr.Parse(ip)
		if !ok || !valid || a.Zone != "" {
			return errValue
		}
		least := uint64(minIsolated4)
		if a.Is6() {
			least = minIsolated6
		}
		bits, err := parseNumber(length, least, uint64(8*len(a.IP)))
		if err != nil {
			return errors.New(part + ": want a prefix of " + textutil.Decimal(least) + " bits or more")
		}
		if !isIsolatable(a.IP, int(bits)) {
			return errors.New(part + " is not a private network")
		}
		if !c.isolated.add(a.IP, int(bits)) {
			return errors.New("more than " + strconv.Itoa(maxIsolated) + " networks, with those of VPNs")
		}
	}
	return nil
}

// isIsolatable reports whether all addresses of a prefix are private, or those of
// Yggdrasil.
func isIsolatable(ip string, bits int) bool {
	if len(ip) == 16 {
		first := [18]byte([]byte(ip + "\x00\x00"))
		return first[0]&0xfe == 2 || first[0]&0xfe == 0xfc && scope6(&first) == scopePrivate
	}
	a := [6]byte([]byte(ip + "\x00\x00"))
	if scope4(&a) != scopePrivate {
		return false
	}
	switch a[0] {
	case 10:
		return true
	case 100:
		return bits >= 10
	case 172:
		return bits >= 12
	}
	return bits >= 16
}

func parseNumber(v string, least, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n < least || n > most {
		return 0, errValue
	}
	return n, nil
}

// parseDuration parses a time such as 15m or 900s.
func parseDuration(v string, least, most seconds) (seconds, error) {
	if _, err := parseNumber(v, 1, 1<<32); err == nil {
		return 0, errors.New("the unit is missing (did you mean " + v + "s?)")
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < time.Duration(least)*time.Second || d > time.Duration(most)*time.Second {
		return 0, errValue
	}
	return seconds(d / time.Second), nil
}

// parseSize parses a number of bytes: digits, then K, M or G (powers of 1024),
// then B or iB. Both suffixes may be absent.
func parseSize(v string) (int, error) {
	s, shift := textutil.Map(v, textutil.Upper), 0
	for i, suffix := range []string{"K", "M", "G"} {
		if digits, rest, ok := strings.Cut(s, suffix); ok && (rest == "" || rest == "B" || rest == "IB") {
			s, shift = digits, 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || n > 1<<50>>shift {
		return 0, errValue
	}
	if n<<shift > maxMemory {
		return 0, errMemory
	}
	return int(n << shift), nil
}

// maxMemory is the largest -memory. A 32-bit process has two to three
// gigabytes of address space for everything.
const maxMemory = 1 << (30 + 5*(^uint(0)>>63))

var errMemory = errors.New("more than " + strconv.Itoa(maxMemory>>30) + "G, the most on this processor")

// parseListen parses IP addresses separated by commas. IPv6 addresses may be in
// brackets. Only a link-local address may have the number of its interface
// instead of the name, because sockets are bound to interfaces by name.
func parseListen(v string) ([]ipaddr.Addr, error) {
	var addrs []ipaddr.Addr
	for _, part := range strings.Split(v, ",") {
		s := textutil.TrimSpace(part)
		if inner, ok := strings.CutPrefix(s, "["); ok {
			if s, ok = strings.CutSuffix(inner, "]"); !ok {
				return nil, errValue
			}
		}
		a, ok := ipaddr.Parse(s)
		if !ok || a.IsMapped() || a.Zone != "" && !a.IsLinkLocal6() && strings.Trim(a.Zone, "0123456789") == "" {
			return nil, errValue
		}
		for _, b := range addrs {
			if a == b {
				return nil, errors.New("the same address twice")
			}
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// listenError says why v is no list of addresses, for the usual mistakes.
func listenError(v string) error {
	for _, part := range strings.Split(v, ",") {
		s := textutil.TrimSpace(part)
		i := strings.LastIndexByte(s, ':')
		switch {
		case i > 0 && (s[i-1] == ']' || strings.IndexByte(s, ':') == i):
			return errors.New("the port goes into -port")
		case s == "*":
			return errors.New("0.0.0.0,[::] stands for all addresses")
		case i < 0 && strings.Trim(s, "0123456789./") != "":
			return errors.New("a name is no address; an interface goes into -interface")
		}
	}
	return errValue
}

// parseInterfaces parses names of interfaces separated by commas. A name of
// digits is refused, because it would be read as a number.
func parseInterfaces(v string) ([]string, error) {
	if !udp.BindsInterfaces {
		return nil, errors.New("not supported on this system; use -listen")
	}
	var names []string
	for _, part := range strings.Split(v, ",") {
		name := textutil.TrimSpace(part)
		if name == "" || len(name) > 15 || strings.ContainsAny(name, "/ \t%") || strings.Trim(name, "0123456789") == "" {
			return nil, errValue
		}
		if !slices.Contains(names, name) { // two networks may be on one
			names = append(names, name)
		}
	}
	return names, nil
}

// crossInterfaces returns each address on each interface. An address that already
// names its interface stays as it is.
func crossInterfaces(addrs []ipaddr.Addr, names []string) (all []ipaddr.Addr) {
	for _, a := range addrs {
		if a.Zone != "" {
			all = append(all, a)
			continue
		}
		for _, name := range names {
			all = append(all, ipaddr.Addr{IP: a.IP, Zone: name})
		}
	}
	return all
}

// variableName returns the name of a flag's environment variable.
//
//go:noinline
func variableName(name string) string {
	return variablePrefix + textutil.Map(name, func(c byte) byte {
		if c == '-' {
			return '_'
		}
		return textutil.Upper(c)
	})
}

// variablePrefix begins the name of each variable.
const variablePrefix = "PICO_TRACKER__"

// parseConfig reads the command line and the environment ("NAME=value"). Its
// errors are usage errors. -help and -version work even if other flags are wrong.
func parseConfig(args, env []string) (*config, error) {
	c := &config{
		port:          1337,
		listen:        []ipaddr.Addr{ipaddr.Any4, ipaddr.Any6},
		interval:      15 * 60,
		workers:       min(runtime.GOMAXPROCS(0), maxWorkers),
		scopes:        true,
		sandbox:       true,
		connectLimit:  defaultConnects,
		scrapeLimit:   maxScrapeHashes,
		statsInterval: 15,
		origins:       map[string]string{},
	}
	if err := setIsolate(c, vpnPrefixes); err != nil {
		return nil, err // a mistake in vpnPrefixes; a test would find it
	}
	given, files, err := parseFlags(args)
	c.files = files
	c.help, c.version = isTrue(given["help"]), isTrue(given["version"])
	if c.help || c.version {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	vars, err := c.readVariables(env)
	if err != nil {
		return nil, err
	}
	command := "" // the given command
	for i := range options {
		o := &options[i]
		v, ok := given[o.name]
		origin := "-" + o.name
		if !ok {
			origin = variableName(o.name)
			if v = vars[origin]; v == "" && o.name == "debug" && isBool(vars["DEBUG"]) {
				origin = "DEBUG"
				v = vars[origin]
			}
			ok = v != ""
		}
		if !ok {
			continue
		}
		if err := o.set(c, v); err != nil {
			return nil, o.valueError(origin, v, err)
		}
		c.origins[o.name] = origin
		if o.command && (o.value != "" || isTrue(v)) {
			if command != "" {
				return nil, onlyOneOf(command, origin)
			}
			command = origin
		}
	}
	if err := c.checkTogether(); err != nil {
		return nil, err
	}
	return c, nil
}

// checkTogether reports flags that exclude or need each other.
func (c *config) checkTogether() error {
	for _, pair := range [...][2]string{{"secret", "secret-file"}, {"whitelist", "blacklist"}} {
		if a, b := c.origins[pair[0]], c.origins[pair[1]]; a != "" && b != "" {
			return onlyOneOf(a, b)
		}
	}
	// A path may be a unit's default. The file is then not followed.
	if !c.scopes && c.origins["external-ip"] != "" && c.externalFile == "" {
		return usageError(c.origins["external-ip"] + " has no effect with " + c.origins["scope"] + " off: give only one of them")
	}
	if !c.scopes && c.origins["isolate"] != "" {
		return usageError(c.origins["isolate"] + " has no effect with " + c.origins["scope"] + " off: give only one of them")
	}
	for _, name := range [...]string{"probe-scrape", "probe-announce"} {
		if c.probe == "" && c.origins[name] != "" {
			return usageError("-" + name + " needs -probe ADDRESS")
		}
	}
	if c.announceURL != "" && !c.hash {
		return usageError("-announce-url needs -hash FILES")
	}
	if c.inPlace && c.addTracker == "" {
		return usageError("-in-place needs -add-tracker URL")
	}
	if c.addTracker != "" && len(c.files) == 0 {
		return usageError("-add-tracker: the files are missing; want .torrent files behind the address")
	}
	if len(c.interfaces) > 0 {
		c.listen = crossInterfaces(c.listen, c.interfaces)
	}
	for _, a := range c.listen {
		if a.IsLinkLocal6() && a.Zone == "" {
			return usageError(c.origins["listen"] + ": " + a.String() + " needs the name of its interface, for example " + a.String() + "%eth0")
		}
	}
	return nil
}

// readVariables returns the variables that are not empty. An empty one counts as
// not set, so that compose files and init scripts can leave a value out. An
// unknown PICO_TRACKER__ variable is an error. A variable that is nearly ours
// gets a warning.
func (c *config) readVariables(env []string) (map[string]string, error) {
	vars := map[string]string{}
	for _, e := range env {
		name, v, _ := strings.Cut(e, "=")
		if v == "" {
			continue
		}
		vars[name] = v
		if rest, ok := strings.CutPrefix(name, variablePrefix); ok {
			o := nearestOption(rest)
			right, problem := "", ": unknown variable"
			if o != nil {
				right = variableName(o.name)
			}
			switch {
			case o != nil && o.group == groupCommands:
				problem, right = ": there is no such variable, -"+o.name+" is a flag only", ""
			case right == name:
				continue
			}
			return nil, usageError(strconv.Quote(name) + problem + didYouMean(right))
		}
		// Docker and Kubernetes set PICO_TRACKER_PORT=tcp://... for a service
		// that is called pico-tracker.
		for i := range options {
			o := &options[i]
			right := variableName(o.name)
			if o.group != groupCommands && suggest.Fold(right) == suggest.Fold(name) && !strings.Contains(v, "://") {
				c.warnings = append(c.warnings, strconv.Quote(name)+" is ignored"+didYouMean(right))
			}
		}
	}
	return vars, nil
}

// didYouMean ends a message about an unknown name.
//
//go:noinline
func didYouMean(right string) string {
	if right == "" {
		return "; -help lists the flags"
	}
	return "; did you mean " + right + "?"
}

// onlyOneOf reports two flags that exclude each other.
//
//go:noinline
func onlyOneOf(a, b string) error {
	return usageError(a + " and " + b + ": give only one of them")
}

func isBool(v string) bool {
	_, err := strconv.ParseBool(v)
	return err == nil
}

func isTrue(v string) bool {
	b, err := strconv.ParseBool(v)
	return err == nil && b
}

// valueError returns the error for a wrong value. A secret is not repeated.
func (o *option) valueError(origin, v string, err error) error {
	if o.name != "secret" {
		origin += " " + strconv.Quote(v)
	}
	if err == errValue || o.value == "" {
		return usageError(origin + ": want " + o.expected)
	}
	return usageError(origin + ": " + err.Error() + "; want " + o.expected)
}

// parseFlags collects -name value, -name=value and the same with two dashes, and
// the files behind a command that takes some. It returns the first error and goes
// on, because -help may follow.
func parseFlags(args []string) (given map[string]string, files []string, first error) {
	given = map[string]string{}
	fail := func(text string) {
		if first == nil {
			first = usageError(text)
		}
	}
	var last *option // whose value came before
	takesFiles := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		o, name, v, hasValue := splitFlag(arg)
		switch {
		case name == "" && takesFiles:
			files = append(files, arg)
			continue
		case name == "":
			fail(unexpected(arg, last))
			continue
		case o == nil:
			// The value may be a secret.
			shown, _, _ := strings.Cut(arg, "=")
			right := ""
			if near := nearestOption(name); near != nil {
				right = "-" + near.name
			}
			fail("unknown flag " + strconv.Quote(shown) + didYouMean(right))
			continue
		case hasValue:
		case o.value == "":
			v = "true"
		case len(args) == 0:
			fail("-" + o.name + ": the value is missing; want " + o.expected)
			continue
		default:
			v = args[0]
			// A secret may be anything.
			if next, _, _, _ := splitFlag(v); next != nil && o.name != "secret" {
				fail("-" + o.name + ": the value is missing before " + strconv.Quote("-"+next.name) + "; want " + o.expected)
				continue
			}
			args = args[1:]
		}
		if before, ok := given[o.name]; ok && o.list {
			v = before + "," + v
		}
		given[o.name] = v
		last = o
		takesFiles = takesFiles || o.files
		if o.name == "hash" {
			files = append(files, v)
		}
	}
	return given, files, first
}

// splitFlag splits an argument into the name of a flag and a value. The name is
// empty if the argument is no flag; o is nil if there is no such flag.
func splitFlag(arg string) (o *option, name, v string, hasValue bool) {
	name, ok := strings.CutPrefix(arg, "-")
	if !ok {
		return nil, "", "", false
	}
	name, v, hasValue = strings.Cut(strings.TrimPrefix(name, "-"), "=")
	return findOption(name), name, v, hasValue
}

// unexpected returns the error for an argument that is no flag. Behind a secret
// it may be a part of the secret, and is not shown.
func unexpected(arg string, last *option) string {
	shown, after, want := " "+strconv.Quote(arg), "", "; want flags, for example -port 1337"
	if last != nil {
		after, want = " after the value of -"+last.name, "; want one value, then flags"
		switch {
		case last.name == "secret":
			shown, want = "", "; put quotes around a value with spaces"
		case last.value == "":
			after, want = " after -"+last.name, ", which takes no value (-"+last.name+"=false switches it off)"
		}
	}
	return "unexpected argument" + shown + after + want
}

// nearestOption returns the option that name may mean, or nil.
//
//go:noinline
func nearestOption(name string) *option {
	var names []string
	for i := range options {
		names = append(names, options[i].name)
	}
	if i := suggest.Nearest(name, names); i >= 0 {
		return &options[i]
	}
	return nil
}

func findOption(name string) *option {
	for i := range options {
		if o := &options[i]; name != "" && (o.name == name || o.short == name) {
			return o
		}
	}
	return nil
}

// splitTarget splits the address of a tracker into host and port: HOST,
// HOST:PORT, [HOST]:PORT or a URL. An IPv6 address without a port needs no
// brackets. What follows the port in a URL means nothing to a UDP tracker.
func splitTarget(v string, port uint16) (string, uint16, error) {
	if scheme, rest, ok := strings.Cut(v, "://"); ok {
		if suggest.Fold(scheme) != "udp" {
			return "", 0, errors.New("only UDP trackers can be probed")
		}
		v = rest
	}
	if i := strings.IndexAny(v, "/?#"); i >= 0 {
		v = v[:i]
	}
	host, rest := v, ""
	if inner, after, ok := strings.Cut(v, "]"); ok && strings.HasPrefix(v, "[") {
		host, rest = inner[1:], after
	} else if i := strings.IndexByte(v, ':'); i >= 0 && i == strings.LastIndexByte(v, ':') {
		host, rest = v[:i], v[i:]
	}
	if digits, ok := strings.CutPrefix(rest, ":"); ok {
		n, err := parseNumber(digits, 1, 65535)
		if err != nil {
			return "", 0, errors.New("the port must be a number from 1 to 65535")
		}
		port, rest = uint16(n), ""
	}
	if _, ok := ipaddr.Parse(host); ok && rest == "" {
		return host, port, nil
	}
	// What looks like an address is no name.
	if rest != "" || strings.Trim(host, "0123456789.") == "" || strings.ContainsAny(host, ":[] \t") {
		return "", 0, errValue
	}
	return host, port, nil
}

// readSecret returns the secret from -secret or -secret-file, or nil.
func (c *config) readSecret() ([]byte, error) {
	if c.secretFile == "" {
		return c.secret, nil
	}
	name := c.origins["secret-file"] + " " + strconv.Quote(c.secretFile) + ": "
	b, err := sys.ReadRegularFile(c.secretFile)
	if err != nil {
		return nil, errors.New(name + err.Error())
	}
	secret := textutil.TrimSpace(string(b))
	if secret == "" {
		return nil, errors.New(name + "the file is empty; want a secret in it")
	}
	return []byte(secret), nil
}
