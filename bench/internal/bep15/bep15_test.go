package bep15

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// The wanted bytes are written out from the tables of BEP 15, field by field.

func TestPutConnect(t *testing.T) {
	b := bytes.Repeat([]byte{0xEE}, MaxRequest)
	n := PutConnect(b, 0x01020304)
	want(t, b[:n], "0000041727101980 00000000 01020304")
}

func TestPutAnnounce(t *testing.T) {
	b := bytes.Repeat([]byte{0xEE}, MaxRequest)
	n := PutAnnounce(b, &AnnounceRequest{
		ConnectionID:  0x1122334455667788,
		TransactionID: 0x01020304,
		InfoHash:      Hash{0: 0xA0, 19: 0xA9},
		PeerID:        [20]byte{0: 0xB0, 19: 0xB9},
		Left:          7,
		Event:         Started,
		Key:           0xC1C2C3C4,
		NumWant:       -1,
		Port:          6881,
	})
	want(t, b[:n], "1122334455667788 00000001 01020304"+
		"A0"+strings.Repeat("00", 18)+"A9"+
		"B0"+strings.Repeat("00", 18)+"B9"+
		"0000000000000000 0000000000000007 0000000000000000"+
		"00000002 00000000 C1C2C3C4 FFFFFFFF 1AE1")
	if n != AnnounceSize {
		t.Errorf("%d bytes, want %d", n, AnnounceSize)
	}
}

func TestPutScrape(t *testing.T) {
	b := bytes.Repeat([]byte{0xEE}, MaxRequest)
	n := PutScrape(b, 0x1122334455667788, 0x01020304, []Hash{{0: 0xA0}, {19: 0xB0}})
	want(t, b[:n], "1122334455667788 00000002 01020304"+
		"A0"+strings.Repeat("00", 19)+strings.Repeat("00", 19)+"B0")
	if n := PutScrape(b, 0, 0, make([]Hash, MaxHashes)); n != MaxRequest {
		t.Errorf("the longest scrape has %d bytes, want %d", n, MaxRequest)
	}
}

func TestReplies(t *testing.T) {
	if _, ok := ConnectReply(make([]byte, 15)); ok {
		t.Error("a connect reply of 15 bytes was taken")
	}
	if id, ok := ConnectReply([]byte{8: 1, 15: 2}); !ok || id != 0x0100000000000002 {
		t.Errorf("connection ID %x, %v", id, ok)
	}
	for _, c := range []struct {
		size, peers int
		v6, ok      bool
	}{
		{19, 0, false, false}, {20, 0, false, true}, {25, 0, false, false}, {26, 1, false, true},
		{320, 50, false, true}, {26, 0, true, false}, {38, 1, true, true}, {920, 50, true, true},
	} {
		peers, ok := AnnounceReply(make([]byte, c.size), c.v6)
		if peers != c.peers || ok != c.ok {
			t.Errorf("%d bytes, v6 %v: %d peers, %v", c.size, c.v6, peers, ok)
		}
		if ok && AnnounceReplySize(peers, c.v6) != c.size {
			t.Errorf("%d peers, v6 %v: not %d bytes", peers, c.v6, c.size)
		}
	}
	for size, ok := range map[int]bool{67: false, 68: true, 69: false} {
		if _, got := ScrapeReply(make([]byte, size), 5); got != ok {
			t.Errorf("a scrape reply of %d bytes for 5 hashes: want %v", size, ok)
		}
	}
	scraped := make([]byte, ScrapeReplySize(2))
	for i := range scraped {
		scraped[i] = byte(i % 4 / 3 * i) // the low bytes of the words are 3, 7, 11, ...
	}
	if peers, _ := ScrapeReply(scraped, 2); peers != 11+19+23+31 {
		t.Errorf("%d peers in a scrape reply, want %d", peers, 11+19+23+31)
	}
	if ScrapeReplySize(5) != 68 {
		t.Errorf("a scrape reply for 5 hashes has %d bytes", ScrapeReplySize(5))
	}
	if text := ErrorText([]byte("\x00\x00\x00\x03\x01\x02\x03\x04denied\x00")); text != "denied" {
		t.Errorf("error text %q", text)
	}
	if _, _, ok := Header(make([]byte, 7)); ok {
		t.Error("a reply of 7 bytes has no header")
	}
}

func want(t *testing.T, got []byte, hexText string) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(hexText, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b) {
		t.Errorf("got  %x\nwant %x", got, b)
	}
}
