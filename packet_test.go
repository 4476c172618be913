package main

import (
	"bytes"
	"math"
	"testing"
)

// TestParseAnnounce reads each field from its place, and none from its
// neighbours.
func TestParseAnnounce(t *testing.T) {
	req := make([]byte, announceSize+2)
	for i := range req {
		req[i] = byte(i)
	}
	a := parseAnnounce(req)
	if !bytes.Equal(a.hash[:], req[16:36]) || a.left != 0x4041424344454647 || a.event != 0x50515253 ||
		a.numWant != 0x5c5d5e5f || a.port != [2]byte{0x60, 0x61} {
		t.Errorf("%+v", a)
	}
}

func TestWantedPeers(t *testing.T) {
	for _, c := range []struct {
		numWant     int32
		limit, want int
	}{
		{math.MinInt32, 200, 50}, {-1, 200, 50}, {-1, 49, 49}, {0, 200, 0}, {1, 200, 1},
		{199, 200, 199}, {200, 200, 200}, {201, 200, 200}, {math.MaxInt32, 66, 66},
	} {
		a := announceRequest{numWant: c.numWant}
		if got := a.want(c.limit); got != c.want {
			t.Errorf("num_want %d, at most %d: %d, want %d", c.numWant, c.limit, got, c.want)
		}
	}
}

// TestAppendError cuts the text where the limit is.
func TestAppendError(t *testing.T) {
	for limit := errorSize; limit < errorSize+10; limit++ {
		got := appendError([]byte("x"), []byte("abcd"), "text", limit)
		want := "x\x00\x00\x00\x03abcdtext"
		if want = want[:min(len(want), 1+limit)]; string(got) != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
}

// FuzzDecode reads whatever is long enough, as an announce and as any request.
func FuzzDecode(f *testing.F) {
	f.Add(fields{id: make([]byte, 8)}.bytes())
	f.Add(fields{id: make([]byte, 8), want: -1, left: math.MaxUint64, options: []byte("\x02\x05/a?b\x00")}.bytes())
	f.Add(scrapeRequest(make([]byte, 8), 1, 2))
	f.Add(connectRequest())
	f.Fuzz(func(t *testing.T, req []byte) {
		sent := bytes.Clone(req)
		if len(req) >= headSize {
			head := append(appendHead(nil, requestAction(req), requestTransaction(req)), u32(requestDate(req))...)
			if !bytes.Equal(head, concat(req[8:16], req[:4])) {
				t.Fatalf("head %x of %x", head, req)
			}
		}
		if len(req) >= announceSize {
			a := parseAnnounce(req)
			again := fields{
				id:      req[:8],
				left:    a.left,
				event:   a.event,
				want:    a.numWant,
				port:    uint16(a.port[0])<<8 | uint16(a.port[1]),
				options: req[announceSize:],
			}.bytes()
			for _, at := range [][2]int{{64, 72}, {80, 84}, {92, len(req)}} {
				if from, to := at[0], at[1]; !bytes.Equal(again[from:to], req[from:to]) {
					t.Fatalf("bytes %d to %d: %x read as %x", from, to, req[from:to], again[from:to])
				}
			}
			for _, limit := range []int{maxWant4, maxWant6} {
				if n := a.want(limit); n < 0 || n > limit || a.numWant >= 0 && n > int(a.numWant) {
					t.Fatalf("num_want %d: %d", a.numWant, n)
				}
			}
			if !bytes.Equal(a.hash[:], req[16:36]) {
				t.Fatalf("hash %x", a.hash)
			}
		}
		if !bytes.Equal(sent, req) {
			t.Fatal("the request was written to")
		}
	})
}
