package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/siphash"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

// This file tests the whole program through real sockets.

// TestProgramServes has clients of both families find each other.
func TestProgramServes(t *testing.T) {
	for _, more := range [][]string{nil, {"-workers", "3"}, {"-listen", "0.0.0.0,[::]"}, {"-listen", "[::],0.0.0.0", "-workers", "2", "-memory", "64M"}} {
		p := startProgram(t, more...)
		for _, addr := range []string{"127.0.0.1", "::1"} {
			a, b := p.dial(addr), p.dial(addr)
			hash := int(a.self.Port())
			if got := a.announce(fields{hash: hash, want: -1}); len(got) != 20 || !bytes.Equal(got[12:], concat(u32(0), u32(1))) {
				t.Errorf("%q: the seeder's announce: %x", more, got)
			}
			self := append(a.self.Addr().AsSlice(), byte(a.self.Port()>>8), byte(a.self.Port()))
			if got := b.announce(fields{hash: hash, left: 1, want: -1}); len(got) < 20 || !bytes.Equal(got[12:], concat(u32(1), u32(1), self)) {
				t.Errorf("%q: the leecher's announce: %x, want %x at the end", more, got, self)
			}
			if got := b.ask(scrapeRequest(b.connect(), hash)); !bytes.Equal(got, concat(u32(2), transaction, u32(1), u32(0), u32(1))) {
				t.Errorf("%q: scrape: %x", more, got)
			}
		}
		if code := p.stop(os.Interrupt); code != 0 {
			t.Errorf("%q: exit %d", more, code)
		}
	}
}

// TestProgramStarts says what it has.
func TestProgramStarts(t *testing.T) {
	p := startProgram(t, "-interval", "20m")
	for _, want := range []string{
		"[INFO] pico-tracker " + version + "\n",
		"[INFO] no -secret: made a random one; set -secret-file to keep clients connected over a restart\n",
		fmt.Sprintf("[INFO] listening on 127.0.0.1:%d", p.port),
		fmt.Sprintf("[INFO] listening on [::1]:%d", p.port),
		"[INFO] memory 32M: up to ",
		" torrents or ", " peers; 1 worker, interval 20m0s",
	} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, p.log)
		}
	}
	a := p.dial("127.0.0.1")
	if i := a.announce(fields{})[8:12]; bytes.Compare(i, u32(1080)) < 0 || bytes.Compare(i, u32(1320)) > 0 {
		t.Errorf("interval %x", i)
	}
}

// TestProgramStops on SIGTERM and SIGINT before the time limit, and frees its port.
func TestProgramStops(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p := startProgram(t, "-workers", "2", "-secret", strings.Repeat("x", 32))
		p.dial("::1").connect()
		if code := p.stop(sig); code != 0 {
			t.Errorf("%v: exit %d", sig, code)
		}
		if strings.Contains(p.log.String(), "not stopped within") {
			t.Errorf("%v: it stopped by the time limit: %q", sig, p.log)
		}
		if !strings.Contains(p.log.String(), "[INFO] stopping: "+sig.String()) {
			t.Errorf("%v: logged %q", sig, p.log)
		}
		if strings.Contains(p.log.String(), "[WARN]") && udp.MaxBatch > 1 {
			t.Errorf("warnings where all is well:\n%s", p.log)
		}
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(p.port)})
		if err != nil {
			t.Errorf("%v: the port is not free: %v", sig, err)
			continue
		}
		c.Close()
	}
}

// openFree opens a socket on a port that is free.
func openFree(t testing.TB, ip string, batch int) (*udp.Socket, uint16) {
	t.Helper()
	addr, ok := ipaddr.Parse(ip)
	if !ok {
		t.Fatal(ip)
	}
	for {
		port := freePort(t)
		s, err := udp.Open(udp.Config{IP: addr.IP, Port: port, Batch: batch, Sizes: datagramSizes})
		if err == nil {
			return s, port
		}
		if !strings.Contains(err.Error(), "in use") { // taken in between
			t.Fatal(err)
		}
	}
}

// TestStopAnswers what has arrived.
func TestStopAnswers(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		sock, port := openFree(t, ip, min(4, udp.MaxBatch))
		s := newService(t)
		d := s.v4
		if sock.V6() {
			d = s.v6
		}
		w := &worker{sock: sock, handler: d, clock: newClock(), log: &logger.Logger{}}
		var clients []*client
		for i := 0; i < 11; i++ {
			c := dialClient(t, ip, port)
			c.send(connectRequest())
			clients = append(clients, c)
		}
		settle(t)
		sock.Stop()
		stopped := make(chan error, 1)
		go func() { stopped <- w.run() }()
		for i, c := range clients {
			if reply := c.receive(); len(reply) != 16 {
				t.Errorf("client %d: %x", i, reply)
			}
		}
		select {
		case err := <-stopped:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(deadline):
			t.Fatalf("it still runs after %v", deadline)
		}
		want := traffic{11, 11 * 16, 11 * 16}
		if c := w.published.load(); c.verdicts[connected] != want || c.sum() != want || c.sendFailed != 0 {
			t.Errorf("counted: %+v", c)
		}
		sock.Close()
	}
}

// TestProgramReloads the access list on SIGHUP.
func TestProgramReloads(t *testing.T) {
	for _, flag := range []string{"-whitelist", "-blacklist"} {
		path := filepath.Join(t.TempDir(), "list")
		deny := flag == "-blacklist"
		writeFile(t, path, digits(1)+"\n")
		p := startProgram(t, flag, path)
		a := p.dial("127.0.0.1")
		id := a.connect()
		expect := func(hash int, allowed bool) {
			t.Helper()
			reply := a.announce(fields{id: id, hash: hash, left: 1})
			if ok := bytes.HasPrefix(reply, concat(u32(1), transaction)); ok != allowed || !ok && !bytes.Equal(reply, errorReply(textDenied)) {
				t.Errorf("%s: torrent %d: %x %q", flag, hash, reply, reply)
			}
		}
		expect(1, !deny)
		expect(2, deny)
		replaceFile(t, path, digits(2)+"\n"+digits(3)+"\n")
		p.signals <- syscall.SIGHUP
		p.await(path+": 2 torrents", "1 torrent removed")
		expect(1, deny)
		expect(2, !deny)
		if deny {
			expect(4, true)
		} else {
			expect(3, true)
		}
		if got := a.ask(scrapeRequest(id, 2)); bytes.Equal(got[8:], concat(u32(0), u32(0), u32(1))) == deny {
			t.Errorf("%s: scrape: %x", flag, got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		p.signals <- syscall.SIGHUP
		p.await("no such file", "2 torrents removed")
		expect(1, false)
		expect(2, false)
	}
	// Without a list there is nothing to reload, and the log says so.
	p := startProgram(t)
	p.signals <- syscall.SIGHUP
	p.await("[INFO] SIGHUP: nothing to reload, because there is no -whitelist or -blacklist")
	p.dial("127.0.0.1").connect()
}

// TestProgramPortInUse checks that a port in use is one log line with a hint
// and exit code 1, even if sockets could share the port.
func TestProgramPortInUse(t *testing.T) {
	for _, addr := range []net.UDPAddr{{IP: net.IPv4(127, 0, 0, 1)}, {IP: net.IPv6loopback}} {
		conn, err := net.ListenUDP("udp", &addr)
		if err != nil {
			t.Fatal(err)
		}
		self := conn.LocalAddr().(*net.UDPAddr)
		for _, workers := range []string{"1", "2"} {
			expectFailure(t, []string{"-listen", addr.IP.String(), "-port", strconv.Itoa(self.Port), "-workers", workers, "-memory=32M"}, nil,
				"listen "+self.String()+": ", "address already in use (is another tracker running?)")
		}
		conn.Close()
	}
	p := startProgram(t, "-workers", "2")
	expectFailure(t, []string{"-listen", "127.0.0.1", "-port", strconv.Itoa(int(p.port)), "-workers", "2", "-memory=32M"}, nil, "in use (is another tracker running?)")
	p.dial("127.0.0.1").connect()
}

// TestProgramNoSuchAddress listens on an address that no interface has. If the
// system allows it, the tracker waits for the address.
func TestProgramNoSuchAddress(t *testing.T) {
	for _, addr := range []string{"203.0.113.77", "[2001:db8:ffff::77]"} {
		if !udp.BindsInterfaces {
			expectFailure(t, []string{"-listen", "127.0.0.1," + addr, "-port", strconv.Itoa(int(freePort(t))), "-workers=1", "-memory=32M"}, nil, "listen "+addr+":")
			continue
		}
		p := startProgram(t, "-listen", "127.0.0.1,"+addr)
		p.dial("127.0.0.1").connect()
		name := addr + ":" + strconv.Itoa(int(p.port))
		p.await("[WARN] waiting for the address " + strings.Trim(addr, "[]") + ": no interface has it, not listening on " + name + " yet")
	}
}

// TestProgramSecrets checks that one secret, given in different ways, makes IDs
// that are valid on all instances, and that those of another secret are not.
func TestProgramSecrets(t *testing.T) {
	const secret = "a secret of more than thirty-two characters"
	path := filepath.Join(t.TempDir(), "secret")
	writeFile(t, path, "  "+secret+"\r\n")
	first, second := startProgram(t, "-secret", secret), startProgram(t, "-secret-file", path)
	other := startProgram(t)
	for _, addr := range []string{"127.0.0.1", "::1"} {
		id := first.dial(addr).connect()
		if got := second.dial(addr).ask(scrapeRequest(id, 1)); !bytes.HasPrefix(got, u32(2)) {
			t.Errorf("the same secret: %x", got)
		}
		if got := other.dial(addr).ask(scrapeRequest(id, 1)); !bytes.HasPrefix(got, u32(3)) {
			t.Errorf("another secret: %x", got)
		}
	}
	for _, p := range []*instance{first, second} {
		if text := p.log.String(); strings.Contains(text, secret) || strings.Contains(text, "[WARN]") && udp.MaxBatch > 1 {
			t.Errorf("logged: %s", text)
		}
	}
}

// TestProgramLogs checks that there is one line for each packet with -debug,
// and no line that a packet causes without it.
func TestProgramLogs(t *testing.T) {
	for _, debug := range []bool{false, true} {
		p := startProgram(t, "-debug="+strconv.FormatBool(debug), "-secret=short")
		if !strings.Contains(p.log.String(), "[WARN] -secret: the secret has 5 characters and is easy to guess; use 32 or more\n") {
			t.Errorf("logged: %s", p.log)
		}
		p.log.take()
		a := p.dial("127.0.0.1")
		for _, req := range [][]byte{connectRequest()[:7], errorReply("hello, tracker"), concat(bin("6553f10001020304"), u32(9), transaction)} {
			a.send(req)
		}
		a.announce(fields{id: bin("6553f10001020304"), port: 1})
		a.announce(fields{port: 1})
		a.announce(fields{port: 1, event: 3})
		got := p.log.take()
		if !debug && len(got) != 0 {
			t.Errorf("logged: %q", got)
		}
		seeder, stopped := "; "+digits(0)+" seeder, port 1", "; "+digits(0)+" stopped, port 1"
		want := []string{"error: connection ID, 98 bytes in, 47 out" + seeder, "connect, 16 bytes in, 16 out", "announce, new, 98 bytes in, 20 out" + seeder,
			"connect, 16 bytes in, 16 out", "announce, stopped, 98 bytes in, 20 out" + stopped}
		if len(got) < len(want) && debug {
			t.Fatalf("logged: %q", got)
		}
		for i := range want[:min(len(want), len(got))] {
			line, want := got[len(got)-len(want)+i], "[DEBUG] "+a.self.String()+": "+want[i]
			if line != want {
				t.Errorf("logged %q, want %q", line, want)
			}
		}
	}
}

// TestProgramIDs are dated by the wall clock: what the tests of IDs set by
// hand.
func TestProgramIDs(t *testing.T) {
	before := time.Now().Unix()
	id := startProgram(t).dial("127.0.0.1").connect()
	after := time.Now().Unix()
	if bytes.Compare(id[:4], u32(uint32(before))) < 0 || bytes.Compare(id[:4], u32(uint32(after))) > 0 {
		t.Errorf("ID %s, issued between %d and %d", hex.EncodeToString(id), before, after)
	}
}

// TestHandlers checks that every table of every worker hashes with its own key, so that
// what is learnt of one says nothing of another, and is of the size that the
// memory was divided for.
func TestHandlers(t *testing.T) {
	keys := map[siphash.Key]bool{}
	for _, c := range []*config{
		{interval: 900, connectLimit: 10},
		{interval: 900, connectLimit: 10, secret: []byte("s")},
		{interval: 900, connectLimit: 10, secretFile: "s"},
	} {
		l, err := planMemory(16<<20, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		tr, _, err := makeTracker(c, &l, &logger.Logger{Out: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeStore(tr.store) })
		keys[tr.store.hash.key], keys[tr.store.peerHash.key], keys[tr.store.quota.hash] = true, true, true
		for range 2 {
			d, err := newHandler(tr, c, &l, deriveKey([]byte("k")), timestamp{})
			if err != nil {
				t.Fatal(err)
			}
			bytes := len(d.cookies.verifiedCache) * int(unsafe.Sizeof(verified{}))
			for _, lim := range []*limiter{d.connects, d.networks, d.errors, d.repeats} {
				keys[lim.hash] = true
				bytes += len(lim.rows) * limitRowBytes
			}
			if want := l.perWorker - socketStack - l.batch*datagramSizes.DatagramBytes(); bytes != want {
				t.Errorf("the tables of a worker take %d bytes, set aside are %d", bytes, want)
			}
			if shared := c.secret != nil || c.secretFile != ""; d.cookies.monotonicDates == shared {
				t.Errorf("secret %q, file %q: IDs are dated by the steady clock: %v", c.secret, c.secretFile, d.cookies.monotonicDates)
			}
		}
	}
	if want := 3 * (3 + 2*4); len(keys) != want {
		t.Errorf("%d keys for %d tables", len(keys), want)
	}
}

// TestTableSizes checks the sizes of the rate limits in SECURITY.md.
func TestTableSizes(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	var limits, ids string
	for _, perSocket := range []int{2 << 20, 3 << 20, 8 << 20} {
		l := divideMemory(4*perSocket, 4, nil)
		keys := limitWays * len(newLimiter(l.limits, 1, limitWindow, siphash.Key{}).rows)
		limits += fmt.Sprintf(" %d KiB, %d |", l.limits>>10, keys)
		ids += fmt.Sprintf(" %d KiB, %d |", int(unsafe.Sizeof(verified{}))<<l.idBits>>10, 1<<l.idBits)
	}
	for _, row := range []string{
		"| connects by address and port | each socket | 12.8 |" + limits,
		"| connects by network | each socket | 12.8 |" + limits,
		"| error replies by network | each socket | 12.8 |" + limits,
		"| IDs found good lately | each socket | 24 |" + ids,
		fmt.Sprintf("| stored peers by network | one | none | %[1]d KiB | %[1]d KiB | %[1]d KiB |", unsafe.Sizeof(sourceQuota{}.rows)>>10),
	} {
		if !strings.Contains(string(text), row+"\n") {
			t.Errorf("SECURITY.md has not the line\n%s", row)
		}
	}
}
