// Package probe asks a UDP tracker (BEP 15), as a client does. It runs once and
// is on every router, so it is small rather than fast.
//
// conn_linux.go and conn_other.go exchange datagrams. dns_linux.go finds the
// addresses of a name. On Linux they do not use package net, because it would
// take 300 KB of flash.
package probe

import (
	"encoding/binary"
	"errors"
	"strconv"
	"syscall"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// tries is the number of times that a request is sent.
const tries = 2

// wait is the time that a try waits for its reply. Tests shorten it.
var wait = 2 * time.Second

var (
	errNoAnswer = errors.New("no answer in 2 tries of 2 seconds")
	errRefused  = errors.New("refused: nothing listens there")
	errShort    = errors.New("malformed reply: no room for an action and a transaction ID")
	errNotReply = errors.New("malformed reply: the transaction ID is not that of the request")
	errInterval = errors.New("malformed reply: the interval is 0")
)

// Client asks one tracker. It uses one socket for all requests, because some
// trackers bind a connection ID to the client's port.
//
// The error of a request begins with the name of the request.
type Client struct {
	tracker ipaddr.Endpoint
	conn    *conn
	id      uint64 // the connection ID
	elapsed time.Duration
}

// Dial opens a socket for requests to a tracker. It sends nothing.
func Dial(tracker ipaddr.Endpoint) (*Client, error) {
	conn, err := dial(tracker)
	if err != nil {
		return nil, err
	}
	return &Client{tracker: tracker, conn: conn}, nil
}

// Close closes the socket.
func (c *Client) Close() { c.conn.close() }

// Elapsed returns the time between the last request and its reply.
func (c *Client) Elapsed() time.Duration { return c.elapsed }

// Connect gets the connection ID that all other requests need.
func (c *Client) Connect() error {
	reply, err := c.exchange("connect", bep15.AppendConnect(nil, 0), bep15.ConnectSize)
	if err != nil {
		return err
	}
	c.id, _ = bep15.ParseConnectReply(reply[:bep15.ConnectSize])
	return nil
}

// Scrape gets the counts of a torrent.
func (c *Client) Scrape(hash bep15.InfoHash) (counts bep15.Counts, err error) {
	const size = bep15.ScrapeReplySize + bep15.ScrapeEntrySize
	reply, err := c.exchange("scrape", bep15.AppendScrape(nil, c.id, 0, hash), size)
	if err == nil {
		bep15.ParseScrapeReply(reply[:size], 1, func(_ int, found bep15.Counts) { counts = found })
	}
	return counts, err
}

// Announce joins a swarm as a leecher and returns as many peers as the tracker
// gives. Call Stop after it, even if it failed: the tracker may have stored the
// peer, and would give it to others.
func (c *Client) Announce(hash bep15.InfoHash) (bep15.AnnounceReply, error) {
	return c.announce("announce", hash, bep15.EventStarted, -1)
}

// Stop leaves a swarm.
func (c *Client) Stop(hash bep15.InfoHash) error {
	_, err := c.announce("stop", hash, bep15.EventStopped, 0)
	return err
}

// announce always sends the same peer ID and port. So it leaves at most one
// peer behind, whose port is that of the discard service (RFC 863).
func (c *Client) announce(name string, hash bep15.InfoHash, event uint32, numWant int32) (bep15.AnnounceReply, error) {
	request := bep15.AppendAnnounce(nil, &bep15.Announce{
		ConnectionID: c.id,
		InfoHash:     hash,
		PeerID:       [20]byte([]byte("-PT0000-comes-n-goes")),
		Left:         1,
		Event:        event,
		NumWant:      numWant,
		Port:         9,
	})
	reply, err := c.exchange(name, request, bep15.AnnounceReplySize)
	if err != nil {
		return bep15.AnnounceReply{}, err
	}
	r, ok := bep15.ParseAnnounceReply(reply, c.tracker.Addr.Is6())
	switch {
	case !ok:
		err = errors.New("malformed reply: " + strconv.Itoa(len(reply)-bep15.AnnounceReplySize) + " bytes of peers, which take " +
			strconv.Itoa(bep15.PeerSize(c.tracker.Addr.Is6())) + " each")
	case r.Interval == 0:
		err = errInterval
	default:
		return r, nil
	}
	return r, named(name, err)
}

// exchange sends a request with a random transaction ID. It returns the reply,
// which has the right action and at least minSize bytes.
func (c *Client) exchange(name string, request []byte, minSize int) ([]byte, error) {
	transaction := bep15.TransactionID(request)
	if err := sys.Random(transaction); err != nil {
		return nil, err
	}
	start := time.Now()
	reply, err := c.conn.exchange(request, func(b []byte) error {
		_, got, ok := bep15.ParseReplyHeader(b)
		switch {
		case !ok:
			return errShort
		case got != binary.BigEndian.Uint32(transaction):
			return errNotReply
		}
		return nil
	})
	c.elapsed = time.Since(start)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		err = errRefused
	case err == nil:
		err = checkReply(reply, bep15.Action(request), minSize)
	}
	if err != nil {
		return nil, named(name, err)
	}
	return reply, nil
}

// checkReply returns an error if a reply is an error, is for another action or
// is too short.
func checkReply(reply []byte, action uint32, minSize int) error {
	got, _, _ := bep15.ParseReplyHeader(reply)
	switch {
	case got == bep15.ActionError:
		return errors.New("the tracker says: " + strconv.Quote(bep15.ErrorText(reply)))
	case got != action:
		return errors.New("malformed reply: the action is " + textutil.Decimal(uint64(got)) + ", not " + strconv.Itoa(int(action)))
	case len(reply) < minSize:
		return errors.New("malformed reply: " + strconv.Itoa(len(reply)) + " bytes, which must be at least " + strconv.Itoa(minSize))
	}
	return nil
}

// named returns an error that begins with the name of a request.
func named(request string, err error) error { return errors.New(request + ": " + err.Error()) }
