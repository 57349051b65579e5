#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Linux NVMe/TCP host (nvme-cli, ext4) on our nvofs-target: discovery, identify, plain and with both digests, ext4
# with real files, write zeroes, deallocate, flush, a target killed under load and started again.
. "$(dirname "$0")/lib.sh"
[ "${1:-}" = --inside ] || rerun_inside -t 240

nqn=nqn.2026-11.io.nvofs:host-test
command -v nvme >/dev/null || skip "no nvme-cli here"

listening() { grep -q '^listening on' /root/target.log; }
start_target() {
	"$tools/nvofs-target" --listen 127.0.0.1:4420 --nqn $nqn file:/root/disk:300M ram:64M >/root/target.log 2>>/root/target.err &
	target=$!
	wait_for 20 listening || fail "the target is not ready: $(cat /root/target.err)"
}

connect() { # [OPTION]...
	nvme connect -t tcp -a 127.0.0.1 -s 4420 -n $nqn --reconnect-delay=1 --ctrl-loss-tmo=60 "$@" || fail "nvme connect $*"
	wait_for 20 both_there || fail "no block device: $(dmesg | tail -n 5)"
}
# Linux scans for namespaces after connect has returned, in parallel: their numbers are not the devices' numbers. Sets
# big and small.
both_there() {
	local disk
	big='' small=''
	for disk in /sys/block/nvme0n*; do
		[ "$(cat "$disk/size" 2>/dev/null || echo 0)" -gt 0 ] || continue
		case $(cat "$disk/nsid") in
		1) big=/dev/${disk##*/} ;;
		2) small=/dev/${disk##*/} ;;
		esac
	done
	[ -b "$big" ] && [ -b "$small" ]
}
disconnect() {
	umount /mnt 2>/dev/null || true
	nvme disconnect -n $nqn >/dev/null
}

check_identify() {
	nvme discover -t tcp -a 127.0.0.1 -s 4420 >/root/discovery
	grep -q "subnqn: *$nqn" /root/discovery || fail "discovery does not name the subsystem: $(cat /root/discovery)"
	connect
	nvme id-ctrl /dev/nvme0 >/root/id-ctrl || fail "id-ctrl"
	nvme id-ns "$big" >/root/id-ns || fail "id-ns"
	nvme list-ns /dev/nvme0 | grep -qc 0x || fail "list-ns"
	[ "$(blockdev --getsize64 "$big")" = $((300 << 20)) ] || fail "wrong size"
	disconnect
}

# Real files onto ext4, and back after a new connection (nothing is cached then).
check_ext4() { # [connect option]...
	connect "$@"
	mkfs.ext4 -q -F "$big" || fail "mkfs.ext4"
	mount -t ext4 "$big" /mnt
	cp -a /usr/include/linux "$source_root/tests" /mnt/
	disconnect
	connect "$@"
	e2fsck -fn "$big" >/root/e2fsck 2>&1 || fail "e2fsck: $(tail -n 5 /root/e2fsck)"
	mount -t ext4 "$big" /mnt
	diff -r --no-dereference /usr/include/linux /mnt/linux || fail "ext4 $*: files differ"
	diff -r --no-dereference "$source_root/tests" /mnt/tests || fail "ext4 $*: files differ"
	fstrim /mnt || fail "fstrim"
	disconnect
	note "ext4 ${*:-without options}: ok"
}

check_commands() {
	connect
	dd if=/dev/urandom of=/root/random bs=1M count=4 status=none
	dd if=/root/random of="$small" bs=1M oflag=direct conv=fsync status=none
	cmp -n $((4 << 20)) /root/random "$small" || fail "read back"
	nvme flush "$small" -n 2 >/dev/null || fail "flush"
	blkdiscard -z -o $((1 << 20)) -l $((1 << 20)) "$small" || fail "write zeroes"
	cmp -n $((1 << 20)) -i $((1 << 20)):0 "$small" /dev/zero || fail "not zero after write zeroes"
	cmp -n $((2 << 20)) -i $((2 << 20)) /root/random "$small" || fail "write zeroes went too far"
	blkdiscard -o $((2 << 20)) -l $((1 << 20)) "$small" || fail "deallocate"
	cmp -n $((1 << 20)) -i $((3 << 20)) /root/random "$small" || fail "deallocate went too far"
	disconnect
	note "commands: ok"
}

# fio verifies what it wrote while the target dies and comes back; the Linux host has to reconnect.
check_restart() {
	local io
	connect
	dd if=/dev/urandom of=/root/big bs=1M count=128 status=none
	dd if=/root/big of="$big" bs=256k oflag=direct conv=fsync status=none &
	io=$!
	sleep 0.3
	kill -0 $io 2>/dev/null || fail "the write is over before the target is killed: the test tests nothing"
	kill -9 $target
	wait $target 2>/dev/null || true
	start_target
	wait $io || fail "the write did not survive the restart"
	cmp -n $((128 << 20)) /root/big "$big" || fail "wrong data after the restart"
	disconnect
	note "restart under load: ok"
}

start_target
check_identify
check_ext4
check_ext4 --hdr-digest --data-digest
check_commands
check_restart
kill $target
wait $target || fail "the target ended with $?"
note "ok"
