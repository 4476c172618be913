package probe

import (
	"encoding/hex"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/probe/probetest"
)

var testHash = bep15.InfoHash{0: 0xa0, 19: 0xa9}

// shortenWait makes the client give up after 2 times 100 ms.
func shortenWait(t *testing.T) {
	old := wait
	wait = 100 * time.Millisecond
	t.Cleanup(func() { wait = old })
}

// newClient returns a client of a tracker at a loopback address.
func newClient(t *testing.T, addr ipaddr.Addr, port uint16) *Client {
	t.Helper()
	c, err := Dial(ipaddr.Endpoint{Addr: addr, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// goodReply answers every request as a tracker does.
func goodReply(request []byte) []byte {
	switch bep15.Action(request) {
	case bep15.ActionConnect:
		return probetest.ConnectReply(request)
	case bep15.ActionScrape:
		return probetest.Reply(request, bep15.ActionScrape, 3, 12, 4)
	}
	return probetest.Reply(request, bep15.ActionAnnounce, 900, 3, 4)
}

// TestRequests compares the requests with the tables of BEP 15.
func TestRequests(t *testing.T) {
	const (
		id     = "3132333435363738"
		hash   = "a000000000000000000000000000000000" + "0000a9"
		peerID = "2d5054303030302d636f6d65732d6e2d676f6573"
		zero8  = "0000000000000000"
		left   = "0000000000000001"
	)
	requests := make(chan string, 10)
	port := probetest.Serve(t, "udp4", "127.0.0.1:0", func(request []byte) [][]byte {
		digits := hex.EncodeToString(request)
		requests <- digits[:24] + digits[32:] // without the transaction ID
		return [][]byte{goodReply(request)}
	})
	c := newClient(t, ipaddr.Loopback4, port)
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	if counts, err := c.Scrape(testHash); err != nil || counts != (bep15.Counts{Seeders: 3, Completed: 12, Leechers: 4}) {
		t.Errorf("scrape: got %+v, %v", counts, err)
	}
	reply, err := c.Announce(testHash)
	if err != nil || reply.Interval != 900 || reply.Leechers != 3 || reply.Seeders != 4 || len(reply.Peers) != 0 {
		t.Errorf("announce: got %+v, %v", reply, err)
	}
	if err := c.Stop(testHash); err != nil {
		t.Errorf("stop: %v", err)
	}
	if c.Elapsed() <= 0 {
		t.Errorf("elapsed: got %v", c.Elapsed())
	}
	want := []string{
		"0000041727101980" + "00000000",
		id + "00000002" + hash,
		id + "00000001" + hash + peerID + zero8 + left + zero8 + "00000002" + "00000000" + "00000000" + "ffffffff" + "0009",
		id + "00000001" + hash + peerID + zero8 + left + zero8 + "00000003" + "00000000" + "00000000" + "00000000" + "0009",
	}
	var got []string
	for len(requests) > 0 {
		got = append(got, <-requests)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("requests: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// badReply is a tracker that answers some requests wrongly.
type badReply struct {
	name   string
	action uint32 // the requests that get a bad reply
	reply  func(request []byte) []byte
	want   string
}

// badReplies returns the wrong replies to each kind of request.
func badReplies() []badReply {
	const noAnswer = "no answer in 2 tries of 2 seconds"
	silence := func([]byte) []byte { return nil }
	reply := probetest.Reply
	return []badReply{
		{name: "no reply to connect", action: bep15.ActionConnect, reply: silence, want: "connect: " + noAnswer},
		{name: "no reply to scrape", action: bep15.ActionScrape, reply: silence, want: "scrape: " + noAnswer},
		{name: "no reply to announce", action: bep15.ActionAnnounce, reply: silence, want: "announce: " + noAnswer},
		{
			name: "no reply to stop", action: bep15.ActionAnnounce,
			reply: func(request []byte) []byte {
				if bep15.ParseAnnounce(request).Event == bep15.EventStopped {
					return nil
				}
				return goodReply(request)
			},
			want: "stop: " + noAnswer,
		},
		{
			name: "error with a control character", action: bep15.ActionConnect,
			reply: func(request []byte) []byte { return append(reply(request, bep15.ActionError), "go\x1baway"...) },
			want:  `connect: the tracker says: "go\x1baway"`,
		},
		{
			name: "error without text", action: bep15.ActionScrape,
			reply: func(request []byte) []byte { return reply(request, bep15.ActionError) },
			want:  `scrape: the tracker says: ""`,
		},
		{
			name: "error for an announce", action: bep15.ActionAnnounce,
			reply: func(request []byte) []byte { return append(reply(request, bep15.ActionError), "no"...) },
			want:  `announce: the tracker says: "no"`,
		},
		{
			name: "one byte", action: bep15.ActionConnect,
			reply: func([]byte) []byte { return []byte("x") },
			want:  "connect: malformed reply: no room for an action and a transaction ID",
		},
		{
			name: "wrong transaction ID", action: bep15.ActionScrape,
			reply: func(request []byte) []byte {
				r := goodReply(request)
				r[7] ^= 1
				return r
			},
			want: "scrape: malformed reply: the transaction ID is not that of the request",
		},
		{
			name: "wrong action", action: bep15.ActionConnect,
			reply: func(request []byte) []byte { return reply(request, bep15.ActionAnnounce, 1, 2) },
			want:  "connect: malformed reply: the action is 1, not 0",
		},
		{
			name: "connect reply of 15 bytes", action: bep15.ActionConnect,
			reply: func(request []byte) []byte { return goodReply(request)[:15] },
			want:  "connect: malformed reply: 15 bytes, which must be at least 16",
		},
		{
			name: "scrape reply with two counts", action: bep15.ActionScrape,
			reply: func(request []byte) []byte { return reply(request, bep15.ActionScrape, 1, 2) },
			want:  "scrape: malformed reply: 16 bytes, which must be at least 20",
		},
		{
			name: "announce reply without counts", action: bep15.ActionAnnounce,
			reply: func(request []byte) []byte { return reply(request, bep15.ActionAnnounce, 900) },
			want:  "announce: malformed reply: 12 bytes, which must be at least 20",
		},
		{
			name: "interval 0", action: bep15.ActionAnnounce,
			reply: func(request []byte) []byte { return reply(request, bep15.ActionAnnounce, 0, 1, 1) },
			want:  "announce: malformed reply: the interval is 0",
		},
		{
			name: "part of a peer", action: bep15.ActionAnnounce,
			reply: func(request []byte) []byte { return reply(request, bep15.ActionAnnounce, 900, 1, 1, 0x7f000001) },
			want:  "announce: malformed reply: 4 bytes of peers, which take 6 each",
		},
	}
}

// TestErrors checks the error of each bad reply.
func TestErrors(t *testing.T) {
	shortenWait(t)
	for _, test := range badReplies() {
		t.Run(test.name, func(t *testing.T) {
			port := probetest.Serve(t, "udp4", "127.0.0.1:0", func(request []byte) [][]byte {
				r := goodReply(request)
				if bep15.Action(request) == test.action {
					r = test.reply(request)
				}
				if r == nil {
					return nil
				}
				return [][]byte{r}
			})
			c := newClient(t, ipaddr.Loopback4, port)
			err := c.Connect()
			if err == nil {
				_, err = c.Scrape(testHash)
			}
			if err == nil {
				_, err = c.Announce(testHash)
			}
			if err == nil {
				err = c.Stop(testHash)
			}
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// TestLongReply accepts a reply with more bytes than BEP 15 says, because a
// client only checks for the least.
func TestLongReply(t *testing.T) {
	port := probetest.Serve(t, "udp4", "127.0.0.1:0", func(request []byte) [][]byte {
		return [][]byte{append(goodReply(request), "more"...)}
	})
	c := newClient(t, ipaddr.Loopback4, port)
	if err := c.Connect(); err != nil || c.id != 0x3132333435363738 {
		t.Errorf("connect: got ID %#x, %v, want %s", c.id, err, probetest.ConnectionID)
	}
	if counts, err := c.Scrape(testHash); err != nil || counts.Leechers != 4 {
		t.Errorf("scrape: got %+v, %v, want 4 leechers", counts, err)
	}
}

// TestOtherDatagrams skips datagrams that arrive before the reply.
func TestOtherDatagrams(t *testing.T) {
	port := probetest.Serve(t, "udp4", "127.0.0.1:0", func(request []byte) [][]byte {
		other := probetest.ConnectReply(request)
		other[7] ^= 1
		return [][]byte{[]byte("x"), other, probetest.ConnectReply(request)}
	})
	if err := newClient(t, ipaddr.Loopback4, port).Connect(); err != nil {
		t.Error(err)
	}
}

// TestSecondTry loses the first datagram.
func TestSecondTry(t *testing.T) {
	shortenWait(t)
	requests := 0
	port := probetest.Serve(t, "udp4", "127.0.0.1:0", func(request []byte) [][]byte {
		if requests++; requests == 1 {
			return nil
		}
		return [][]byte{probetest.ConnectReply(request)}
	})
	if err := newClient(t, ipaddr.Loopback4, port).Connect(); err != nil {
		t.Error(err)
	}
}

// TestSilence checks that a request is sent twice, and how long the client waits.
func TestSilence(t *testing.T) {
	shortenWait(t)
	var requests atomic.Int32
	port := probetest.Serve(t, "udp4", "127.0.0.1:0", func([]byte) [][]byte {
		requests.Add(1)
		return nil
	})
	fastest := time.Hour // a busy machine can make a wait longer
	for range 3 {
		requests.Store(0)
		c := newClient(t, ipaddr.Loopback4, port)
		if err := c.Connect(); err == nil {
			t.Fatal("got a reply, want none")
		}
		if got := c.Elapsed(); got < tries*wait {
			t.Errorf("gave up after %v, want at least %v", got, tries*wait)
		} else if fastest = min(fastest, got); got < 2*tries*wait {
			break
		}
	}
	if fastest >= 2*tries*wait {
		t.Errorf("gave up after %v at the earliest, want about %v", fastest, tries*wait)
	}
	if got := requests.Load(); got != 2 {
		t.Errorf("got %d requests, want 2", got)
	}
}

// TestClosedPort checks the error for a port without a socket.
func TestClosedPort(t *testing.T) {
	shortenWait(t)
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	conn.Close()
	const want = "connect: refused: nothing listens there"
	if err := newClient(t, ipaddr.Loopback4, port).Connect(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
