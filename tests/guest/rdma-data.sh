#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# NVMe over RDMA, where the data lie and what happens to them: payload in the same pages at both ends (rdma_meddle.c sees what
# is posted and what FUSE gets); random writes and reads with checksums; 512-byte LBAs; IPv6; mkfs and fsck with a small
# memlock; queue pairs in error, a target without receives, responses that are lost, retries that are exhausted; no verbs
# object is left behind. Arguments: only those parts.
programs='nvofs nvofs-rawperf nvofs-target mkfs.nvofs fsck.nvofs nvofsctl'
. "$(dirname "$0")/lib.sh"
grep -qs wire_rdma "$tools/nvofs" || skip "built without RDMA"
if [ "${1:-}" != --inside ]; then
	exec "$guest_folder/guest" -p -t 560 -s 256 -- \
		"${ASAN_OPTIONS:+ASAN_OPTIONS='$ASAN_OPTIONS'} NVOFS_BUILD='$build' NVOFS_SLACK='${NVOFS_SLACK:-3}' bash '$(readlink -f "$0")' --inside $*"
fi
shift
. "$source_root/tests/shell/lib.sh"
rdma link show rxe0/1 >/dev/null 2>&1 || skip "no rxe in this kernel"
slack=${NVOFS_SLACK:-3}
rdma_ns=nvme+rdma://10.9.0.1:4420/$linux_nqn ns=$rdma_ns
nvmet=/sys/kernel/config/nvmet
meddle=$work/meddle
mkdir "$meddle"

# The daemon with the library between it and the verbs.
mount_meddled() { # [OPTION]...
	local library=$build/tests/guest/rdma_meddle.so
	[ -e "$library" ] || fail "$library is not built"
	LD_PRELOAD=$library MEDDLE=$meddle "$tools/nvofs" "$ns" "$mnt" -f "${mount_options[@]}" "$@" >>"$work/daemon.log" 2>&1 &
	daemon_pid=$!
	children+=("$daemon_pid")
	wait_for 30 mounted_or_dead || fail "not mounted in time"
	mounted || fail "nvofs ended: $(tail -n 1 "$work/daemon.log")"
}

counted() { [ -e "$meddle/counts" ]; }
counts() { # sets the library's counters as variables
	rm -f "$meddle/counts"
	touch "$meddle/report"
	wait_for 10 counted || fail "the library between does not answer"
	# shellcheck disable=SC1091
	. "$meddle/counts"
}

as_asked() { [ ! -e "$meddle/$1" ]; }
reconnected() { [ "$(status reconnects)" -ge "$1" ]; }

delta() { echo $((${2:-0} - ${1:-0})); }

# Writes and then reads 16 MiB, aligned, and compares where the bytes lay with how many there were.
landing() {
	local size=$((16 << 20)) key before
	local -A was
	ns=$rdma_ns
	format -f
	mount_meddled
	dd if=/dev/urandom of="$work/data" bs=1M count=16 status=none
	: >"$mnt/data"
	sync
	counts
	before=$write_from_fuse
	dd if="$work/data" of="$mnt/data" bs=1M oflag=direct conv=notrunc,fsync status=none
	counts
	before=$(delta "$before" "$write_from_fuse")
	[ "$before" = $size ] || fail "$before of $size bytes were written from where FUSE put them"
	[ "$(status copied_written)" = 0 ] || fail "$(status copied_written) bytes copied while writing"
	unmount_fs
	mount_meddled
	counts
	was=([by]=$reply_by_target [else]=$reply_else)
	dd if="$mnt/data" of="$work/back" bs=1M iflag=direct status=none
	counts
	same "$work/data" "$work/back"
	before=$(delta "${was[by]}" "$reply_by_target")
	[ "$before" = $size ] || fail "$before of $size bytes were answered from where the target put them"
	[ "$reply_else" = "${was[else]}" ] || fail "$(delta "${was[else]}" "$reply_else") bytes were answered from elsewhere"
	for key in copied_read copied_written staged_read; do
		[ "$(status $key)" = 0 ] || fail "$key is $(status $key)"
	done
	unmount_fs
}

# fio writes blocks with a checksum in each, at random, and then reads all of them back through a cold mount.
fio_verify() { # NAME BLOCKS OPTION...
	local job=(timeout 200 fio --name=verify --filename="$mnt/$1" --size=12M --rw=randwrite --bsrange="$2" --bs_unaligned=0
		--verify=crc32c --ioengine=libaio --iodepth=8 --verify_fatal=1 --output="$work/fio.log")
	shift 2
	"${job[@]}" --do_verify=0 "$@" >"$work/fio.err" 2>&1 || fail "fio, writing: $(tail -n 3 "$work/fio.err" "$work/fio.log")"
	unmount_fs
	mount_fs
	"${job[@]}" --verify_only "$@" >"$work/fio.err" 2>&1 || fail "fio, verifying: $(tail -n 3 "$work/fio.err" "$work/fio.log")"
}

verify() {
	ns=$rdma_ns
	format -f
	mount_fs
	fio_verify small 4k-64k --direct=1
	fio_verify large 512k-512k --direct=1
	fio_verify buffered 4k-16k
	unmount_fs
	fsck_clean
}

# A second namespace of the same subsystem with blocks of 512 bytes.
lba512() {
	local disk=/sys/kernel/config/nullb/nullb5 namespace=$nvmet/subsystems/$linux_nqn/namespaces/5
	mkdir $disk
	echo 128 >$disk/size
	echo 512 >$disk/blocksize
	echo 1 >$disk/memory_backed
	echo 1 >$disk/discard
	echo 1 >$disk/power
	mkdir "$namespace"
	echo -n /dev/nullb5 >"$namespace/device_path"
	echo 1 >"$namespace/enable"
	ns="$rdma_ns?nsid=5"
	"$tools/nvofsctl" identify "$ns" | grep -q 512 || fail "no 512-byte blocks in: $("$tools/nvofsctl" identify "$ns")"
	format -f
	mount_fs
	fio_verify file 4k-64k --direct=1
	unmount_fs
	fsck_clean
	echo 0 >"$namespace/enable"
	rmdir "$namespace"
	rmdir $disk
}

ipv6() {
	local port=$nvmet/ports/6
	ip -6 addr add fd00:9::1/64 dev d0 nodad
	mkdir $port
	echo rdma >$port/addr_trtype
	echo ipv6 >$port/addr_adrfam
	echo fd00:9::1 >$port/addr_traddr
	echo 4420 >$port/addr_trsvcid
	ln -s "$nvmet/subsystems/$linux_nqn" $port/subsystems/
	ns="nvme+rdma://[fd00:9::1]:4420/$linux_nqn"
	"$tools/nvofsctl" discover 'nvme+rdma://[fd00:9::1]:4420' | grep -q 'fd00:9::1' || fail "discover over IPv6"
	format -f
	mount_fs
	cp -a "$source_root/tests/guest" "$mnt/copy"
	unmount_fs
	mount_fs
	same_tree "$source_root/tests/guest" "$mnt/copy"
	unmount_fs
	fsck_clean
	rm $port/subsystems/*
	rmdir $port
}

# The programs that need no daemon, without CAP_IPC_LOCK: 8 MiB are enough for them.
memlock() {
	local as=(setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock)
	ns=$rdma_ns
	(ulimit -l 8192; "${as[@]}" "$tools/mkfs.nvofs" -q -f "$ns" >"$work/memlock.log" 2>&1) ||
		fail "mkfs.nvofs with 8 MiB of memlock: $(tail -n 1 "$work/memlock.log")"
	mount_fs
	cp -a "$source_root/tests/guest" "$mnt/copy"
	unmount_fs
	(ulimit -l 8192; "${as[@]}" "$tools/fsck.nvofs" -n "$ns" >"$work/memlock.log" 2>&1) ||
		fail "fsck.nvofs with 8 MiB of memlock: $(tail -n 1 "$work/memlock.log")"
	(ulimit -l 8192; "${as[@]}" "$tools/nvofsctl" identify "$ns" >"$work/memlock.log" 2>&1) ||
		fail "nvofsctl identify with 8 MiB of memlock: $(tail -n 1 "$work/memlock.log")"
}

# Files of checksummed blocks are written while something happens to the connection; then all of it is read.
under_load() { # NAME COMMAND...
	local load what=$1
	shift
	timeout 200 fio --name=load --filename="$mnt/load" --size=8M --io_size=1G --rw=randwrite --bs=4k --direct=1 --ioengine=libaio \
		--iodepth=8 --verify=crc32c --do_verify=0 --time_based --runtime=4 --output="$work/fio.log" >"$work/fio.err" 2>&1 &
	load=$!
	sleep 1
	"$@"
	wait $load || fail "$what: $(tail -n 3 "$work/fio.err" "$work/fio.log")"
	dd if="$work/data" of="$mnt/after" bs=1M conv=fsync status=none || fail "$what: no writes afterwards"
}

# How many verbs objects of each kind the daemon has. (By name: the pid that is shown is that of the thread which made it.)
own_objects() {
	local kind
	for kind in pd cq qp cm_id mr ctx; do
		echo "$kind $(rdma resource show $kind | grep -c "comm nvofs")"
	done | tr '\n' ' '
}
as_before() { [ "$(own_objects)" = "$own" ]; }

start_load() {
	ns=$rdma_ns
	format -f
	[ -e "$work/data" ] || dd if=/dev/urandom of="$work/data" bs=1M count=16 status=none
	mount_meddled -o keep-alive-tmo=2
	own=$(own_objects)
	[ "${own//[!1-9]/}" ] || fail "the daemon has no verbs objects: $own"
}

end_load() {
	wait_for 5 as_before || fail "verbs objects are left behind: $(own_objects) (before: $own)"
	unmount_fs
	fsck_clean
	mount_fs
	same "$work/data" "$mnt/after"
	unmount_fs
}

break_queues() {
	local before
	before=$(status reconnects)
	touch "$meddle/error"
	wait_for 20 reconnected $((before + 1)) || fail "queue pairs in error: not connected again"
}

# For a second the target finds no receive for its responses: it is told so and tries again (RNR), and nothing is lost.
hold_receives() {
	touch "$meddle/hold"
	sleep 1
	rm "$meddle/hold"
}

broken_queues() {
	start_load
	under_load "queue pairs in error" break_queues
	end_load
}

no_receives() {
	start_load
	under_load "no receives" hold_receives
	counts
	[ "$held" -gt 0 ] || fail "no receive was held back"
	end_load
}

# The response to one command never comes, on a connection that is well otherwise: the command's time-out ends it.
swallowed_response() {
	start_load
	touch "$meddle/swallow"
	dd if=/dev/zero of="$mnt/some" bs=64k count=8 conv=fsync status=none &
	wait_for 10 as_asked swallow || fail "the library between does not answer"
	wait_for 30 reconnected 1 || fail "a response was lost, and nobody noticed"
	wait $! || fail "a response was lost: the write failed"
	dd if="$work/data" of="$mnt/after" bs=1M conv=fsync status=none
	counts
	[ "$swallowed" = 1 ] || fail "$swallowed responses were swallowed"
	end_load
}

commands_flow() { # on the far device: a megabyte has arrived
	[ "$(ip -n far -s -j link show v1 | json_value bytes)" -gt 1000000 ]
}

# Two network namespaces; the target's packets do not arrive for two seconds, and connections give up after 0.1 s.
exhausted() {
	local port=$nvmet/ports/7 link_shared
	link_shared=$(rdma system 2>/dev/null | grep -c 'netns shared' || true)
	if [ "$link_shared" != 1 ] || ! command -v tc >/dev/null; then
		note "exhausted: no shared RDMA devices or no tc here"
		return 0
	fi
	ip netns add far
	ip link add v0 type veth peer name v1 netns far
	ip link set v0 mtu 4500 up
	ip addr add 10.9.7.1/24 dev v0
	ip -n far link set v1 mtu 4500 up
	ip -n far addr add 10.9.7.2/24 dev v1
	rdma link add rxe-near type rxe netdev v0
	nsenter --net=/run/netns/far rdma link add rxe-far type rxe netdev v1
	mkdir $port
	echo rdma >$port/addr_trtype
	echo ipv4 >$port/addr_adrfam
	echo 10.9.7.1 >$port/addr_traddr
	echo 4420 >$port/addr_trsvcid
	ln -s "$nvmet/subsystems/$linux_nqn" $port/subsystems/
	LD_PRELOAD=$build/tests/guest/rdma_meddle.so MEDDLE=$meddle MEDDLE_RETRIES=1 timeout 60 nsenter --net=/run/netns/far \
		"$tools/nvofs-rawperf" "nvme+rdma://10.9.7.1:4420/$linux_nqn" --bs=16k --qd=8 --rw=randwrite \
		--seconds=10 >"$work/raw.log" 2>&1 &
	wait_for 10 commands_flow || fail "no traffic on rxe-far"
	tc qdisc add dev v0 root netem loss 100%
	sleep 2
	tc qdisc del dev v0 root
	wait $! || fail "retries exhausted: $(cat "$work/raw.log")"
	grep -q 'lost' "$work/raw.log" || fail "a cut exhausted no retries: $(cat "$work/raw.log")"
}

# All of the device but completion queues: the kernel's target keeps those for the next connection.
objects() { rdma resource show | sed -n 's/.*rxe0: *//p' | sed 's/cq [0-9]* //'; }
none_left() { [ "$(objects)" = "$at_first" ]; }

at_first=$(objects)
parts=("$@")
[ $# -gt 0 ] || parts=(landing verify lba512 ipv6 memlock broken_queues no_receives swallowed_response exhausted)
for part in "${parts[@]}"; do
	begin=$SECONDS
	$part
	wait_for 15 none_left || fail "$part: verbs objects are left: $(objects) (at first: $at_first)"
	note "$part: ok, $((SECONDS - begin)) s"
done
note "ok"
