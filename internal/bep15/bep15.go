// Package bep15 reads and writes the packets of the UDP tracker protocol
// (BEP 15). All functions are pure: bytes in, bytes out. They know no socket,
// no clock and no policy.
//
// tracker.go has the tracker's side: it reads requests and writes replies.
// client.go has the client's side: it writes requests and reads replies.
//
// All fields are big-endian. A request and its reply:
//
//	connect    protocol ID 8, action 4, transaction ID 4
//	           action 4, transaction ID 4, connection ID 8
//	announce   connection ID 8, action 4, transaction ID 4, info hash 20,
//	           peer ID 20, downloaded 8, left 8, uploaded 8, event 4,
//	           IP address 4, key 4, num_want 4, port 2, options of BEP 41
//	           action 4, transaction ID 4, interval 4, leechers 4, seeders 4,
//	           then 6 or 18 bytes for each peer: IP address, port 2
//	scrape     connection ID 8, action 4, transaction ID 4, then 20 bytes for
//	           each info hash
//	           action 4, transaction ID 4, then for each info hash seeders 4,
//	           completed 4, leechers 4
//	any        an error: action 4, transaction ID 4, text
package bep15

// Actions, the same in a request and in its reply.
const (
	ActionConnect  = 0
	ActionAnnounce = 1
	ActionScrape   = 2
	ActionError    = 3
)

// Events of an announce.
const (
	EventNone      = 0
	EventCompleted = 1
	EventStarted   = 2
	EventStopped   = 3
)

// ProtocolID takes the place of the connection ID in a connect.
const ProtocolID = 0x41727101980

// Sizes in bytes.
const (
	HeaderSize        = 16 // of a request: connection ID, action, transaction ID
	ConnectSize       = 16 // of the request and of the reply
	AnnounceSize      = 98 // of a request without options
	AnnounceReplySize = 20 // of a reply without peers
	ScrapeReplySize   = 8  // of a reply without torrents
	ScrapeEntrySize   = 12 // of one torrent in a reply
	ErrorSize         = 8  // of an error without text
	PeerSize4         = 6  // of an IPv4 peer
	PeerSize6         = 18 // of an IPv6 peer
)

// InfoHash identifies a torrent: SHA-1 of its info dictionary (BEP 3). The
// SHA-256 of a v2 torrent is cut to 20 bytes (BEP 52).
type InfoHash = [20]byte
