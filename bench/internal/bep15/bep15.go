// Package bep15 writes the requests of BEP 15 and reads the replies, as a client does. It is a
// codec of its own, apart from the tracker's: a mistake they shared would not show in any count.
package bep15

import "encoding/binary"

// Actions, BEP 15.
const (
	Connect  = 0
	Announce = 1
	Scrape   = 2
	Error    = 3
)

// Sizes in bytes, BEP 15.
const (
	ConnectSize       = 16
	AnnounceSize      = 98
	scrapeHead        = 16
	announceReplyHead = 20
	scrapeReplyHead   = 8
	scrapeReplyEntry  = 12
	peerSizeV4        = 6
	peerSizeV6        = 18

	// MaxHashes is how many info hashes a scrape may name.
	MaxHashes = 74
	// MaxRequest holds the longest request that this package writes.
	MaxRequest = scrapeHead + 20*MaxHashes
)

const protocolID = 0x41727101980

// Event of an announce.
type Event uint32

// Events, BEP 15.
const (
	None      Event = 0
	Completed Event = 1
	Started   Event = 2
	Stopped   Event = 3
)

// Hash is an info hash.
type Hash [20]byte

// AnnounceRequest has the fields of an announce that the load varies.
type AnnounceRequest struct {
	ConnectionID  uint64
	TransactionID uint32
	InfoHash      Hash
	PeerID        [20]byte
	Left          uint64
	Event         Event
	Key           uint32
	NumWant       int32
	Port          uint16
}

// PutConnect writes a connect into b and returns its length.
func PutConnect(b []byte, transactionID uint32) int {
	b = b[:ConnectSize]
	binary.BigEndian.PutUint64(b[0:], protocolID)
	binary.BigEndian.PutUint32(b[8:], Connect)
	binary.BigEndian.PutUint32(b[12:], transactionID)
	return ConnectSize
}

// PutAnnounce writes an announce into b and returns its length.
func PutAnnounce(b []byte, r *AnnounceRequest) int {
	b = b[:AnnounceSize]
	binary.BigEndian.PutUint64(b[0:], r.ConnectionID)
	binary.BigEndian.PutUint32(b[8:], Announce)
	binary.BigEndian.PutUint32(b[12:], r.TransactionID)
	copy(b[16:36], r.InfoHash[:])
	copy(b[36:56], r.PeerID[:])
	binary.BigEndian.PutUint64(b[56:], 0) // downloaded
	binary.BigEndian.PutUint64(b[64:], r.Left)
	binary.BigEndian.PutUint64(b[72:], 0) // uploaded
	binary.BigEndian.PutUint32(b[80:], uint32(r.Event))
	binary.BigEndian.PutUint32(b[84:], 0) // IP address: the sender's
	binary.BigEndian.PutUint32(b[88:], r.Key)
	binary.BigEndian.PutUint32(b[92:], uint32(r.NumWant))
	binary.BigEndian.PutUint16(b[96:], r.Port)
	return AnnounceSize
}

// PutScrape writes a scrape of the given hashes into b and returns its length.
func PutScrape(b []byte, connectionID uint64, transactionID uint32, hashes []Hash) int {
	n := scrapeHead + 20*len(hashes)
	b = b[:n]
	binary.BigEndian.PutUint64(b[0:], connectionID)
	binary.BigEndian.PutUint32(b[8:], Scrape)
	binary.BigEndian.PutUint32(b[12:], transactionID)
	for i := range hashes {
		copy(b[scrapeHead+20*i:], hashes[i][:])
	}
	return n
}

// Header returns the action and the transaction ID of a reply; ok is false when it has none.
func Header(b []byte) (action, transactionID uint32, ok bool) {
	if len(b) < 8 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(b[0:]), binary.BigEndian.Uint32(b[4:]), true
}

// ConnectReply returns the connection ID of a reply to a connect; ok is false when the reply has
// another length than BEP 15's.
func ConnectReply(b []byte) (connectionID uint64, ok bool) {
	if len(b) != ConnectSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[8:]), true
}

// AnnounceReply returns how many peers a reply to an announce has; ok is false when it is cut
// short or ends in a part of a peer.
func AnnounceReply(b []byte, v6 bool) (peers int, ok bool) {
	size := peerSizeV4
	if v6 {
		size = peerSizeV6
	}
	n := len(b) - announceReplyHead
	if n < 0 || n%size != 0 {
		return 0, false
	}
	return n / size, true
}

// ScrapeReply returns how many peers, seeders and leechers, a reply to a scrape of that many hashes
// counts in all; ok is false when it has not the length it must have.
func ScrapeReply(b []byte, hashes int) (peers uint64, ok bool) {
	if len(b) != scrapeReplyHead+scrapeReplyEntry*hashes {
		return 0, false
	}
	for b = b[scrapeReplyHead:]; len(b) > 0; b = b[scrapeReplyEntry:] {
		// seeders, completed, leechers
		peers += uint64(binary.BigEndian.Uint32(b[0:])) + uint64(binary.BigEndian.Uint32(b[8:]))
	}
	return peers, true
}

// AnnounceReplySize is the length in bytes of a reply with that many peers.
func AnnounceReplySize(peers int, v6 bool) int {
	if v6 {
		return announceReplyHead + peerSizeV6*peers
	}
	return announceReplyHead + peerSizeV4*peers
}

// ScrapeReplySize is the length in bytes of a reply about that many hashes.
func ScrapeReplySize(hashes int) int {
	return scrapeReplyHead + scrapeReplyEntry*hashes
}

// ErrorText is the text of an error reply, without the zero byte that some trackers end it with.
func ErrorText(b []byte) string {
	text := b[8:]
	for len(text) > 0 && text[len(text)-1] == 0 {
		text = text[:len(text)-1]
	}
	return string(text)
}
