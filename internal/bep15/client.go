package bep15

import "encoding/binary"

// This file has the client's side, for -probe, the benchmarks and the tests.

// Announce is an announce as a client sends it.
type Announce struct {
	ConnectionID  uint64
	TransactionID uint32
	InfoHash      InfoHash
	PeerID        [20]byte
	Left          uint64
	Event         uint32
	Key           uint32
	NumWant       int32
	Port          uint16
}

// AppendRequestHeader appends the first HeaderSize bytes of a request.
func AppendRequestHeader(dst []byte, id uint64, action, transaction uint32) []byte {
	dst = binary.BigEndian.AppendUint64(dst, id)
	dst = binary.BigEndian.AppendUint32(dst, action)
	return binary.BigEndian.AppendUint32(dst, transaction)
}

// AppendConnect appends a connect.
func AppendConnect(dst []byte, transaction uint32) []byte {
	return AppendRequestHeader(dst, ProtocolID, ActionConnect, transaction)
}

// AppendAnnounce appends an announce without options. Downloaded and uploaded
// are 0. The IP address is 0 too: the tracker takes the sender's.
func AppendAnnounce(dst []byte, a *Announce) []byte {
	dst = AppendRequestHeader(dst, a.ConnectionID, ActionAnnounce, a.TransactionID)
	dst = append(dst, a.InfoHash[:]...)
	dst = append(dst, a.PeerID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, 0) // downloaded
	dst = binary.BigEndian.AppendUint64(dst, a.Left)
	dst = binary.BigEndian.AppendUint64(dst, 0) // uploaded
	dst = binary.BigEndian.AppendUint32(dst, a.Event)
	dst = binary.BigEndian.AppendUint32(dst, 0) // IP address
	dst = binary.BigEndian.AppendUint32(dst, a.Key)
	dst = binary.BigEndian.AppendUint32(dst, uint32(a.NumWant))
	return binary.BigEndian.AppendUint16(dst, a.Port)
}

// AppendScrape appends a scrape of the info hashes.
func AppendScrape(dst []byte, id uint64, transaction uint32, hashes ...InfoHash) []byte {
	dst = AppendRequestHeader(dst, id, ActionScrape, transaction)
	for i := range hashes {
		dst = append(dst, hashes[i][:]...)
	}
	return dst
}

// ParseReplyHeader returns the action and the transaction ID of a reply. ok is
// false if the reply is too short for them.
func ParseReplyHeader(b []byte) (action, transaction uint32, ok bool) {
	if len(b) < 8 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), true
}

// ParseConnectReply returns the connection ID of a reply. ok is false if the
// reply is not exactly as long as BEP 15 says.
func ParseConnectReply(b []byte) (id uint64, ok bool) {
	if len(b) != ConnectSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[8:]), true
}

// AnnounceReply is the reply to an announce.
type AnnounceReply struct {
	Interval, Leechers, Seeders uint32
	Peers                       []byte // PeerSize4 or PeerSize6 bytes for each peer
}

// ParseAnnounceReply reads a reply. ok is false if the reply is too short or
// does not end with a whole peer.
func ParseAnnounceReply(b []byte, v6 bool) (r AnnounceReply, ok bool) {
	if len(b) < AnnounceReplySize || (len(b)-AnnounceReplySize)%PeerSize(v6) != 0 {
		return AnnounceReply{}, false
	}
	return AnnounceReply{
		Interval: binary.BigEndian.Uint32(b[8:]),
		Leechers: binary.BigEndian.Uint32(b[12:]),
		Seeders:  binary.BigEndian.Uint32(b[16:]),
		Peers:    b[AnnounceReplySize:],
	}, true
}

// PeerSize returns the size of a peer in a reply.
func PeerSize(v6 bool) int {
	if v6 {
		return PeerSize6
	}
	return PeerSize4
}

// Counts are the counts of one torrent in a scrape reply.
type Counts struct{ Seeders, Completed, Leechers uint32 }

// ParseScrapeReply calls found for each torrent of a reply, in the order of the
// request. It returns false, and calls nothing, if the reply does not have that
// many torrents.
func ParseScrapeReply(b []byte, torrents int, found func(i int, c Counts)) bool {
	if len(b) != ScrapeReplySize+torrents*ScrapeEntrySize {
		return false
	}
	for i := range torrents {
		e := b[ScrapeReplySize+i*ScrapeEntrySize:]
		found(i, Counts{
			Seeders:   binary.BigEndian.Uint32(e),
			Completed: binary.BigEndian.Uint32(e[4:]),
			Leechers:  binary.BigEndian.Uint32(e[8:]),
		})
	}
	return true
}

// ErrorText returns the text of an error of at least ErrorSize bytes, without
// the zero bytes that some trackers send behind it.
func ErrorText(b []byte) string {
	text := b[ErrorSize:]
	for len(text) > 0 && text[len(text)-1] == 0 {
		text = text[:len(text)-1]
	}
	return string(text)
}
