package load

import (
	"encoding/binary"
	"math"
	"math/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

func TestFloodDatagrams(t *testing.T) {
	f := &Flood{rng: rand.New(rand.NewSource(1)), ids: []uint64{1, 2, 3}}
	b := make([]byte, 2048)
	for _, kind := range Floods() {
		f.kind = kind
		for range 100 {
			n := f.put(b, 2)
			id, action := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
			age := time.Since(time.Unix(int64(id>>32), 0))
			ok := false
			switch kind {
			case "junk":
				ok = n == junkSize && action > bep15.ActionError
			case "connects":
				ok = n == bep15.ConnectSize && id == 0x41727101980 && action == bep15.ActionConnect
			case "bad IDs":
				ok = n == bep15.AnnounceSize && action == bep15.ActionAnnounce && math.Abs(age.Seconds()) < 10
			case "announces":
				ok = n == bep15.AnnounceSize && action == bep15.ActionAnnounce && id == 3
			}
			if !ok {
				t.Fatalf("%s: %x", kind, b[:n])
			}
		}
	}
	if _, err := NewFlood(netip.MustParseAddrPort("127.0.0.1:1"), "water", 1); err == nil {
		t.Error("a flood of water was taken")
	}
}
