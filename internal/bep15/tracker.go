package bep15

import "encoding/binary"

// This file has the tracker's side. The tracker reads single fields of a
// request, after it has checked the length.

// ConnectionID returns the connection ID of a request, or ProtocolID.
func ConnectionID(req []byte) uint64 { return binary.BigEndian.Uint64(req) }

// FirstWord returns the first four bytes of a request. In a reply they are the
// action.
func FirstWord(req []byte) uint32 { return binary.BigEndian.Uint32(req) }

// Action returns the action of a request.
func Action(req []byte) uint32 { return binary.BigEndian.Uint32(req[8:]) }

// TransactionID returns the transaction ID of a request as it is on the wire.
func TransactionID(req []byte) []byte { return req[12:16] }

// AnnounceRequest has the fields of an announce that a tracker uses. The peer
// ID, the key and the counts of bytes are not needed. The IP address is ignored
// on purpose: with it anyone could send a swarm to a victim.
type AnnounceRequest struct {
	InfoHash *InfoHash
	Left     uint64
	Event    uint32
	NumWant  int32
	Port     [2]byte // as it is on the wire
}

// ParseAnnounce reads an announce of at least AnnounceSize bytes.
func ParseAnnounce(req []byte) AnnounceRequest {
	_ = req[AnnounceSize-1]
	return AnnounceRequest{
		InfoHash: (*InfoHash)(req[16:36]),
		Left:     binary.BigEndian.Uint64(req[64:]),
		Event:    binary.BigEndian.Uint32(req[80:]),
		NumWant:  int32(binary.BigEndian.Uint32(req[92:])),
		Port:     [2]byte(req[96:98]),
	}
}

// AppendReplyHeader appends the first eight bytes of a reply.
func AppendReplyHeader(dst []byte, action uint32, transaction []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, action)
	return append(dst, transaction...)
}

// AppendConnectReply appends the reply to a connect.
func AppendConnectReply(dst, transaction []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(AppendReplyHeader(dst, ActionConnect, transaction), id)
}

// AppendError appends an error of at most limit bytes. The text is cut if it
// is longer.
func AppendError(dst, transaction []byte, text string, limit int) []byte {
	dst = AppendReplyHeader(dst, ActionError, transaction)
	return append(dst, text[:min(len(text), limit-ErrorSize)]...)
}

// PutAnnounceReply writes the first AnnounceReplySize bytes of a reply. The
// peers are behind them already.
func PutAnnounceReply(b, transaction []byte, interval, leechers, seeders uint32) {
	_ = b[AnnounceReplySize-1]
	binary.BigEndian.PutUint32(b, ActionAnnounce)
	copy(b[4:8], transaction)
	binary.BigEndian.PutUint32(b[8:], interval)
	binary.BigEndian.PutUint32(b[12:], leechers)
	binary.BigEndian.PutUint32(b[16:], seeders)
}

// AppendScrapeEntry appends the counts of one torrent to a scrape reply.
func AppendScrapeEntry(dst []byte, seeders, completed, leechers uint32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, seeders)
	dst = binary.BigEndian.AppendUint32(dst, completed)
	return binary.BigEndian.AppendUint32(dst, leechers)
}
