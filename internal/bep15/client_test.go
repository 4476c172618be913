package bep15

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// The wanted bytes are written by hand from the tables of BEP 15.

func TestRequests(t *testing.T) {
	const id, transaction = 0x1122334455667788, 0x01020304
	for _, c := range []struct {
		name      string
		got       []byte
		want      string
		wantBytes int
	}{
		{
			name:      "connect",
			got:       AppendConnect(nil, transaction),
			want:      "0000041727101980 00000000 01020304",
			wantBytes: ConnectSize,
		},
		{
			name: "announce",
			got: AppendAnnounce(nil, &Announce{
				ConnectionID: id, TransactionID: transaction,
				InfoHash: InfoHash{0: 0xA0, 19: 0xA9}, PeerID: [20]byte{0: 0xB0, 19: 0xB9},
				Left: 7, Event: EventStarted, Key: 0xC1C2C3C4, NumWant: -1, Port: 6881,
			}),
			want: "1122334455667788 00000001 01020304" +
				"A0" + strings.Repeat("00", 18) + "A9" + "B0" + strings.Repeat("00", 18) + "B9" +
				"0000000000000000 0000000000000007 0000000000000000" +
				"00000002 00000000 C1C2C3C4 FFFFFFFF 1AE1",
			wantBytes: AnnounceSize,
		},
		{
			name: "scrape",
			got:  AppendScrape(nil, id, transaction, InfoHash{0: 0xA0}, InfoHash{19: 0xB0}),
			want: "1122334455667788 00000002 01020304" +
				"A0" + strings.Repeat("00", 19) + strings.Repeat("00", 19) + "B0",
			wantBytes: HeaderSize + 2*len(InfoHash{}),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(c.got, want) || len(c.got) != c.wantBytes {
				t.Errorf("got  %x\nwant %x", c.got, want)
			}
		})
	}
}

func TestParseConnectReply(t *testing.T) {
	for size := range 20 {
		b := make([]byte, size)
		if size > 8 {
			b[8] = 1
		}
		id, ok := ParseConnectReply(b)
		if wantOK := size == ConnectSize; ok != wantOK || ok && id != 1<<56 {
			t.Errorf("%d bytes: got %#x, %v, want ok %v", size, id, ok, wantOK)
		}
	}
}

func TestParseAnnounceReply(t *testing.T) {
	for _, c := range []struct {
		size, peers int
		v6, ok      bool
	}{
		{size: 19},
		{size: 20, ok: true},
		{size: 25},
		{size: 26, ok: true, peers: 1},
		{size: 320, ok: true, peers: 50},
		{size: 26, v6: true},
		{size: 38, v6: true, ok: true, peers: 1},
		{size: 920, v6: true, ok: true, peers: 50},
	} {
		b := make([]byte, c.size)
		for i := range b {
			b[i] = byte(i)
		}
		r, ok := ParseAnnounceReply(b, c.v6)
		if ok != c.ok || len(r.Peers) != c.peers*PeerSize(c.v6) {
			t.Errorf("%d bytes, IPv6 %v: got %d bytes of peers, %v, want %d peers, %v", c.size, c.v6, len(r.Peers), ok, c.peers, c.ok)
		}
		if ok && (r.Interval != 0x08090a0b || r.Leechers != 0x0c0d0e0f || r.Seeders != 0x10111213) {
			t.Errorf("%d bytes: got %+v", c.size, r)
		}
	}
}

func TestParseScrapeReply(t *testing.T) {
	b := make([]byte, ScrapeReplySize+2*ScrapeEntrySize)
	for i := range b {
		b[i] = byte(i % 4 / 3 * i) // the low bytes of the words are 3, 7, 11 and so on
	}
	for size := range len(b) + 2 {
		var got []Counts
		ok := ParseScrapeReply(append(bytes.Clone(b), 0)[:size], 2, func(i int, c Counts) {
			if i != len(got) {
				t.Errorf("got torrent %d, want %d", i, len(got))
			}
			got = append(got, c)
		})
		var want []Counts
		if size == len(b) {
			want = []Counts{{Seeders: 11, Completed: 15, Leechers: 19}, {Seeders: 23, Completed: 27, Leechers: 31}}
		}
		if ok != (want != nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%d bytes: got %v, %v, want %v", size, got, ok, want)
		}
	}
}

func TestParseReplyHeader(t *testing.T) {
	b := []byte("\x00\x00\x00\x03\x01\x02\x03\x04denied\x00")
	for size := range len(b) {
		action, transaction, ok := ParseReplyHeader(b[:size])
		if ok != (size >= 8) || ok && (action != ActionError || transaction != 0x01020304) {
			t.Errorf("%d bytes: got %d, %#x, %v", size, action, transaction, ok)
		}
	}
	if got := ErrorText(b); got != "denied" {
		t.Errorf("got error text %q, want %q", got, "denied")
	}
}

// TestErrorText checks that only zero bytes at the end are cut off.
func TestErrorText(t *testing.T) {
	for text, want := range map[string]string{"": "", "\x00": "", "\x00\x00\x00": "", "no\x00": "no", "n\x00o\x00\x00": "n\x00o", "no": "no"} {
		if got := ErrorText([]byte("\x00\x00\x00\x03abcd" + text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
