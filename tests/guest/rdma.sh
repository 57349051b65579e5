#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# NVMe over RDMA on the Linux target over a soft device (rxe: RoCE v2; siw: iWARP): our transport alone; the file system,
# also mixed with TCP; nothing copied; a small memlock; the target away, the device away, the daemon killed; what is said
# when RDMA is not to be had. (The acceptance list: tests/accept.sh --target rxe, --target siw.)
programs='nvofs nvofs-rawperf nvofs-target mkfs.nvofs fsck.nvofs nvofsctl'
. "$(dirname "$0")/lib.sh"
grep -qs wire_rdma "$tools/nvofs" || skip "built without RDMA"
[ "${1:-}" = --inside ] || rerun_inside -p -t 560 -s 256
. "$source_root/tests/shell/lib.sh"
slack=${NVOFS_SLACK:-3}
tcp=$linux_ns rdma=nvme+rdma://10.9.0.1:4420/$linux_nqn
target_setup=$guest_folder/target-setup

raw() { # OPTION...
	timeout 100 "$tools/nvofs-rawperf" "$rdma" "$@" >>"$work/raw.log" 2>"$work/raw.err" ||
		fail "nvofs-rawperf $*: $(tail -n 1 "$work/raw.err")"
}

transport_alone() {
	raw --seconds=1 --rw=write --bs=256k --qd=4
	raw --seconds=1 --rw=read --bs=1M --qd=2
	raw --seconds=1 --rw=randread --bs=4k --qd=32 --queues=2
	raw --seconds=1 --rw=randwrite --bs=4k --qd=32 --queues=2 # in the capsule
	raw --seconds=1 --rw=randwrite --bs=8k --qd=8
	! grep -v 'copied=0.0000' "$work/raw.log" || fail "payload was copied"
}

# Single reads, so that the worker sleeps again and again with one command in flight: each answer has to wake it. The second
# time beside a program that computes: who gave way to that would wait for long, so the worker prefers to sleep.
wakeups() {
	ns=$rdma
	format -f
	mount_fs -o workers=1
	dd if=/dev/urandom of="$mnt/file" bs=1M count=48 oflag=direct status=none
	remount_fs -o workers=1
	"$helpers/io_speed" randread "$mnt/file" 4096 100000:4 1 direct >"$work/speed" || fail "io_speed"
	while :; do :; done &
	"$helpers/io_speed" randread "$mnt/file" 4096 100000:3 1 direct >"$work/speed" || fail "io_speed beside a busy program"
	kill $!
	wait $! 2>/dev/null || true
	[ "$(status missed_events)" = 0 ] || fail "$(status missed_events) answers woke nobody"
	unmount_fs
}

names() {
	"$tools/nvofsctl" identify "$rdma" >"$work/identify" || fail "nvofsctl identify"
	"$tools/nvofsctl" discover nvme+rdma://10.9.0.1:4420 | grep -q "rdma 10.9.0.1:4420 $linux_nqn" || fail "nvofsctl discover"
}

# One line each that says what is wrong.
refusals() {
	expect 2 'nothing listens on port 4499' "$tools/nvofsctl" identify "${rdma/4420/4499}"
	expect 2 'no subsystem' "$tools/nvofsctl" identify "$rdma-not"
	expect 2 'no digests' "$tools/nvofsctl" identify "$rdma?data-digest"
	expect 2 'no RDMA device' "$tools/nvofsctl" identify "${rdma/10.9.0.1/127.0.0.1}"
	expect 2 'not an address or interface' "$tools/nvofsctl" identify "$rdma?host-iface=nothere"
	"$tools/nvofsctl" identify "$rdma?host-iface=d0" >/dev/null || fail "host-iface"
	"$tools/nvofsctl" identify "$rdma?host-traddr=10.9.0.1" >/dev/null || fail "host-traddr"
}

# Written over one fabric, read over the other.
mixed() {
	ns=$rdma
	format -f
	[ -d "$work/tree" ] || make_tree 2
	mount_fs
	cp -a "$work/tree" "$mnt/rdma"
	dd if=/dev/urandom of="$work/big" bs=1M count=8 status=none
	dd if="$work/big" of="$mnt/big" bs=1M oflag=direct status=none
	unmount_fs
	ns=$tcp
	fsck_clean
	mount_fs
	same_tree "$work/tree" "$mnt/rdma"
	same "$work/big" "$mnt/big"
	cp -a "$work/tree" "$mnt/tcp"
	unmount_fs
	ns=$rdma
	fsck_clean
	mount_fs
	same_tree "$work/tree" "$mnt/tcp"
	same_tree "$work/tree" "$mnt/rdma"
	copies
	unmount_fs
}

# Block-aligned data moves between the target and the pages that FUSE gets, and nvofs copies none of it.
copies() {
	local before after
	before=$(status copied_read)
	dd if="$mnt/big" of="$work/back" bs=1M iflag=direct status=none
	after=$(status copied_read)
	same "$work/big" "$work/back"
	[ "$before" = "$after" ] || fail "reading 8 MiB copied $((after - before)) bytes"
	[ "$(status staged_read)" = 0 ] || fail "$(status staged_read) bytes staged"
}

# Without CAP_IPC_LOCK: 8 MiB are enough for a small arena, and 2 MiB are not, and then it is said.
memlock() {
	local as=(setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock)
	(ulimit -l 8192; "${as[@]}" "$tools/nvofs" "$rdma" "$mnt" -o cache=4M >"$work/memlock.log" 2>&1) ||
		fail "no mount with 8 MiB of memlock: $(tail -n 1 "$work/memlock.log")"
	daemon_pid=$(status pid)
	same "$work/big" "$mnt/big"
	cp -a "$work/tree" "$mnt/small"
	cp "$work/big" "$mnt/small/big"
	same_tree "$work/tree" "$mnt/rdma"
	unmount_fs
	(ulimit -l 2048; "${as[@]}" "$tools/nvofs" "$rdma" "$mnt" -o cache=4M) >"$work/memlock.log" 2>&1 && fail "a mount with 2 MiB of memlock"
	grep -q 'has to lock .*RLIMIT_MEMLOCK is 2 MiB: ulimit -l' "$work/memlock.log" || fail "memlock: $(cat "$work/memlock.log")"
}

writer() { # the load of the outages: whole files, each synced, their sums noted
	local i
	for i in $(seq 1 1000); do
		[ ! -e "$work/enough" ] || break
		head -c $((i * 1777 % 300000)) "$work/big" >"$mnt/load/$i.part"
		sync -d "$mnt/load/$i.part"
		mv "$mnt/load/$i.part" "$mnt/load/$i"
		sync "$mnt/load"
		echo "$i" >>"$work/acknowledged"
	done
}

check_load() {
	local i
	while read -r i; do
		head -c $((i * 1777 % 300000)) "$work/big" | cmp -s - "$mnt/load/$i" || fail "load/$i was acknowledged and is not there"
	done <"$work/acknowledged"
	note "$1: $(wc -l <"$work/acknowledged") files kept"
}

reconnected() { [ "$(status reconnects)" -ge "$1" ]; }

outage() { # NAME COUNT COMMAND...
	local name=$1 count=$2
	shift 2
	"$@"
	wait_for 40 reconnected "$count" || fail "$name: not connected again"
}

device_away() {
	rdma link del "${device}0"
	sleep 1
	"$target_setup" rdma "$device"
}

# The target goes, the device goes, then the daemon is killed: what was acknowledged is there. (A siw device that has
# connections cannot be taken away: `rdma link del` never returns.)
outages() {
	ns=$rdma
	rm -f "$work/acknowledged" "$work/enough"
	[ -e "$work/big" ] || dd if=/dev/urandom of="$work/big" bs=1M count=8 status=none
	format -f
	mount_fs -o keep-alive-tmo=2
	mkdir -p "$mnt/load"
	writer &
	local load=$!
	sleep 1
	outage "target away" 1 "$target_setup" restart
	[ $device = siw ] || outage "device away" 2 device_away
	sleep 1
	touch "$work/enough"
	wait $load || fail "the load ended with $?"
	check_load "$([ $device = siw ] || echo "device and ")target away"
	rm "$work/enough"
	writer 2>/dev/null &
	load=$!
	sleep 1
	kill_daemon
	wait $load 2>/dev/null || true
	mount_background
	check_load "daemon killed"
	unmount_fs
	fsck_clean
}

# Two network namespaces, a soft device in each: delay and loss on the way, then nothing for three seconds. (A
# link that was set down is another matter: afterwards the connection manager on the target's rxe answers nobody for more
# than a minute, a Linux host that is alone with it no sooner; over another of its devices the target answers at once.)
lossy_network() {
	local nvmet=/sys/kernel/config/nvmet remote=nvme+rdma://10.9.1.1:4420/$linux_nqn
	local host=(timeout 60 nsenter --net=/run/netns/host "$tools/nvofs-rawperf" "$remote" --bs=16k --qd=8)
	ip netns add host
	ip link add v0 type veth peer name v1 netns host
	ip link set v0 mtu 4500 up
	ip addr add 10.9.1.1/24 dev v0
	ip -n host link set v1 mtu 4500 up
	ip -n host addr add 10.9.1.2/24 dev v1
	rdma link add rxe-t type rxe netdev v0
	nsenter --net=/run/netns/host rdma link add rxe-h type rxe netdev v1
	mkdir $nvmet/ports/3
	echo rdma >$nvmet/ports/3/addr_trtype
	echo ipv4 >$nvmet/ports/3/addr_adrfam
	echo 10.9.1.1 >$nvmet/ports/3/addr_traddr
	echo 4420 >$nvmet/ports/3/addr_trsvcid
	ln -s "$nvmet/subsystems/$linux_nqn" $nvmet/ports/3/subsystems/
	tc qdisc add dev v0 root netem delay 2ms loss 0.2%
	"${host[@]}" --rw=randread --seconds=2 >"$work/net.log" 2>&1 || fail "delay and loss: $(cat "$work/net.log")"
	"${host[@]}" --rw=randwrite --seconds=6 >"$work/net.log" 2>&1 &
	sleep 2
	tc qdisc change dev v0 root netem loss 100%
	sleep 3
	tc qdisc del dev v0 root
	wait $! || fail "a cut: $(cat "$work/net.log")"
	if iptables -A INPUT -i v0 -p udp --dport 4791 -j DROP -w 2>"$work/iptables.err"; then
		iptables -D INPUT -i v0 -p udp --dport 4791 -j DROP
		dropped_requests
	else
		note "no cut by iptables: $(tail -n 1 "$work/iptables.err")"
	fi
}

# The target hears nothing any more, while what it sends still arrives: half a connection.
dropped_requests() {
	local rule=(INPUT -i v0 -p udp --dport 4791 -j DROP) packets
	"${host[@]}" --rw=randwrite --seconds=6 >"$work/net.log" 2>&1 &
	sleep 2
	iptables -A "${rule[@]}"
	sleep 3
	packets=$(iptables -nvxL INPUT | awk '/udp/ { print $1; exit }')
	iptables -D "${rule[@]}"
	wait $! || fail "requests dropped: $(cat "$work/net.log")"
	[ "${packets:-0}" -gt 0 ] || fail "the rule saw no packet"
	note "iptables dropped $packets packets"
}

part() {
	local begin=$SECONDS
	"$1"
	note "$1 ($device): ok, $((SECONDS - begin)) s"
}

for device in rxe siw; do
	"$target_setup" rdma "$device" || { note "no $device in this kernel"; continue; }
	part transport_alone
	part names
	part wakeups
	if [ $device = siw ]; then # nothing else here depends on the device
		part outages
		continue
	fi
	part refusals
	part mixed
	part memlock
	part outages
	if command -v tc >/dev/null && rdma system 2>/dev/null | grep -q 'netns shared'; then part lossy_network; fi
done
note "ok"
