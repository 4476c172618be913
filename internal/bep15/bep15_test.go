package bep15

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// TestParseAnnounce reads each field from its place, and none from its
// neighbours.
func TestParseAnnounce(t *testing.T) {
	req := make([]byte, AnnounceSize+2)
	for i := range req {
		req[i] = byte(i)
	}
	a := ParseAnnounce(req)
	if !bytes.Equal(a.InfoHash[:], req[16:36]) || a.Left != 0x4041424344454647 || a.Event != 0x50515253 ||
		a.NumWant != 0x5c5d5e5f || a.Port != [2]byte{0x60, 0x61} {
		t.Errorf("%+v", a)
	}
}

// TestAppendError cuts the text where the limit is.
func TestAppendError(t *testing.T) {
	for limit := ErrorSize; limit < ErrorSize+10; limit++ {
		got := AppendError([]byte("x"), []byte("abcd"), "text", limit)
		want := "x\x00\x00\x00\x03abcdtext"
		if want = want[:min(len(want), 1+limit)]; string(got) != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
}

// TestReplies checks each reply of a tracker byte by byte.
func TestReplies(t *testing.T) {
	transaction := []byte("abcd")
	announce := []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffpeers")
	PutAnnounceReply(announce, transaction, 0x01020304, 0x05060708, 0x090a0b0c)
	for _, c := range []struct{ name, got, want string }{
		{name: "connect", got: string(AppendConnectReply([]byte("x"), transaction, 0x0102030405060708)), want: "x\x00\x00\x00\x00abcd\x01\x02\x03\x04\x05\x06\x07\x08"},
		{name: "announce", got: string(announce), want: "\x00\x00\x00\x01abcd\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0cpeers"},
		{name: "scrape", got: string(AppendScrapeEntry([]byte("x"), 0x01020304, 0x05060708, 0x090a0b0c)), want: "x\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
	for n := range AnnounceReplySize {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d bytes: got no panic", n)
				}
			}()
			PutAnnounceReply(make([]byte, n), transaction, 1, 2, 3)
		}()
	}
	PutAnnounceReply(make([]byte, AnnounceReplySize), transaction, 1, 2, 3)
}

// FuzzDecode reads whatever is long enough, as an announce and as any request.
func FuzzDecode(f *testing.F) {
	f.Add(make([]byte, HeaderSize))
	f.Add(bytes.Repeat([]byte{0xff}, AnnounceSize))
	f.Add(append(make([]byte, AnnounceSize), "\x02\x05/a?b\x00"...))
	f.Fuzz(func(t *testing.T, req []byte) {
		sent := bytes.Clone(req)
		if len(req) >= HeaderSize {
			head := AppendReplyHeader(nil, Action(req), TransactionID(req))
			head = binary.BigEndian.AppendUint32(head, FirstWord(req))
			if !bytes.Equal(head, slices.Concat(req[8:16], req[:4])) {
				t.Fatalf("head %x of %x", head, req)
			}
		}
		if len(req) >= AnnounceSize {
			a := ParseAnnounce(req)
			again := make([]byte, len(req))
			binary.BigEndian.PutUint64(again[64:], a.Left)
			binary.BigEndian.PutUint32(again[80:], a.Event)
			binary.BigEndian.PutUint32(again[92:], uint32(a.NumWant))
			copy(again[96:], a.Port[:])
			for _, at := range [][2]int{{64, 72}, {80, 84}, {92, 98}} {
				if from, to := at[0], at[1]; !bytes.Equal(again[from:to], req[from:to]) {
					t.Fatalf("bytes %d to %d: %x read as %x", from, to, req[from:to], again[from:to])
				}
			}
			if !bytes.Equal(a.InfoHash[:], req[16:36]) {
				t.Fatalf("hash %x", a.InfoHash)
			}
		}
		if !bytes.Equal(sent, req) {
			t.Fatal("the request was written to")
		}
	})
}
