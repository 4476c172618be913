//go:build linux

// Package cluster tests the calculations and files of pico-cluster, with an nft
// and an ip that only record their calls, and with several shells and awks. The
// effect in the kernel is tested in e2e/.
package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const slots = 256

// A balancer is pico-cluster in its own directory, run by a shell.
type balancer struct {
	*testing.T
	dir   string
	shell []string
}

// shells runs a test with a shell and the tools of the system, and with BusyBox
// and its tools.
func shells(t *testing.T, test func(b *balancer)) {
	for _, shell := range [][]string{{"dash"}, {"busybox", "ash"}} {
		t.Run(shell[0], func(t *testing.T) {
			t.Parallel()
			for _, tool := range []string{shell[0], "flock"} {
				if _, err := exec.LookPath(tool); err != nil {
					skip(t, tool+" is not installed (see cluster/packages.txt)")
				}
			}
			test(newBalancer(t, shell))
		})
	}
}

// skip skips the test. In CI it fails the test.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" || os.Getenv("PICO_NO_SKIP") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func newBalancer(t *testing.T, shell []string) *balancer {
	b := &balancer{t, t.TempDir(), shell}
	for name, text := range map[string]string{
		// Keep the last ruleset. Refuse a ruleset that has an instance
		// with the name "wrong".
		"nft": `case $1 in
			list) [ "$2" != chain ] || [ -e $0.loaded ] ;;
			-c) ! grep -q to-wrong "$3" ;;
			-f) cp "$2" $0.loaded ;;
			esac`,
		// All addresses that begin with 10. or fd are on this machine's
		// network.
		"ip": `case "$*" in
			*"route get 10."* | *"route get fd"*) echo "$4 dev eth0 src 10.0.0.1" ;;
			*"route get 127."*) echo "local $4 dev lo" ;;
			*"route get"*) echo "$4 via 10.0.0.254 dev eth0" ;;
			*"via fd00::bad"*) exit 2 ;;
			*"rule show") cat $0.rules 2>/dev/null ;;
			*) echo "$*" >>$0.log ;;
			esac`,
		// The pause of a check ends when all instances that will answer
		// have answered.
		"sleep": `for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
				set -- $PICO_CLUSTER_RUN/answers.*/*
				[ -e "$1" ] || shift
				[ $# -lt "$(cat ${0%/*}/pico-tracker.talking)" ] || exit 0
				"$REAL_SLEEP" 0.5
			done`,
		// An instance answers unless its address is in the file.
		"pico-tracker": `! grep -qxF "$2" $0.silent 2>/dev/null`,
	} {
		b.write("bin/"+name, "#!/bin/sh\n"+text+"\n", 0o755)
	}
	if shell[0] == "busybox" {
		path, err := exec.LookPath("busybox")
		if err != nil {
			t.Fatal(err)
		}
		for _, applet := range strings.Fields("awk cat cp cut grep head mkdir mktemp mv rm sed sha256sum tr wc") {
			if err := os.Symlink(path, filepath.Join(b.dir, "bin", applet)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

func (b *balancer) write(name, text string, mode os.FileMode) {
	b.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.Fatal(err)
	}
}

func (b *balancer) read(name string) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	return string(text)
}

// run runs pico-cluster and returns its output and its exit code.
func (b *balancer) run(command string) (string, int) {
	b.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(b.shell[0], append(b.shell[1:len(b.shell):len(b.shell)], "./pico-cluster", command)...)
	cmd.Env = append(os.Environ(), "PATH="+b.dir+"/bin:"+os.Getenv("PATH"), "REAL_SLEEP="+sleep,
		"PICO_CLUSTER_DIR="+b.dir, "PICO_CLUSTER_RUN="+b.dir+"/run", "PICO_CLUSTER_TEMPLATE=pico-cluster.nft")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (b *balancer) mustRun(command string) string {
	b.Helper()
	out, code := b.run(command)
	if code != 0 {
		b.Fatalf("%s: exit code %d: %s", command, code, out)
	}
	return out
}

// An instance is a line of the file.
type instance struct {
	name   string
	weight int
}

func (i instance) address() string {
	return "10.0.0." + strings.TrimPrefix(i.name, "i")
}

func (b *balancer) apply(instances ...instance) {
	b.Helper()
	text := "service 192.0.2.1 1337\n"
	for _, i := range instances {
		text += fmt.Sprintf("%s %d %s\n", i.name, i.weight, i.address())
	}
	b.write("instances", text, 0o644)
	b.mustRun("apply")
}

// owners returns the owner of each slot: its own ("slots") or the present one
// ("run/now").
func (b *balancer) owners(file string) (owners [slots]string) {
	b.Helper()
	n := 0
	for _, line := range strings.Split(b.read(file), "\n") {
		var slot int
		var name string
		if k, _ := fmt.Sscanf(line, "slot %d %s", &slot, &name); k == 2 {
			owners[slot] = name
			n++
		}
	}
	if n != slots {
		b.Fatalf("%s has %d slots", file, n)
	}
	return owners
}

// loaded returns the owner of each slot in the last ruleset.
func (b *balancer) loaded() (owners [slots]string) {
	b.Helper()
	names := map[string]string{} // by mark
	for _, line := range strings.Split(b.read("bin/nft.loaded"), "\n") {
		var mark, name string
		if n, _ := fmt.Sscanf(line, "add element inet pico_cluster sent { %s : %s }", &mark, &name); n == 2 {
			names[mark] = strings.TrimPrefix(strings.Trim(name, `"`), "to-")
		}
		elements, ok := strings.CutPrefix(line, "add element inet pico_cluster slots {")
		if !ok {
			continue
		}
		for _, element := range strings.Split(strings.TrimSuffix(elements, "}"), ",") {
			var slot int
			if n, _ := fmt.Sscanf(element, " %d : %s", &slot, &mark); n != 2 {
				b.Fatalf("element %q", element)
			}
			owners[slot] = names[mark]
		}
	}
	return owners
}

// TestSlots checks that the numbers of slots follow the weights exactly. A
// removed instance frees only its own slots, an added instance takes only its
// share, and a second apply moves nothing.
func TestSlots(t *testing.T) {
	shells(t, func(b *balancer) {
		rng := rand.New(rand.NewPCG(1, 2))
		var all []instance
		next := 1
		for step := range 15 {
			before := [slots]string{}
			if step > 0 {
				before = b.owners("slots")
			}
			added, removed, changed := "", "", ""
			switch kind := rng.IntN(4); {
			case len(all) < 2 || kind < 2 && len(all) < 12:
				added = fmt.Sprint("i", next)
				next++
				all = append(all, instance{added, 1 + rng.IntN(4)})
			case kind == 2:
				n := rng.IntN(len(all))
				removed = all[n].name
				all = slices.Delete(all, n, n+1)
			default:
				n := rng.IntN(len(all))
				changed = all[n].name
				all[n].weight = 1 + rng.IntN(4)
			}
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			what := fmt.Sprintf("step %d: %v, added %q removed %q changed %q", step, all, added, removed, changed)
			b.apply(all...)
			after := b.owners("slots")
			if got := b.owners("run/now"); got != after {
				b.Errorf("%s: with all of them up, now is %v and slots %v", what, got, after)
			}
			if got := b.loaded(); got != after {
				b.Errorf("%s: the ruleset has %v, want %v", what, got, after)
			}

			total, have := 0, map[string]int{}
			for _, i := range all {
				total += i.weight
			}
			for s, name := range after {
				have[name]++
				if step == 0 || name == before[s] {
					continue
				}
				if added != "" && name != added || removed != "" && before[s] != removed {
					b.Errorf("%s: slot %d went from %s to %s", what, s, before[s], name)
				}
			}
			for _, i := range all {
				due := float64(slots*i.weight) / float64(total)
				// Removals move no other slots, so the rounding
				// errors add up.
				if over := float64(have[i.name]) - due; over < -1.5 || over > 1.5 {
					b.Errorf("%s: %s has %d slots, due are %.1f", what, i.name, have[i.name], due)
				}
			}
			if out := b.mustRun("apply"); !strings.Contains(out, " 0 of 256 slots") || b.owners("slots") != after {
				b.Errorf("%s: applied again: %s", what, out)
			}
		}
	})
}

// Three failed checks take an instance's slots away, three good checks give the
// same slots back. An instance keeps inherited slots while another one fails.
// If no instance answers, every slot stays with its own instance.
func TestHealth(t *testing.T) {
	shells(t, func(b *balancer) {
		all := []instance{{"i1", 1}, {"i2", 1}, {"i3", 1}, {"i4", 1}}
		b.apply(all...)
		home := b.owners("slots")
		silent := func(names ...string) {
			text := ""
			for _, name := range names {
				text += instance{name: name}.address() + ":1337\n"
			}
			b.write("bin/pico-tracker.silent", text, 0o644)
			b.write("bin/pico-tracker.talking", fmt.Sprintln(len(all)-len(names)), 0o644)
		}
		// checks runs three checks. The change must come with the last
		// one.
		checks := func() (now [slots]string) {
			b.Helper()
			before := b.owners("run/now")
			for range 2 {
				b.mustRun("check")
				if b.owners("run/now") != before {
					b.Error("slots moved before the third check")
				}
			}
			b.mustRun("check")
			now = b.owners("run/now")
			if b.loaded() != now {
				b.Error("the ruleset has other slots")
			}
			return now
		}
		silent()
		b.mustRun("check")
		if b.owners("run/now") != home {
			b.Error("all answer, and slots moved")
		}

		silent("i2")
		first := checks()
		have := map[string]int{}
		for s, name := range first {
			have[name]++
			if home[s] != "i2" && name != home[s] {
				b.Errorf("slot %d of %s, which is up, went to %s", s, home[s], name)
			}
		}
		if have["i2"] != 0 || have["i1"] < 85 || have["i3"] < 85 || have["i4"] < 85 {
			b.Errorf("slots %v", have)
		}
		if out := b.mustRun("status"); !strings.Contains(out, "down") {
			b.Errorf("status: %s", out)
		}

		silent("i2", "i3")
		for s, name := range checks() {
			if first[s] != "i3" && name != first[s] {
				b.Errorf("slot %d went from %s to %s", s, first[s], name)
			}
			if name == "i2" || name == "i3" {
				b.Errorf("slot %d is with %s", s, name)
			}
		}

		// An apply in between does not forget which instance is down.
		b.apply(all...)
		if b.owners("run/now")[slots-1] == "i2" || b.owners("slots") != home {
			b.Error("apply gave slots to who is down")
		}

		silent("i1", "i2", "i3", "i4")
		if checks() != home {
			b.Error("nobody answers, and not all is as by right")
		}
		silent()
		if checks() != home {
			b.Error("all are back, and their slots aren't")
		}

		// The next check restores the rules after a flush by another
		// program.
		if err := os.Remove(filepath.Join(b.dir, "bin/nft.loaded")); err != nil {
			b.Fatal(err)
		}
		b.mustRun("check")
		if b.loaded() != home {
			b.Error("the ruleset is not back")
		}
	})
}

// TestMistakes checks that a message names the line of a mistake, and that
// nothing changes.
func TestMistakes(t *testing.T) {
	shells(t, func(b *balancer) {
		const service, one = "# a comment\n\nservice 192.0.2.1 2001:db8::1 1337\n", "one 1 10.0.0.1 fd00::1\n"
		b.write("instances", service+one, 0o644)
		b.mustRun("apply")
		state, ruleset := b.read("slots"), b.read("bin/nft.loaded")
		for _, c := range []struct{ text, want string }{
			{"", "no instance"},
			{"# nothing\n", "no instance"},
			{service, "no instance"},
			{one, ":1: want the service before the first instance"},
			{service + service + one, ":6: a second service"},
			{"service 1337\n" + one, ":1: service: want an IPv4 address, an IPv6 address or one of each, and a port"},
			{"service 192.0.2.1 192.0.2.2 1337\n" + one, ":1: service: want"},
			{"service 192.0.2.1 0\n" + one, `:1: port "0"`},
			{"service 192.0.2.1 65536\n" + one, `:1: port "65536"`},
			{"service 192.0.2.256 1337\n" + one, ":1: service: want"},
			{"service 192.0.2.01 1337\n" + one, ":1: service: want"},
			{"service 2001:db8:::1 1337\n" + one, ":1: service: want"},
			{"service 2001:db8::1::1 1337\n" + one, ":1: service: want"},
			{"service 2001:db8:1:1:1:1:1 1337\n" + one, ":1: service: want"},
			{"service 2001:db8:1:1:1:1:1:1:1 1337\n" + one, ":1: service: want"},
			{"service 2001:db8::12345 1337\n" + one, ":1: service: want"},
			{"service 127.0.0.1 ::2 1337\n" + one, "service 127.0.0.1 is an address of this machine"},
			{service + one + one, ":5: one is there already, in line 4"},
			{service + one + "two 1 10.0.0.1 fd00::2\n", ":5: two: another instance has that next hop"},
			{service + one + "two 0 10.0.0.2 fd00::2\n", `:5: two: weight "0": want a number from 1 to 1000`},
			{service + one + "two 1.5 10.0.0.2 fd00::2\n", `:5: two: weight "1.5"`},
			{service + one + "two 1 10.0.0.2\n", ":5: two: want a next hop for each family of the service, which has both"},
			{"service 192.0.2.1 1337\n" + one, ":2: one: want a next hop for each family of the service, which has IPv4 alone"},
			{service + one + "two 1\n", ":5: two: want a next hop"},
			{service + one + "two 1 10.0.0.2 fd00::2 extra\n", ":5: two: want a next hop"},
			{service + one + "two 1 192.0.2.2 fd00::2\n", ":5: two: no network of this machine has 192.0.2.2 on it"},
			{service + one + "t;wo 1 10.0.0.2 fd00::2\n", `:5: name "t;wo"`},
			{service + one + "$(reboot) 1 10.0.0.2 fd00::2\n", `:5: name "$(reboot)"`},
		} {
			b.write("instances", c.text, 0o644)
			out, code := b.run("apply")
			if code != 2 || !strings.Contains(out, c.want) || !strings.Contains(out, "instances") {
				b.Errorf("%q: exit code %d, %q, want 2 and %q", c.text, code, out, c.want)
			}
		}
		// Rules that nft refuses change nothing.
		b.write("instances", service+one+"wrong 1 10.0.0.2 fd00::2\n", 0o644)
		if out, code := b.run("apply"); code != 1 || !strings.Contains(out, "nothing changed") {
			b.Errorf("exit code %d, %q", code, out)
		}
		if b.read("slots") != state || b.read("bin/nft.loaded") != ruleset {
			b.Error("a mistake changed something")
		}
		for _, command := range []string{"", "restart", "-x"} {
			if out, code := b.run(command); code != 2 || !strings.HasPrefix(out, "Usage:") {
				b.Errorf("%q: exit code %d, %q", command, code, out)
			}
		}
		// Line ends of Windows and comments after an instance are
		// allowed.
		b.write("instances", strings.ReplaceAll(service+"one 1 10.0.0.1 fd00::1 # the first\n", "\n", "\r\n"), 0o644)
		b.mustRun("apply")
		if b.read("slots") != state {
			b.Error("the same instances are another state")
		}
	})
}

// TestRetreat checks that the routes stay as they were if an apply fails.
func TestRetreat(t *testing.T) {
	shells(t, func(b *balancer) {
		const service = "service 192.0.2.1 2001:db8::1 1337\n"
		b.write("instances", service+"one 1 10.0.0.1 fd00::1\n", 0o644)
		b.mustRun("apply")
		b.write("bin/ip.log", "", 0o644)
		b.write("instances", service+"one 1 10.0.0.7 fd00::7\ntwo 1 10.0.0.2 fd00::bad\n", 0o644)
		if out, code := b.run("apply"); code != 1 || !strings.Contains(out, "nothing changed") {
			t.Errorf("exit code %d, %q", code, out)
		}
		last := map[string]string{} // what was done with a table
		for _, line := range strings.Split(b.read("bin/ip.log"), "\n") {
			if change, table, ok := strings.Cut(line, " table "); ok && strings.Contains(change, "route") {
				last[change[:2]+" "+strings.Fields(table)[0]] = change
			}
		}
		for table, want := range map[string]string{
			"-4 101": "-4 route replace default via 10.0.0.1",
			"-6 101": "-6 route replace default via fd00::1",
			"-4 102": "-4 route del default",
		} {
			if last[table] != want {
				t.Errorf("table %s: %q, want %q", table, last[table], want)
			}
		}
		if log := b.read("bin/ip.log"); !strings.Contains(log, "-4 rule del fwmark 0x70630002 table 102") {
			t.Errorf("the rule of two is left: %s", log)
		}
	})
}

// TestNamedTable checks that an existing rule is not added again, also if its
// table has a name.
func TestNamedTable(t *testing.T) {
	shells(t, func(b *balancer) {
		b.write("bin/ip.rules", "100:\tfrom all fwmark 0x70630001 lookup uplink\n", 0o644)
		b.apply(instance{"i1", 1}, instance{"i2", 1})
		log := b.read("bin/ip.log")
		if strings.Contains(log, "rule add fwmark 0x70630001") || !strings.Contains(log, "rule add fwmark 0x70630002") {
			t.Errorf("%s", log)
		}
	})
}

// TestStop checks that after stop, a check does not apply the rules again, but
// apply does.
func TestStop(t *testing.T) {
	shells(t, func(b *balancer) {
		b.apply(instance{"i1", 1})
		b.write("bin/pico-tracker.talking", "1\n", 0o644)
		loaded := filepath.Join(b.dir, "bin/nft.loaded")
		b.mustRun("stop")
		if err := os.Remove(loaded); err != nil { // as nft would
			t.Fatal(err)
		}
		b.mustRun("check")
		if b.read("bin/nft.loaded") != "" {
			t.Error("a check has put it in force again")
		}
		b.mustRun("apply")
		if err := os.Remove(loaded); err != nil {
			t.Fatal(err)
		}
		b.mustRun("check")
		if b.loaded() != b.owners("slots") {
			t.Error("after an apply a check puts nothing in force")
		}
	})
}

// TestNumbers checks that names which are equal as numbers are different names.
func TestNumbers(t *testing.T) {
	shells(t, func(b *balancer) {
		for _, weight := range []string{"7", "1"} {
			b.write("instances", "service 192.0.2.1 1337\n01 "+weight+" 10.0.0.1\n1 1 10.0.0.2\n", 0o644)
			b.mustRun("apply")
		}
		n := 0
		for _, name := range b.owners("slots") {
			if name == "1" {
				n++
			}
		}
		if n != slots/2 {
			t.Errorf("%d slots, want half of them", n)
		}
	})
}

// TestNoTracker checks that a message says so if the tracker's binary is
// missing, because then no instance can be asked.
func TestNoTracker(t *testing.T) {
	shells(t, func(b *balancer) {
		b.apply(instance{"i1", 1})
		if err := os.Remove(filepath.Join(b.dir, "bin/pico-tracker")); err != nil {
			t.Fatal(err)
		}
		if path, err := exec.LookPath("pico-tracker"); err == nil {
			t.Skip(path + " is installed")
		}
		if out := b.mustRun("apply"); !strings.Contains(out, "warning: pico-tracker is not installed") {
			t.Errorf("%s", out)
		}
	})
}

// If the disk is full, nothing is applied. If the file of slots lost its
// content, it is made again.
func TestDisk(t *testing.T) {
	shells(t, func(b *balancer) {
		b.apply(instance{"i1", 1}, instance{"i2", 1})
		state, ruleset := b.read("slots"), b.read("bin/nft.loaded")
		if err := os.Symlink("/dev/full", filepath.Join(b.dir, "slots.new")); err != nil {
			t.Fatal(err)
		}
		b.write("instances", "service 192.0.2.1 1337\ni1 1 10.0.0.1\n", 0o644)
		if out, code := b.run("apply"); code != 1 || !strings.Contains(out, "nothing changed") {
			t.Errorf("exit code %d, %q", code, out)
		}
		if b.read("slots") != state || b.read("bin/nft.loaded") != ruleset {
			t.Error("something changed")
		}

		b.write("slots", "", 0o644)
		b.mustRun("apply")
		if b.loaded() != b.owners("slots") || strings.Contains(b.read("bin/nft.loaded"), "seed  map") {
			t.Error("the ruleset is not that of the slots")
		}
	})
}

// TestExample checks that the example file is valid, and the same as in the
// README.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("instances.example")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") && !strings.Contains(string(readme), "\n"+line+"\n") {
			t.Errorf("not in README.md: %s", line)
		}
	}
	shells(t, func(b *balancer) {
		b.write("instances", strings.NewReplacer("192.0.2.", "10.0.0.", "2001:db8::", "fd00::").Replace(string(text)), 0o644)
		b.mustRun("apply")
	})
}

func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		skip(t, "systemd-analyze is not installed (see cluster/packages.txt)")
	}
	text, err := os.ReadFile("pico-cluster.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := filepath.Abs("pico-cluster")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), "/usr/sbin/pico-cluster", program)
	if changed == string(text) {
		t.Fatal("the unit does not run /usr/sbin/pico-cluster")
	}
	path := filepath.Join(t.TempDir(), "pico-cluster.service")
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
}
