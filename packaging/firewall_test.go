package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// With option notrack a client makes no entry in the connection tracking: not
// by requests (fw4's rule, here by hand) and not by replies (our rule, in the
// file that fw4 includes). Both rules are needed.
func TestNotrack(t *testing.T) {
	needRoot(t)
	need(t, "nft", "conntrack", "ip", "unshare", "nsenter")
	packages(t)
	dir := t.TempDir()
	scratch := filepath.Join(dir, "scratch")
	if _, err := record(t, "testdata/init/everything.config", scratch, "start_service"); err != nil {
		t.Fatal(err)
	}
	include := strings.ReplaceAll(string(read(t, "../openwrt/pico-tracker/files/pico-tracker.nft")),
		"/var/run/pico-tracker/", scratch+"/run/")
	rules := `table inet fw4 {
	chain raw_prerouting { type filter hook prerouting priority raw; udp dport 6969 notrack; }
	chain raw_output {
		type filter hook output priority raw;
` + include + `
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established accept
		udp dport 6969 accept
	}
}
`
	if err := os.WriteFile(dir+"/rules", []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `
		set -e
		tracker=$1 dir=$2
		ip link set lo up
		ip link add outer type veth peer name inner
		ip addr add 192.0.2.1/24 dev outer
		ip link set outer up
		unshare -n sh -c 'echo >"$0"/ready; exec sleep 60' "$dir" & client=$!
		"$tracker" -port 6969 -listen 192.0.2.1 -workers 1 -memory 16M & server=$!
		trap 'kill $client $server' EXIT
		until [ -e "$dir/ready" ]; do :; done
		ip link set inner netns "$client"
		inside() { nsenter -t "$client" -n "$@"; }
		inside ip addr add 192.0.2.2/24 dev inner
		inside ip link set inner up
		nft -f "$dir/rules"
		inside "$tracker" -probe 192.0.2.1:6969
		echo "with: $(conntrack -L 2>/dev/null | grep -c 6969)"
		rm "$dir"/scratch/run/*.nft
		nft flush ruleset
		nft -f "$dir/rules"
		inside "$tracker" -probe 192.0.2.1:6969
		echo "without: $(conntrack -L 2>/dev/null | grep -c 6969)"`
	out, err := exec.Command("unshare", "-n", "sh", "-c", script, "sh",
		filepath.Join(built.dir, "pico-tracker-linux-"+runtime.GOARCH), dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "with: 0\n") || !strings.Contains(string(out), "without: 1\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
