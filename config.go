package main

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file reads the command line and the environment: a flag wins over its
// variable, and the variable wins over the default.

const usage = `Usage: pico-tracker [flags]

A BitTorrent tracker over UDP (BEP 15) in a fixed amount of memory.

  -port, -p PORT        UDP port, 1 to 65535 (default 1337)
  -listen ADDRESSES     addresses to bind, comma-separated
                        (default 0.0.0.0,[::])
  -interface NAMES      take requests by these interfaces only, comma-separated
                        or one a flag; they may come and go (default: all)
  -secret, -s KEY       key of the connection IDs, 32 characters or more;
                        trackers with one key accept each other's
                        (default: random)
  -secret-file FILE     read that key from a file
  -whitelist, -w FILE   track only the info hashes in this file
  -blacklist FILE       track all but the info hashes in this file
  -memory SIZE          most resident memory of the process, as 16M or 1G
                        (default: an eighth of what there is, 8M to 256M)
  -interval TIME        announce interval, 1m to 2h (default 15m)
  -workers N            sockets for each address, 1 to 64 (default: processors)
  -scope MODE           auto: peers are given to those who can reach them, near
                        ones first; off: all to everybody (default auto)
  -external-ip ADDRESS  the router's outside, IPv4, IPv6 or both with a comma:
                        the world gets private peers with that address; auto:
                        that of the interface with the default route; or the
                        path of a file with the addresses, which is followed
  -connect-limit N      connects that an address and port may make in 2 minutes,
                        0 for no limit (default 10000)
  -scrape-limit N       info hashes of a scrape that are answered, 1 to 102
                        (default 102); 1 in a cluster, where the others are
                        elsewhere
  -stats FILE           write figures to this file, for node_exporter
                        (its name should then end in .prom) and -status
  -stats-interval TIME  how often, 1s to 1h (default 15s)
  -debug, -d            log every packet
  -plan                 print what the memory is divided into, how much fits
                        and how many requests that means, and exit
  -probe ADDRESS        ask a UDP tracker for a connection ID and exit: 0 when
                        it answers, 1 when not. HOST, HOST:PORT, [HOST]:PORT,
                        or self for what these flags would start
  -probe-scrape HASH    have the probe ask for the counts of a torrent
  -probe-announce HASH  have it announce a leecher, and take it back at once
  -status FILE          show what a tracker writes with -stats, on a terminal
                        as it changes, and exit: 1 when it is too old
  -version, -v          print the version
  -help, -h             print this

Each flag can be set by an environment variable instead: PICO_TRACKER__ and the
name in capitals, with _ for -, as in PICO_TRACKER__SECRET_FILE; for -debug also
DEBUG. SIGHUP has the list file read again, SIGUSR1 logs a summary.
`

// config is what the user has chosen.
type config struct {
	port                       uint16
	listen                     []ipaddr.Addr
	interfaces                 []string
	secret                     []byte // nil: none given
	whitelist                  string
	blacklist                  string
	memory                     int // bytes; 0 is auto
	interval                   seconds
	workers                    int
	scopes                     bool   // peers are given by scope
	externalAuto               bool   // the external addresses follow the default routes
	externalFile               string // the external addresses follow this file; "": they do not
	external4                  [4]byte
	external6                  [16]byte
	connectLimit               uint32
	scrapeLimit                int
	debug                      bool
	version                    bool
	help                       bool
	plan                       bool
	stats                      string // the file for reports; "": none
	statsInterval              seconds
	status                     string          // a file of reports to show; "": serve
	probe                      string          // a tracker to ask; "": serve
	probeScrape, probeAnnounce *bep15.InfoHash // what to ask it for; nil: not

	secretFile string
	origins    map[string]string // flag name to where its value came from
}

// usageError is a mistake on the command line or in the environment.
type usageError string

func (e usageError) Error() string { return string(e) }

// option is a flag: how it is called and what it sets.
type option struct {
	name, short string
	boolean     bool
	command     bool   // asks for something else than serving: has no variable
	list        bool   // given again it adds to what was given
	wants       string // what a good value is
	set         func(*config, string) error
}

var errValue = errors.New("") // the value is not what is wanted

var options = []option{
	{name: "port", short: "p", wants: "a port number from 1 to 65535", set: func(c *config, v string) error {
		n, err := number(v, 1, 65535)
		c.port = uint16(n)
		return err
	}},
	{name: "listen", wants: "comma-separated IP addresses, as 192.168.1.1,[fd00::1]", set: func(c *config, v string) (err error) {
		c.listen, err = parseListen(v)
		return err
	}},
	{name: "interface", list: true, wants: "comma-separated names of interfaces, as br-lan,wan", set: func(c *config, v string) (err error) {
		c.interfaces, err = parseInterfaces(v)
		return err
	}},
	{name: "secret", short: "s", wants: "a key that is not empty", set: func(c *config, v string) error {
		if v == "" {
			return errValue
		}
		c.secret = []byte(v)
		return nil
	}},
	{name: "secret-file", wants: "the path of a file", set: setPath(func(c *config) *string { return &c.secretFile })},
	{name: "whitelist", short: "w", wants: "the path of a file", set: setPath(func(c *config) *string { return &c.whitelist })},
	{name: "blacklist", wants: "the path of a file", set: setPath(func(c *config) *string { return &c.blacklist })},
	{name: "memory", wants: "a size as 16M or 1G, or auto", set: func(c *config, v string) (err error) {
		if v == "auto" {
			c.memory = 0
			return nil
		}
		c.memory, err = parseSize(v)
		return err
	}},
	{name: "interval", wants: "a time from 1m to 2h, as 15m or 900s", set: func(c *config, v string) (err error) {
		c.interval, err = duration(v, minInterval, maxInterval)
		return err
	}},
	{name: "workers", wants: "a number from 1 to 64", set: func(c *config, v string) error {
		n, err := number(v, 1, maxWorkers)
		c.workers = int(n)
		return err
	}},
	{name: "scope", wants: "auto or off", set: func(c *config, v string) error {
		if c.scopes = v == "auto"; !c.scopes && v != "off" {
			return errValue
		}
		return nil
	}},
	{name: "external-ip", list: true, wants: "an IPv4 address, an IPv6 address, or both with a comma, or auto, or the path of a file (with a /)", set: setExternalIP},
	{name: "connect-limit", wants: "a number from 0 to 1000000", set: func(c *config, v string) error {
		n, err := number(v, 0, 1000000)
		c.connectLimit = uint32(n)
		return err
	}},
	{name: "scrape-limit", wants: "a number from 1 to 102", set: func(c *config, v string) error {
		n, err := number(v, 1, maxScrapeHashes)
		c.scrapeLimit = int(n)
		return err
	}},
	{name: "stats", wants: "the path of a file", set: setPath(func(c *config) *string { return &c.stats })},
	{name: "stats-interval", wants: "a time from 1s to 1h, as 15s", set: func(c *config, v string) (err error) {
		c.statsInterval, err = duration(v, 1, 60*60)
		return err
	}},
	{name: "debug", short: "d", boolean: true, wants: "true or false", set: setBool(func(c *config) *bool { return &c.debug })},
	{name: "plan", command: true, boolean: true, wants: "true or false", set: setBool(func(c *config) *bool { return &c.plan })},
	{name: "probe", command: true, wants: "an address, as 127.0.0.1:1337 or [::1]:1337", set: setPath(func(c *config) *string { return &c.probe })},
	{name: "probe-scrape", command: true, wants: wantsHash, set: setHash(func(c *config) **bep15.InfoHash { return &c.probeScrape })},
	{name: "probe-announce", command: true, wants: wantsHash, set: setHash(func(c *config) **bep15.InfoHash { return &c.probeAnnounce })},
	{name: "status", command: true, wants: "the path of a file", set: setPath(func(c *config) *string { return &c.status })},
	{name: "version", short: "v", command: true, boolean: true, wants: "true or false", set: setBool(func(c *config) *bool { return &c.version })},
	{name: "help", short: "h", command: true, boolean: true, wants: "true or false", set: setBool(func(c *config) *bool { return &c.help })},
}

const (
	maxWorkers = 64
	wantsHash  = "an info hash: 40 hexadecimal digits, or 64"
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

// setExternalIP reads what the world knows this network as.
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
		if a.Zone != "" || i > 0 && a.Is6() == addrs[0].Is6() || i > 1 {
			return errValue
		}
		if !isGlobal(a.IP) {
			return errors.New(a.String() + " can't be reached from everywhere")
		}
		if a.Is6() {
			copy(c.external6[:], a.IP)
		} else {
			copy(c.external4[:], a.IP)
		}
	}
	return nil
}

func number(v string, least, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n < least || n > most {
		return 0, errValue
	}
	return n, nil
}

// duration reads a time as 15m or 900s.
func duration(v string, least, most seconds) (seconds, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d < time.Duration(least)*time.Second || d > time.Duration(most)*time.Second {
		return 0, errValue
	}
	return seconds(d / time.Second), nil
}

// parseSize reads a number of bytes, with K, M or G (of 1024) and perhaps B or
// iB behind it.
func parseSize(v string) (int, error) {
	s, shift := translate(v, upper), 0
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

// parseListen reads literal addresses; IPv6 may stand in brackets. A socket is
// bound to an interface by its name: a number will do for link-local ones only.
func parseListen(v string) ([]ipaddr.Addr, error) {
	var addrs []ipaddr.Addr
	for _, part := range strings.Split(v, ",") {
		s := strings.TrimSpace(part)
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

// parseInterfaces reads names of interfaces. One of digits would be taken for a
// number.
func parseInterfaces(v string) ([]string, error) {
	if !udp.BindsInterfaces {
		return nil, errors.New("not on this system: bind addresses (-listen)")
	}
	var names []string
	for _, part := range strings.Split(v, ",") {
		name := strings.TrimSpace(part)
		if name == "" || len(name) > 15 || strings.ContainsAny(name, "/ \t%") || strings.Trim(name, "0123456789") == "" {
			return nil, errValue
		}
		if !slices.Contains(names, name) { // two networks may be on one
			names = append(names, name)
		}
	}
	return names, nil
}

// byInterface is each address on each interface; what is on one already stays
// there.
func byInterface(addrs []ipaddr.Addr, names []string) (all []ipaddr.Addr) {
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

// variable is the environment variable of a flag.
func variable(name string) string {
	return "PICO_TRACKER__" + translate(name, func(c byte) byte {
		if c == '-' {
			return '_'
		}
		return upper(c)
	})
}

// parseConfig reads the command line and the environment ("NAME=value"). Its
// errors are usage errors.
func parseConfig(args, env []string) (*config, error) {
	c := &config{
		port:          1337,
		listen:        []ipaddr.Addr{ipaddr.Any4, ipaddr.Any6},
		interval:      15 * 60,
		workers:       min(runtime.GOMAXPROCS(0), maxWorkers),
		scopes:        true,
		connectLimit:  defaultConnects,
		scrapeLimit:   maxScrapeHashes,
		statsInterval: 15,
		origins:       map[string]string{},
	}
	given, err := parseFlags(args)
	if err != nil {
		return nil, err
	}
	vars := map[string]string{}
	for _, e := range env {
		if name, v, ok := strings.Cut(e, "="); ok {
			vars[name] = v
		}
	}
	for i := range options {
		o := &options[i]
		v, ok := given[o.name]
		origin := "-" + o.name
		if !ok && !o.command {
			origin = variable(o.name)
			// An empty variable is one that is not set: so compose files
			// and init scripts can leave it out.
			if v = vars[origin]; v == "" && o.name == "debug" {
				origin = "DEBUG"
				v = vars[origin]
			}
			ok = v != ""
		}
		if !ok {
			continue
		}
		if err := o.set(c, v); err != nil {
			return nil, o.mistake(origin, v, err)
		}
		c.origins[o.name] = origin
	}
	if c.version || c.help {
		return c, nil
	}
	if c.secret != nil && c.secretFile != "" {
		return nil, usageError(c.origins["secret"] + " and " + c.origins["secret-file"] + ": give one of the two")
	}
	if !c.scopes && c.origins["external-ip"] != "" {
		return nil, usageError(c.origins["external-ip"] + " does nothing with " + c.origins["scope"] + " off: give one of the two")
	}
	if c.whitelist != "" && c.blacklist != "" {
		return nil, usageError(c.origins["whitelist"] + " and " + c.origins["blacklist"] + ": give one of the two")
	}
	if c.probe == "" && (c.probeScrape != nil || c.probeAnnounce != nil) {
		return nil, usageError("-probe-scrape and -probe-announce: want -probe to go with them")
	}
	if len(c.interfaces) > 0 {
		c.listen = byInterface(c.listen, c.interfaces)
	}
	return c, nil
}

// mistake is the error for a bad value. A secret is not repeated.
func (o *option) mistake(origin, v string, err error) error {
	if o.name != "secret" {
		origin += " " + strconv.Quote(v)
	}
	if err == errValue || o.boolean {
		return usageError(origin + ": want " + o.wants)
	}
	return usageError(origin + ": " + err.Error() + "; want " + o.wants)
}

// parseFlags collects -name value, -name=value and the same with two dashes.
func parseFlags(args []string) (map[string]string, error) {
	given := map[string]string{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, ok := strings.CutPrefix(arg, "-")
		name = strings.TrimPrefix(name, "-")
		name, v, hasValue := strings.Cut(name, "=")
		o := findOption(name)
		if !ok || o == nil {
			// The value may be a secret.
			arg, _, _ = strings.Cut(arg, "=")
			return nil, usageError(strconv.Quote(arg) + ": no such flag; -help lists them")
		}
		if !hasValue {
			switch {
			case o.boolean:
				v = "true"
			case len(args) == 0:
				return nil, usageError("-" + o.name + ": value is missing; want " + o.wants)
			default:
				v, args = args[0], args[1:]
			}
		}
		if before, ok := given[o.name]; ok && o.list {
			v = before + "," + v
		}
		given[o.name] = v
	}
	return given, nil
}

func findOption(name string) *option {
	for i := range options {
		if o := &options[i]; name != "" && (o.name == name || o.short == name) {
			return o
		}
	}
	return nil
}

// readSecret is the key from -secret or -secret-file, or nil.
func (c *config) readSecret() ([]byte, error) {
	if c.secretFile == "" {
		return c.secret, nil
	}
	name := c.origins["secret-file"] + " " + c.secretFile + ": "
	b, err := sys.ReadFile(c.secretFile)
	if err != nil {
		return nil, errors.New(name + err.Error())
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return nil, errors.New(name + "the file is empty; want a key in it")
	}
	return b, nil
}
