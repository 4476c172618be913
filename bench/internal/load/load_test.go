package load

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/bench/internal/population"
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
)

// fake is a tracker that counts requests and answers as a test wants.
type fake struct {
	conn *net.UDPConn
	// reply returns the answer to a request, or nil for none.
	reply func(action uint32, request []byte) []byte
	// connects is how many connects came, peers which peers announced, by address and port.
	connects int
	peers    map[netip.AddrPort]int
}

const fakeID = 0x1122334455667788

// startFake runs a tracker until stop is called; its counts may be read after that.
func startFake(t *testing.T, reply func(action uint32, request []byte) []byte) (f *fake, g *Generator, stop func()) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	f = &fake{conn: conn, reply: reply, peers: map[netip.AddrPort]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.serve()
	}()
	g, err = New(netip.MustParseAddrPort(conn.LocalAddr().String()))
	if err != nil {
		t.Fatal(err)
	}
	// On a busy machine a late reply must not count as lost.
	g.patience = 30 * time.Second
	stop = func() {
		conn.Close()
		<-done
		g.Close()
	}
	return f, g, stop
}

func (f *fake) serve() {
	b := make([]byte, 2048)
	for {
		n, from, err := f.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return // closed
		}
		action := binary.BigEndian.Uint32(b[8:])
		switch action {
		case bep15.ActionConnect:
			f.connects++
		case bep15.ActionAnnounce:
			f.peers[netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(b[96:]))]++
		}
		reply := f.reply(action, b[:n])
		if reply == nil {
			continue
		}
		copy(reply[4:8], b[12:16])
		if _, err := f.conn.WriteToUDPAddrPort(reply, from); err != nil {
			return
		}
	}
}

// answer returns the reply of a correct tracker, with at most 3 peers.
func answer(action uint32, request []byte) []byte {
	size := bep15.ConnectSize
	switch action {
	case bep15.ActionAnnounce:
		size = bep15.AnnounceReplySize + int(min(3, binary.BigEndian.Uint32(request[92:])))*bep15.PeerSize4
	case bep15.ActionScrape:
		size = bep15.ScrapeReplySize + (len(request)-16)/20*bep15.ScrapeEntrySize
	}
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, action)
	if action == bep15.ActionConnect {
		binary.BigEndian.PutUint64(b[8:], fakeID)
	} else if binary.BigEndian.Uint64(request) != fakeID {
		return nil // it came without its connection ID
	}
	if action == bep15.ActionScrape {
		for i := 8; i < len(b); i += 12 {
			b[i+3], b[i+7], b[i+11] = 2, 100, 3
		}
	}
	return b
}

func TestRegister(t *testing.T) {
	f, g, stop := startFake(t, answer)
	p := population.Swarms(7, 1000)
	r, err := g.Register(p)
	stop()
	if err != nil {
		t.Fatal(err)
	}
	if r.Announce.Answered != 7000 || r.Refused()+r.Malformed()+r.Lost() != 0 || r.Latency.Samples() != 7000 {
		t.Errorf("%+v of 7000 peers", r.Announce)
	}
	if len(f.peers) != 7000 {
		t.Errorf("the tracker saw %d peers, want 7000", len(f.peers))
	}
	for peer, n := range f.peers {
		if n != 1 {
			t.Errorf("%v announced %d times", peer, n)
		}
	}
	if f.connects != 7000 || r.Renewals != 7000 || r.Connect.Answered != 7000 {
		t.Errorf("%d connects, %d renewals, %d answered; want one for each of 7000 addresses",
			f.connects, r.Renewals, r.Connect.Answered)
	}
}

func TestRunKeepsTheMix(t *testing.T) {
	_, g, stop := startFake(t, answer)
	defer stop()
	w := Workload{
		Population: population.Swarms(10, 10), Connects: 1, Announces: 2, Scrapes: 1, Hashes: 5, NumWant: 2,
	}
	r, err := g.Run(w, 16, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	asked := float64(r.Requests() - r.Renewals)
	if asked < 16 {
		t.Fatalf("%.0f requests, less than a window", asked)
	}
	for name, c := range map[string]struct {
		n     uint64
		share float64
	}{
		"connects":  {r.Connect.Answered - r.Renewals, 0.25},
		"announces": {r.Announce.Answered, 0.5},
		"scrapes":   {r.Scrape.Answered, 0.25},
	} {
		// Five standard deviations.
		if got := float64(c.n) / asked; math.Abs(got-c.share) > 5*math.Sqrt(c.share*(1-c.share)/asked) {
			t.Errorf("%s are %.2f of %.0f requests, want about %.2f", name, got, asked, c.share)
		}
	}
	if r.PeersPerAnnounce() != 2 || r.Scrape.BytesPerAnswer() != 68 || r.Scraped != 25*r.Scrape.Answered {
		t.Errorf("%.1f peers an announce, %.1f bytes a scrape, %d peers in %d scrapes",
			r.PeersPerAnnounce(), r.Scrape.BytesPerAnswer(), r.Scraped, r.Scrape.Answered)
	}
	if bad := r.Refused() + r.Malformed() + r.Lost() + r.Stray; bad != 0 {
		t.Errorf("%d requests went wrong: %v", bad, r.Errors)
	}
}

func TestCount(t *testing.T) {
	_, g, stop := startFake(t, answer)
	defer stop()
	r, err := g.Count(population.Singles(1000))
	if err != nil || r.Scraped != 5*1000 || r.Scrape.Answered != 14 {
		t.Errorf("%d peers in %d scrapes, want 5000 in 14: %v", r.Scraped, r.Scrape.Answered, err)
	}
}

func TestRunAtKeepsTheRate(t *testing.T) {
	_, g, stop := startFake(t, answer)
	defer stop()
	w := Workload{Population: population.Swarms(1, 10), Announces: 1}
	if _, err := g.Register(w.Population); err != nil {
		t.Fatal(err)
	}
	r, err := g.RunAt(w, 5000, 200*time.Millisecond)
	if err != nil || r.Announce.Answered != 1000 || r.Overrun != 0 {
		t.Errorf("%d announces answered, %d not sent, want 1000 and 0: %v", r.Announce.Answered, r.Overrun, err)
	}
}

func TestRunPacedKeepsTheRate(t *testing.T) {
	_, g, stop := startFake(t, answer)
	defer stop()
	w := Workload{Population: population.Swarms(1, 10), Announces: 1}
	if _, err := g.Register(w.Population); err != nil {
		t.Fatal(err)
	}
	r, err := g.RunPaced(w, 500, 200*time.Millisecond)
	if err != nil || r.Announce.Answered != 100 || r.Elapsed < 198*time.Millisecond {
		t.Errorf("%d announces answered in %v, want 100 in 200 ms: %v", r.Announce.Answered, r.Elapsed, err)
	}
	if _, err := g.RunPaced(w, 0, time.Second); err == nil {
		t.Error("a rate of 0 was taken")
	}
}

func TestRefusedAndMalformed(t *testing.T) {
	announces := 0
	_, g, stop := startFake(t, func(action uint32, request []byte) []byte {
		if action != bep15.ActionAnnounce {
			return answer(action, request)
		}
		announces++
		switch announces % 3 {
		case 0:
			return append([]byte{0, 0, 0, bep15.ActionError, 0, 0, 0, 0}, "no\x00"...)
		case 1:
			return make([]byte, 21) // a connect's action
		}
		return append(answer(action, request), 0) // a part of a peer
	})
	defer stop()
	r, err := g.Register(population.Singles(300))
	if err != nil {
		t.Fatal(err)
	}
	if r.Announce.Refused != 100 || r.Announce.Malformed != 200 || r.Announce.Answered != 0 || r.Errors["no"] != 100 {
		t.Errorf("%+v, errors %v; want 100 refused, 200 malformed", r.Announce, r.Errors)
	}
}

func TestLostIsSentAgain(t *testing.T) {
	seen := map[string]bool{}
	_, g, stop := startFake(t, func(action uint32, request []byte) []byte {
		// The first announce of each peer is lost.
		if key := string(request[16:]); action == bep15.ActionAnnounce && !seen[key] {
			seen[key] = true
			return nil
		}
		return answer(action, request)
	})
	defer stop()
	g.patience = 200 * time.Millisecond
	r, err := g.Register(population.Singles(100))
	// A later reply makes more requests to send again, not fewer.
	if err != nil || r.Announce.Answered != 100 || r.Resent < 100 || r.Lost() != 0 {
		t.Errorf("%d answered, %d sent again, %d lost, want 100, 100, 0: %v", r.Announce.Answered, r.Resent, r.Lost(), err)
	}
	if p50 := r.Latency.Quantile(0.5); p50 < g.patience {
		t.Errorf("the time without an answer is not in the latency: median %v", p50)
	}
}

func TestBurstIsNotSentAgain(t *testing.T) {
	connects := 0
	_, g, stop := startFake(t, func(action uint32, request []byte) []byte {
		if connects++; connects%4 == 0 {
			return nil
		}
		return answer(action, request)
	})
	defer stop()
	g.patience = time.Second
	waiting := false
	r, err := g.Burst(400, func() error { waiting = true; return nil })
	if err != nil || !waiting || r.Connect.Answered != 300 || r.Connect.Lost != 100 || r.Resent != 0 {
		t.Errorf("%+v, %d sent again, want 300 answered and 100 lost: %v", r.Connect, r.Resent, err)
	}
}

func TestLimits(t *testing.T) {
	_, g, stop := startFake(t, answer)
	defer stop()
	w, err := Find("announce")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Find("nothing"); err == nil {
		t.Error("a workload that is not there was found")
	}
	for _, window := range []int{0, maxSlots + 1} {
		if _, err := g.Run(w, window, time.Second); err == nil {
			t.Errorf("a window of %d was taken", window)
		}
	}
	if _, err := g.RunAt(w, 0, time.Second); err == nil {
		t.Error("a rate of 0 was taken")
	}
	if _, err := g.Burst(maxSlots+1, nil); err == nil {
		t.Error("a burst that has no slots was taken")
	}
}
