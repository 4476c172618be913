#!/bin/sh
# Runs inside a Debian that has booted with the service installed. Writes a
# line for each thing tried, "ok ..." or "FAILED ...", and switches off.
exec >/root/result 2>/root/errors
set -x

try() {
	what=$1
	shift
	if "$@"; then echo "ok $what"; else echo "FAILED $what"; fi
}

# await COMMAND: until it is true, for a while.
await() {
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 1000 ] || return 1
	done
}

is() { [ "$(systemctl show -p "$1" --value pico-tracker)" = "$2" ]; }
answers() { pico-tracker -probe "127.0.0.1:$1" >/dev/null; }
logged() { journalctl -u pico-tracker --no-pager | grep -q "$1"; }
settings=/etc/default/pico-tracker
own_port() { sed -i '/PORT=/d' "$settings" && echo "PICO_TRACKER__PORT=$1" >>"$settings"; }
status() { grep -q "^$1:[[:space:]]*$2" "/proc/$(systemctl show -p MainPID --value pico-tracker)/status"; }

try "starts at boot" await is ActiveState active
try "answers over IPv4" answers 1337
try "answers over IPv6" pico-tracker -probe "[::1]:1337"
try "is not root" status Uid '[1-9]'
try "has no capabilities" status CapBnd 0000000000000000
try "has no new privileges" status NoNewPrivs 1
try "has a secret" logged "listening on"
try "has a sandbox of its own" logged "sandbox: system calls, files, capabilities"
! logged "no -secret" || echo "FAILED its secret is not read"

own_port 6969
cat >>"$settings" <<-END
	PICO_TRACKER__WHITELIST=/etc/pico-tracker/list.txt
	PICO_TRACKER__INTERFACE=lo,late0
	PICO_TRACKER__EXTERNAL_IP=auto
END
try "restarts" systemctl restart pico-tracker
try "waits for an interface" await logged "waiting for the interface late0: not listening on 0.0.0.0%late0:6969"
try "has netlink" await logged "external IPv4 address: none"
! logged "netlink" || echo "FAILED it says that it has no netlink"
try "has its new port" answers 6969

echo 0123456789012345678901234567890123456789 >>/etc/pico-tracker/list.txt
try "reloads" systemctl reload pico-tracker
try "has read the list again" await logged "whitelist.*: 1 "
try "has not restarted for it" is NRestarts 0
try "is active after it" await is ActiveState active

# What is logged has its priority, and the file of figures is for everybody.
logged_as() { [ -n "$(journalctl -u pico-tracker --no-pager -q -o cat -p "$1..$1" -g "$2")" ]; }
figures=/run/pico-tracker/pico-tracker.prom
echo "PICO_TRACKER__STATS=$figures" >>"$settings"
systemctl restart pico-tracker
try "logs what is information as such" await logged_as info '^\[INFO\] listening on'
try "logs warnings as such" await logged_as warning '^\[WARN\] whitelist'
! logged_as info '^\[WARN\]' || echo "FAILED a warning is logged as information"
try "writes its figures" await test -s "$figures"
try "shows them to everybody" setpriv --reuid=65534 --regid=65534 --clear-groups pico-tracker -status "$figures"
try "is told what the kernel drops, and why" grep -q 'kernel_drops_total{family="ipv4",reason="buffer"}' "$figures"
try "knows its memory" grep -q '^pico_tracker_resident_memory_bytes [1-9]' "$figures"
systemctl kill -s USR1 pico-tracker
try "logs a summary when asked" await logged_as info 'leechers [0-9]'

mkdir -p /run/systemd/system/pico-tracker.service.d
printf '[Service]\nWatchdogSec=4\nRestartSec=100ms\n' >/run/systemd/system/pico-tracker.service.d/quick.conf
systemctl daemon-reload
systemctl restart pico-tracker
systemctl kill -s KILL pico-tracker
try "is restarted when it is killed" await is NRestarts 1
try "answers again" await answers 6969

systemctl kill -s STOP pico-tracker
try "is restarted when it is stuck" await is NRestarts 2
try "and answers again" await answers 6969
try "and the log says why" logged "Watchdog timeout"

try "stops" systemctl stop pico-tracker
try "stops without an error" is Result success
try "takes its figures with it" test ! -e "$figures"

# The port mapping service. There is no router here.
own_port 6969
systemctl start pico-tracker
mapping() { journalctl -u pico-tracker-portmap --no-pager | grep -q "$1"; }
address=/run/pico-tracker-portmap/address
mapped() { systemctl is-active --quiet pico-tracker-portmap && test -e "$address"; }
unmapped() { ! systemctl is-active --quiet pico-tracker-portmap && test ! -e "$address"; }
! systemctl is-enabled pico-tracker-portmap || echo "FAILED the port mapping is on by default"
try "starts the port mapping" systemctl start pico-tracker-portmap
try "asks for the tracker's port" await mapping "public UDP port 6969 to port 6969"
try "asks the kernel for the router" await mapping "no default route"
! mapping "DEBUG\|not permitted" || echo "FAILED the sandbox of the port mapping is too tight"
try "shows the address file to everybody" setpriv --reuid=65534 --regid=65534 --clear-groups cat "$address"
try "stops the tracker" systemctl stop pico-tracker
try "stops the port mapping with it" await unmapped
try "starts both when enabled" systemctl enable pico-tracker-portmap
systemctl start pico-tracker
try "starts the port mapping with the tracker" await mapped
systemctl stop pico-tracker

# A private tracker, by the README's commands.
: >"$settings"
cd /root || exit
printf 'd4:infod6:lengthi5e4:name5:hello12:piece lengthi16384e6:pieces20:01234567890123456789ee' >my.torrent
try "makes a private tracker" sh -ex ./private.sh
shows() { pico-tracker -status /run/pico-tracker/pico-tracker.prom | grep -q "$1"; }
try "gives friends the public address" await shows '; external 203.0.113.7:1337'
try "serves its torrent" await pico-tracker -probe 127.0.0.1 -probe-announce "$(pico-tracker -hash my.torrent | cut -c1-40)"
! pico-tracker -probe 127.0.0.1 -probe-announce 0123456789012345678901234567890123456789 ||
	echo "FAILED it serves another torrent"

systemctl stop pico-tracker
own_port 70000
systemctl start pico-tracker
try "says what is wrong with an option" await logged 'PICO_TRACKER__PORT "70000": want'

echo end
kill -38 1
