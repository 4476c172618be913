package main

import "encoding/binary"

// This file owns the bytes of BEP 15 and knows nothing else.

// BEP 15, all fields big-endian.
const (
	protocolID = 0x41727101980

	actionConnect  = 0
	actionAnnounce = 1
	actionScrape   = 2
	actionError    = 3

	eventNone      = 0
	eventCompleted = 1
	eventStarted   = 2
	eventStopped   = 3

	headSize      = 16 // connection ID, action, transaction ID
	connectSize   = 16 // request and reply
	announceSize  = 98 // request, without BEP 41 options
	announceReply = 20 // reply, without peers
	scrapeReply   = 8  // reply, without torrents
	scrapeEntry   = 12
	errorSize     = 8 // reply, without text
)

// Our choices: no reply may be fragmented, and IPv6 promises 1280 bytes.
const (
	defaultWant = 50
	maxWant4    = 200
	maxWant6    = 66

	// maxReply is the largest reply: 1280 bytes without the headers of IPv6
	// and UDP.
	maxReply = 1280 - 40 - 8
	// maxScrapeHashes is how many torrents fit into a reply. The npm client
	// asks for 81 in two fragments, and waits for ever if fewer are answered.
	maxScrapeHashes = (maxReply - scrapeReply) / scrapeEntry
	// maxRequest is the largest request of which every byte is read.
	maxRequest = headSize + maxScrapeHashes*len(infoHash{})
)

var (
	_ [maxReply - announceReply - maxWant4*len(key4{})]byte
	_ [maxReply - announceReply - maxWant6*len(key6{})]byte
)

func requestAction(req []byte) uint32 { return binary.BigEndian.Uint32(req[8:]) }

// requestDate is the first half of the connection ID: when it was issued, or
// the first half of the protocol's ID.
func requestDate(req []byte) uint32 { return binary.BigEndian.Uint32(req) }

func requestID(req []byte) uint64        { return binary.BigEndian.Uint64(req) }
func requestTransaction(r []byte) []byte { return r[12:16] }

// announceRequest is what is read of an announce. The peer ID, the downloaded
// and uploaded counts, the key and the IP address field are not: the last
// would let anyone point a swarm at a victim.
type announceRequest struct {
	hash    *infoHash
	left    uint64
	event   uint32
	numWant int32
	port    [2]byte // wire order
}

// parseAnnounce reads a request of at least announceSize bytes.
func parseAnnounce(req []byte) announceRequest {
	_ = req[announceSize-1]
	return announceRequest{
		hash:    (*infoHash)(req[16:36]),
		left:    binary.BigEndian.Uint64(req[64:]),
		event:   binary.BigEndian.Uint32(req[80:]),
		numWant: int32(binary.BigEndian.Uint32(req[92:])),
		port:    [2]byte(req[96:98]),
	}
}

// want is how many peers to send, at most limit. A leecher that starts wants
// peers, even if it asks for none: anacrolix and BiglyBT sometimes send 0.
func (a *announceRequest) want(limit int) int {
	if a.numWant < 0 || a.numWant == 0 && a.event == eventStarted && a.left > 0 {
		return min(defaultWant, limit)
	}
	return min(int(a.numWant), limit)
}

func appendHead(dst []byte, action uint32, transaction []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, action)
	return append(dst, transaction...)
}

func appendConnect(dst, transaction []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(appendHead(dst, actionConnect, transaction), id)
}

// appendError appends an error reply of at most limit bytes in all.
func appendError(dst, transaction []byte, text string, limit int) []byte {
	dst = appendHead(dst, actionError, transaction)
	return append(dst, text[:min(len(text), limit-errorSize)]...)
}

// putAnnounceHead writes the first announceReply bytes of a reply.
func putAnnounceHead(b, transaction []byte, interval, leechers, seeders uint32) {
	_ = b[announceReply-1]
	binary.BigEndian.PutUint32(b, actionAnnounce)
	copy(b[4:8], transaction)
	binary.BigEndian.PutUint32(b[8:], interval)
	binary.BigEndian.PutUint32(b[12:], leechers)
	binary.BigEndian.PutUint32(b[16:], seeders)
}

func appendScrapeEntry(dst []byte, c census) []byte {
	dst = binary.BigEndian.AppendUint32(dst, c.seeders)
	dst = binary.BigEndian.AppendUint32(dst, c.completed)
	return binary.BigEndian.AppendUint32(dst, c.leechers)
}
