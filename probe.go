package main

import (
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"syscall"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file owns the probe: it asks a UDP tracker, this one or any other, as a
// client would. How names are found and datagrams exchanged is the platform's
// business. All of it is small before it is fast: it takes flash on every
// router and runs once.

const (
	probeTries = 2
	probeMost  = 4 // addresses of a name that are tried
)

// probeWait is how long a try waits for its answer. Tests shorten it.
var probeWait = 2 * time.Second

var (
	errNoAnswer = errors.New("no answer in 2 tries of 2 seconds")
	errClosed   = errors.New("refused: nothing listens there")
	errTarget   = errors.New("not an address")
	errNotSelf  = errors.New("-interface refuses requests from this machine; add lo to it")
	errCut      = errors.New("malformed reply: no room for an action and a transaction ID")
	errStray    = errors.New("malformed reply: the transaction ID is not that of the request")
)

// probe asks the tracker that c.probe names for a connection ID and what else
// c wants of it, and writes a line for each answer. Of a name's addresses one
// that gives an ID is enough; the rest is asked of that one.
func probe(c *config, stdout io.Writer) error {
	addrs, port, err := c.probeTargets()
	failures := ""
	if err != nil {
		failures = ": " + err.Error()
	}
	for i := 0; i < len(addrs) && i < probeMost; i++ {
		a := asker{to: ipaddr.Endpoint{Addr: addrs[i], Port: port}, stdout: stdout}
		if err = a.askAll(c); err == nil {
			return nil
		}
		failures += ": " + a.to.String() + ": " + err.Error()
		if a.id != bep15.ProtocolID {
			break
		}
	}
	return errors.New("probe " + strconv.Quote(c.probe) + failures)
}

// probeTargets are the addresses to try, one at least, and the port.
func (c *config) probeTargets() ([]ipaddr.Addr, uint16, error) {
	if c.probe == "self" {
		addrs := probeSelf(c.listen)
		if addrs == nil {
			return nil, 0, errNotSelf
		}
		return addrs, c.port, nil
	}
	host, port, err := splitTarget(c.probe, c.port)
	if err != nil {
		return nil, 0, err
	}
	if addr, ok := ipaddr.Parse(host); ok {
		return []ipaddr.Addr{addr.Unmap()}, port, nil
	}
	addrs, err := lookup(host)
	return addrs, port, err
}

// probeSelf are the addresses at which a tracker that listens on these can be
// asked from its own machine: a wildcard's is the loopback address. What a
// machine sends to itself comes by its loopback interface, whatever the
// address; but for a link-local one.
func probeSelf(listen []ipaddr.Addr) (addrs []ipaddr.Addr) {
	for _, a := range listen {
		linkLocal := a.IsLinkLocal6()
		switch {
		case a.Zone != "" && a.Zone != "lo" && !linkLocal:
			continue
		case a.IsUnspecified():
			a = loopback(a.Is6())
		case !linkLocal:
			a.Zone = ""
		}
		addrs = append(addrs, a)
	}
	return addrs
}

func loopback(v6 bool) ipaddr.Addr {
	if v6 {
		return ipaddr.Addr{IP: ipaddr.Any6.IP[:15] + "\x01"}
	}
	return ipaddr.Addr{IP: "\x7f\x00\x00\x01"}
}

// asker is a conversation with one tracker, from one socket: some give their
// IDs to a port.
type asker struct {
	to     ipaddr.Endpoint
	stdout io.Writer
	line   *line
	id     uint64 // the connection ID; to get one, the protocol's
}

// askAll asks everything that c wants of a tracker.
func (a *asker) askAll(c *config) (err error) {
	a.id = bep15.ProtocolID
	if a.line, err = dial(a.to); err != nil {
		return err
	}
	defer a.line.close()
	if err = a.ask("connect", bep15.ActionConnect, nil, 8, func(reply []byte) (string, error) {
		a.id = binary.BigEndian.Uint64(reply)
		return "", nil
	}); err != nil {
		return err
	}
	if h := c.probeScrape; h != nil {
		err = a.ask("scrape", bep15.ActionScrape, h[:], bep15.ScrapeEntrySize, func(reply []byte) (string, error) {
			return field(reply, "seeder") + ", " + field(reply[8:], "leecher") + ", " + field(reply[4:], "download"), nil
		})
	}
	if h := c.probeAnnounce; h != nil && err == nil {
		err = a.announce("announce", h, bep15.EventStarted)
		// It leaves, whatever the answer was: nobody shall be sent to what
		// is no peer.
		if left := a.announce("stop", h, bep15.EventStopped); err == nil {
			err = left
		}
	}
	return err
}

// announce is one announce as a leecher, who is told of everyone. Its port is
// always the same, so that it can leave one peer behind at the most, and
// discards what comes (RFC 863).
func (a *asker) announce(what string, h *bep15.InfoHash, event byte) error {
	request := make([]byte, bep15.AnnounceSize) // with the head, for its known offsets
	copy(request[16:], h[:])
	copy(request[36:], "-PT0000-comes-n-goes")
	request[71] = 1 // left
	request[83] = event
	request[97] = 9
	if event == bep15.EventStarted {
		copy(request[92:], "\xff\xff\xff\xff") // as many peers as the tracker likes
	}
	return a.ask(what, bep15.ActionAnnounce, request[bep15.HeaderSize:], bep15.AnnounceReplySize-8, func(reply []byte) (string, error) {
		size := len(key4{})
		if a.to.Addr.Is6() {
			size = len(key6{})
		}
		interval := binary.BigEndian.Uint32(reply)
		peers := reply[bep15.AnnounceReplySize-8:]
		switch {
		case interval == 0:
			return "", errors.New("malformed reply: the interval is 0")
		case len(peers)%size != 0:
			return "", errors.New("malformed reply: " + strconv.Itoa(len(peers)) + " bytes of peers, which take " + strconv.Itoa(size) + " each")
		case event == bep15.EventStopped:
			return "", nil
		}
		w := words(field(reply[8:], "seeder") + ", " + field(reply[4:], "leecher") + ", ")
		w.add(textutil.Count(uint64(len(peers)/size), "peer"))
		w.add(" given, again in ")
		w.add(ageText(seconds(interval)))
		for ; len(peers) > 0; peers = peers[size:] {
			port := binary.BigEndian.Uint16(peers[size-2:])
			w.add("\n  ")
			w.add(ipaddr.Endpoint{Addr: ipaddr.Addr{IP: string(peers[:size-2])}, Port: port}.String())
		}
		return string(w), nil
	})
}

// field returns a count in a reply and what is counted.
func field(b []byte, thing string) string {
	return textutil.Count(uint64(binary.BigEndian.Uint32(b)), thing)
}

// ask sends one request, has read tell of the reply's body, which has at least
// that many bytes, and writes the line.
func (a *asker) ask(what string, action uint32, body []byte, least int, read func([]byte) (string, error)) error {
	request := binary.BigEndian.AppendUint64(nil, a.id)
	request = binary.BigEndian.AppendUint32(request, action)
	request = append(request, 0, 0, 0, 0)
	transaction := request[12:16]
	if err := sys.Random(transaction); err != nil {
		return err
	}
	began := time.Now()
	reply, err := a.line.exchange(append(request, body...), func(b []byte) error {
		switch {
		case len(b) < 8:
			return errCut
		case string(b[4:8]) != string(transaction):
			return errStray
		}
		return nil
	})
	took := int(time.Since(began) / (10 * time.Microsecond))
	told := ""
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = errClosed
	}
	if err == nil {
		told, err = readReply(reply, action, least, read)
	}
	if err != nil {
		return errors.New(what + ": " + err.Error())
	}
	if told != "" {
		told = ": " + told
	}
	hundredths := strconv.Itoa(took%100 + 100)[1:]
	_, err = io.WriteString(a.stdout, a.to.String()+" answers the "+what+" in "+strconv.Itoa(took/100)+"."+hundredths+" ms"+told+"\n")
	return err
}

// readReply judges a reply with the request's transaction ID.
func readReply(reply []byte, action uint32, least int, read func([]byte) (string, error)) (string, error) {
	got, body := binary.BigEndian.Uint32(reply), reply[8:]
	switch {
	case got == bep15.ActionError:
		return "", errors.New("the tracker says: " + strconv.Quote(string(body)))
	case got != action:
		return "", errors.New("malformed reply: the action is " + textutil.Decimal(uint64(got)) + ", not " + strconv.Itoa(int(action)))
	case len(body) < least:
		return "", errors.New("malformed reply: " + strconv.Itoa(len(reply)) + " bytes, which must be at least " + strconv.Itoa(8+least))
	}
	return read(body)
}
