#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# rdma.sh [-r ROUNDS] [-o OPTIONS]
#
# What the file system costs over RDMA, beside the kernel's own way: in one guest (tests/guest), on one Linux target over
# soft-RoCE (rxe), one namespace with ext4 on the Linux host's nvme-rdma, one with nvofs. Rounds are interleaved; medians, and
# min..max in brackets. Only the ratios of one run mean anything: the guest is User Mode Linux, where each system call and
# each change of thread costs tens of microseconds, and its CPU is also the target's.
#   -r  rounds (5)    -c  CPUs of the guest (1; on a busy machine two of them wait for each other)
#   -o  mount options of nvofs (workers=1: in User Mode Linux the threads of a process take turns)
# Sequential: 1 MiB blocks, MB/s; buffered writes end with fsync. Random: 4 KiB, direct, requests a second. Small files: 4 KiB,
# files a second; create and unlink end with syncfs, stat is cold. Everything is read for the first time: nvofs is mounted
# anew, ext4 too. Below: ib_read_bw and ib_write_bw, 1 MiB; they need a clock rate that the guest cannot tell,
# so that the time of 200 more messages is measured around them.
set -eu
rounds=5 options=workers=1 cpus=1 mb=64
while getopts r:o:c:-: opt; do
	case $opt in
	r) rounds=$OPTARG ;;
	o) options=$OPTARG ;;
	c) cpus=$OPTARG ;;
	-) [ "$OPTARG" = inside ] && inside=1 ;;
	*) sed -n '3,15s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
programs='nvofs nvofs-rawperf nvofs-target mkfs.nvofs fsck.nvofs nvofsctl'
. "$(dirname "$(readlink -f "$0")")/../guest/lib.sh"
if [ -z "${inside:-}" ]; then
	exec "$guest_folder/guest" -c "$cpus" -p -m 3400 -s 320 -t $((rounds * 180 + 120)) -- \
		"NVOFS_BUILD='$build' bash '$(readlink -f "$0")' -r $rounds -o '$options' --inside"
fi
. "$source_root/tests/shell/lib.sh"
need fio nvme mkfs.ext4 ib_read_bw rdma
rdma link show rxe0/1 >/dev/null 2>&1 || skip "no rxe in this kernel"
slack=3 ns="nvme+rdma://10.9.0.1:4420/$linux_nqn?nsid=1" kernel=$work/kernel results=$work/results

record() { # TEST WHO NUMBER
	printf '%s %s %s\n' "$1" "$2" "$3" >>"$results"
	printf '%4u s  %-20s %-8s %10s\n' $SECONDS "$1" "$2" "$3"
}

second_namespace() {
	local null=/sys/kernel/config/nullb/nullb1 namespace=/sys/kernel/config/nvmet/subsystems/$linux_nqn/namespaces/2
	mkdir $null "$namespace"
	echo 320 >$null/size
	echo 4096 >$null/blocksize
	echo 1 >$null/memory_backed
	echo 1 >$null/discard
	echo 1 >$null/power
	echo -n /dev/nullb1 >"$namespace/device_path"
	echo 1 >"$namespace/enable"
}

find_disk() {
	local disk
	for disk in /sys/block/nvme0n*; do
		[ "$(cat "$disk/nsid" 2>/dev/null)" = 2 ] && [ -b "/dev/${disk##*/}" ] && ext4=/dev/${disk##*/} && return
	done
	return 1
}

setup() {
	second_namespace
	nvme connect -t rdma -a 10.9.0.1 -s 4420 -n "$linux_nqn" >"$work/connect.log" 2>&1 || fail "nvme connect"
	wait_for 10 find_disk || fail "no block device"
	mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$ext4"
	mkdir "$kernel"
	mount -t ext4 "$ext4" "$kernel"
	format -f
	mount_nvofs
	for folder in "$kernel" "$mnt"; do
		dd if=/dev/urandom of="$folder/file" bs=1M count=$mb status=none conv=fsync
	done
}

mount_nvofs() { mount_fs ${options:+-o "$options"}; }

# Nothing of it in memory.
cold() { # WHO
	if [ "$1" = kernel ]; then
		umount "$kernel"
		echo 3 >/proc/sys/vm/drop_caches
		mount -t ext4 "$ext4" "$kernel"
	else
		unmount_fs
		mount_nvofs
	fi
}

# One fio job; MB/s or requests a second. Field numbers: fio's terse format 3.
job() { # TEST WHO FOLDER RW BLOCK MB OPTION...
	local test=$1 who=$2 folder=$3 rw=$4 block=$5 size=$6 line field
	shift 6
	line=$(timeout 100 fio --minimal --name=job --filename="$folder/file" --size=${mb}M --io_size="$size"M --rw="$rw" --bs="$block" \
		--overwrite=1 "$@" 2>"$work/fio.err") || fail "fio $test $who: $(tail -n 2 "$work/fio.err")"
	case $rw$block in *read4k) field=8 ;; *write1M) field=48 ;; *) field=7 ;; esac
	line=$(cut -d ';' -f $field <<<"$line")
	[ $field = 8 ] || line=$((line / 1000))
	record "$test" "$who" "$line"
}

small_files() { # WHO FOLDER
	local what speed
	mkdir "$2/small"
	for what in create stat unlink; do
		[ $what != stat ] || cold "$1"
		speed=$("$helpers/file_speed" $what "$2/small" 400 4096) || fail "file_speed $what $1"
		record "$what" "$1" "$speed"
	done
	rmdir "$2/small"
}

measure() { # TEST RW BLOCK MB OPTION...
	local test=$1 who folder
	shift
	for who in kernel nvofs; do
		folder=$kernel
		[ $who = kernel ] || folder=$mnt
		case $1 in *read) cold $who ;; esac
		job "$test" $who "$folder" "$@"
	done
}

perftest() { # PROGRAM MESSAGES: sets took, in microseconds
	local server begin command=(timeout 40 "$1" -d rxe0 -F -R -s 1048576 -n "$2")
	[ "$1" = ib_write_bw ] || command+=(-e) # writes cannot sleep
	"${command[@]}" >"$work/perftest.log" 2>&1 &
	server=$!
	sleep 0.5
	begin=${EPOCHREALTIME/./}
	"${command[@]}" 10.9.0.1 >"$work/perftest.log" 2>&1 || return 1
	took=$((${EPOCHREALTIME/./} - begin))
	wait $server || true
}

raw_verbs() { # PROGRAM
	local few
	if perftest "$1" 20 && few=$took && perftest "$1" 220; then
		record "$1" verbs $((200 * 1048576 / (took - few)))
	else
		note "$1: not in 40 seconds"
	fi
}

round() {
	measure read-1M-direct read 1M $mb --direct=1
	measure write-1M-direct write 1M $mb --direct=1
	measure read-1M-buffered read 1M $mb
	measure write-1M-buffered write 1M $mb --end_fsync=1
	measure randread-4K-QD1 randread 4k 3 --direct=1
	measure randread-4K-QD32 randread 4k 12 --direct=1 --ioengine=libaio --iodepth=32
	small_files kernel "$kernel"
	small_files nvofs "$mnt"
	raw_verbs ib_read_bw
	raw_verbs ib_write_bw
}

table() {
	sort -k1,1 -k2,2 -k3,3g "$results" | awk '
		function flush() { if (n) { median[key] = v[int((n + 1) / 2)]; low[key] = v[1]; high[key] = v[n] } n = 0 }
		{ if ($1 " " $2 != key) { flush(); key = $1 " " $2 }; v[++n] = $3 }
		!($1 in seen) { seen[$1]; order[++tests] = $1 }
		function cell(k) { return sprintf("%8.0f [%.0f..%.0f]", median[k], low[k], high[k]) }
		END {
			flush()
			printf "%-20s %26s %26s %14s\n", "", "kernel nvme-rdma, ext4", "nvofs", "nvofs/kernel"
			for (i = 1; i <= tests; i++) {
				t = order[i]; k = t " kernel"; m = t " nvofs"
				if (k in median) printf "%-20s %26s %26s %14.2f\n", t, cell(k), cell(m), median[m] / median[k]
				else printf "%-20s %26s\n", t, cell(t " verbs")
			}
		}'
}

setup
for number in $(seq "$rounds"); do
	note "round $number of $rounds, second $SECONDS"
	round
done
table
unmount_fs
umount "$kernel"
