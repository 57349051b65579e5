#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# rdma.sh [-r ROUNDS] [-o OPTIONS] [-c CPUS] [-p]
#
# What the file system costs over RDMA, beside the kernel's own way: in one guest (tests/guest), on one Linux target over
# soft-RoCE (rxe), one namespace with ext4 on the Linux host's nvme-rdma, one with nvofs. Rounds are interleaved; medians, and
# min..max in brackets. Only the ratios of one run mean anything: the guest is User Mode Linux, where each system call and
# each change of thread costs tens of microseconds, and its CPU is also the target's.
#   -r  rounds (5)    -c  CPUs of the guest (1; on a busy machine two of them wait for each other)
#   -p  only the parts of a read and a write, see below
#   -o  mount options of nvofs (workers=1: in User Mode Linux the threads of a process take turns)
# Sequential: 1 MiB blocks, MB/s; buffered writes end with fsync. Random: 4 KiB, direct, requests a second. Small files: 4 KiB,
# files a second; create and unlink end with syncfs, stat is cold. Everything is read for the first time: nvofs is mounted
# anew, ext4 too. But nvofs's memory has been used before, by reading another file: in User Mode Linux the first use of
# each page by a program costs microseconds, whatever was done to have the page in memory. Below: ib_read_bw and
# ib_write_bw, 1 MiB; they need a clock rate that the guest cannot tell, so that the time of 200 more messages is measured
# around them.
# The second table takes direct reads and writes of 4 KiB and 1 MiB and one small file apart, in microseconds of the same
# rounds: the kernel's block device without ext4, our initiator without a file system (nvofs-rawperf, in as much memory as
# a stream goes round in), a read that finds its data in our cache (FUSE alone, no network; a write has no such thing, the
# read's stands for it: the kernel copies as much), a read into memory that we use for the first time, and what the
# machine takes for a system call, for waking another process and for a FUSE request without data.
# Parts and whole are measured one after the other, so their sum is not exact; on a busy machine the least of each says
# more than the median. Writes without a file system go to a third namespace.
set -eu
rounds=5 options=workers=1,cache=64M cpus=1 mb=64 files=400 only=''
while getopts r:o:c:p-: opt; do
	case $opt in
	r) rounds=$OPTARG ;;
	o) options=$OPTARG ;;
	c) cpus=$OPTARG ;;
	p) only=-p ;;
	-) [ "$OPTARG" = inside ] && inside=1 ;;
	*) sed -n '3,24s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
programs='nvofs nvofs-rawperf nvofs-target mkfs.nvofs fsck.nvofs nvofsctl'
. "$(dirname "$(readlink -f "$0")")/../guest/lib.sh"
if [ -z "${inside:-}" ]; then
	exec "$guest_folder/guest" -c "$cpus" -p -m 3400 -s 16 -t $((rounds * 180 + 120)) -- \
		"NVOFS_BUILD='$build' bash '$(readlink -f "$0")' -r $rounds -o '$options' $only --inside"
fi
. "$source_root/tests/shell/lib.sh"
need fio nvme mkfs.ext4 ib_read_bw rdma
rdma link show rxe0/1 >/dev/null 2>&1 || skip "no rxe in this kernel"
slack=3 ns="nvme+rdma://10.9.0.1:4420/$linux_nqn?nsid=4" kernel=$work/kernel results=$work/results

record() { # TEST WHO NUMBER
	printf '%s %s %s %s\n' "$1" "$2" "$3" "$number" >>"$results"
	printf '%4u s  %-20s %-8s %10s\n' $SECONDS "$1" "$2" "$3"
}

price() { # WHAT MICROSECONDS
	record "us-$1" - "$2"
}

# In memory, taken at the first write of a block and never given back: without discard, which ext4 does not use either as it is
# mounted here. Else our writes, which go to ever new blocks, would be measured with the taking of memory, and no others.
add_namespace() { # NSID MB
	local null=/sys/kernel/config/nullb/nullb$(($1 - 1)) namespace=/sys/kernel/config/nvmet/subsystems/$linux_nqn/namespaces/$1
	mkdir "$null" "$namespace"
	echo "$2" >"$null/size"
	echo 4096 >"$null/blocksize"
	echo 1 >"$null/memory_backed"
	echo 1 >"$null/power"
	echo -n "/dev/nullb$(($1 - 1))" >"$namespace/device_path"
	echo 1 >"$namespace/enable"
}

find_disk() { # NSID: sets disk
	for disk in /sys/block/nvme0n*; do
		[ "$(cat "$disk/nsid" 2>/dev/null)" = "$1" ] && [ -b "/dev/${disk##*/}" ] && disk=/dev/${disk##*/} && return
	done
	return 1
}

need_disk() { wait_for 10 find_disk "$1" || fail "no block device of namespace $1"; }

setup() {
	add_namespace 2 320
	add_namespace 3 $mb
	add_namespace 4 320
	nvme connect -t rdma -a 10.9.0.1 -s 4420 -n "$linux_nqn" >"$work/connect.log" 2>&1 || fail "nvme connect"
	need_disk 3
	scratch=$disk
	need_disk 2
	ext4=$disk
	need_disk 4
	for disk in "$disk" "$ext4" "$scratch"; do
		dd if=/dev/zero of="$disk" bs=1M oflag=direct status=none 2>"$work/dd.log" || grep -q 'No space' "$work/dd.log" || fail "dd $disk"
	done
	mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$ext4"
	mkdir "$kernel"
	mount -t ext4 "$ext4" "$kernel"
	format -f
	mount_nvofs
	for folder in "$kernel" "$mnt"; do
		dd if=/dev/urandom of="$folder/file" bs=1M count=$mb status=none conv=fsync
	done
	dd if=/dev/urandom of="$mnt/hot" bs=1M count=2 status=none conv=fsync
	dd if=/dev/urandom of="$mnt/other" bs=1M count=80 status=none conv=fsync # more than the cache
}

# In its first second a mount asks for the memory of its cache, which is not what is to be measured.
mount_nvofs() {
	mount_fs ${options:+-o "$options"}
	sleep 1
}

# Nothing of it in memory.
cold() { # WHO
	if [ "$1" = kernel ]; then
		umount "$kernel"
		echo 3 >/proc/sys/vm/drop_caches
		mount -t ext4 "$ext4" "$kernel"
	else
		unmount_fs
		mount_nvofs
		dd if="$mnt/other" of=/dev/null bs=1M iflag=direct status=none
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
	[ $field = 8 ] || line=$(awk -v kib="$line" 'BEGIN { printf "%.1f", kib * 1.024 / 1000 }')
	record "$test" "$who" "$line"
}

small_files() { # WHO FOLDER
	local what speed before=0
	mkdir "$2/small"
	for what in create stat unlink; do
		[ $what != stat ] || cold "$1"
		[ "$1" = kernel ] || before=$(status requests)
		speed=$("$helpers/file_speed" $what "$2/small" $files 4096) || fail "file_speed $what $1"
		record "$what" "$1" "$speed"
		[ "$1" = kernel ] || record requests-per-$what - "$(quotient $(($(status requests) - before)) $files)"
	done
	rmdir "$2/small"
}

quotient() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; } # A B

# How often the threads of the daemon slept or were put aside, so far.
switches() { cat /proc/"$daemon_pid"/task/*/status | awk '/ctxt_switches/ { n += $2 } END { print n }'; }

# Microseconds of one direct read or write of BLOCK bytes, one after the other: the block device, our initiator, both file systems.
parts_of() { # NAME read|write RANDOM BLOCK COUNT
	local rw=$3$2 nsid=4 device=$ext4 memory=16M
	[ "$2" = read ] || nsid=3 device=$scratch memory=64M
	price "$1-disk" "$(one "$rw" "$device" "$4" "$5")"
	price "$1-initiator" "$("$tools/nvofs-rawperf" "${ns%nsid=*}nsid=$nsid" --rw="$rw" --bs="$4" --qd=1 --seconds=1 --memory=$memory |
		sed -n 's/.*mean_us=\([^ ]*\).*/\1/p')"
	cold kernel
	price "$1-kernel" "$(one "$rw" "$kernel/file" "$4" "$5")"
	cold nvofs
	before=$(switches)
	price "$1-nvofs" "$(one "$rw" "$mnt/file" "$4" "$5")"
	record "switches-$1" - "$(quotient $(($(switches) - before)) "$5")"
}

# Of "MB/s IOPS" the one that has the more digits.
one() { # RW FILE BLOCK COUNT
	"$helpers/io_speed" "$1" "$2" "$3" "$4" 1 direct | awk -v block="$3" '{ printf "%.1f", ($2 > 1000) ? 1e6 / $2 : block / $1 }'
}

cached() { # NAME RANDOM BLOCK COUNT
	dd if="$mnt/hot" of=/dev/null bs=1M iflag=direct status=none
	price "$1-cached" "$(one "$2"read "$mnt/hot" "$3" "$4")"
}

parts() {
	local what
	for what in syscall clock wake; do
		price $what "$("$helpers/os_price" $what 3000)"
	done
	price request "$("$helpers/os_price" request 1000 "$mnt/hot")"
	cached 4K rand 4096 700
	cached 1M '' 1048576 60
	unmount_fs
	mount_nvofs
	price 1M-unused "$(one read "$mnt/file" 1048576 24)"
	parts_of read-4K read rand 4096 700
	parts_of read-1M read '' 1048576 60
	parts_of write-4K write rand 4096 700
	parts_of write-1M write '' 1048576 60
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
	if [ "$only" ]; then
		parts
		return
	fi
	measure read-1M-direct read 1M $mb --direct=1
	measure write-1M-direct write 1M $mb --direct=1
	measure read-1M-buffered read 1M $mb
	measure write-1M-buffered write 1M $mb --end_fsync=1
	measure randread-4K-QD1 randread 4k 3 --direct=1
	measure randread-4K-QD32 randread 4k 12 --direct=1 --ioengine=libaio --iodepth=32
	small_files kernel "$kernel"
	small_files nvofs "$mnt"
	parts
	raw_verbs ib_read_bw
	raw_verbs ib_write_bw
}

table() {
	sort -k1,1 -k2,2 -k3,3g "$results" | awk -v only="$only" '
		function flush() { if (n) { median[key] = v[int((n + 1) / 2)]; low[key] = v[1]; high[key] = v[n] } n = 0 }
		{ value[$1, $2, $4] = $3; if ($4 > rounds) rounds = $4 }
		{ if ($1 " " $2 != key) { flush(); key = $1 " " $2 }; v[++n] = $3 }
		!($1 in seen) { seen[$1]; order[++tests] = $1 }
		function cell(k) { return sprintf("%8.0f [%.0f..%.0f]", median[k], low[k], high[k]) }
		# The median of the ratios of each round, and their range.
		function ratio(t,   i, j, n, x, q) {
			for (i = 1; i <= rounds; i++) {
				if (!value[t, "kernel", i]) continue
				x = value[t, "nvofs", i] / value[t, "kernel", i]
				for (j = n++; j && q[j] > x; j--) q[j + 1] = q[j]
				q[j + 1] = x
			}
			return sprintf("%.2f [%.2f..%.2f]", q[int((n + 1) / 2)], q[1], q[n])
		}
		function part(name, key) { printf "  %-44s %s\n", name, micro(key) }
		function micro(key) { return sprintf("%9.1f [%.1f..%.1f]", median[key " -"], low[key " -"], high[key " -"]) }
		function m(key) { return median[key " -"] }
		function whole(what, b,   t) {
			t = what "-" b
			printf "\none direct %s of %s, microseconds\n", what, b
			part("kernel: the block device", "us-" t "-disk")
			part("kernel: with ext4", "us-" t "-kernel")
			part("nvofs: the initiator alone", "us-" t "-initiator")
			part("nvofs: FUSE (a read, data in the cache)", "us-" b "-cached")
			printf "  %-44s %9.1f [%.1f..]\n", "nvofs: sum of these two", m("us-" t "-initiator") + m("us-" b "-cached"),
				low["us-" t "-initiator -"] + low["us-" b "-cached -"]
			part("nvofs: measured", "us-" t "-nvofs")
			if (t == "read-1M") part("nvofs: its memory used for the first time", "us-1M-unused")
			part("context switches of the daemon", "switches-" t)
		}
		function file(what) {
			printf "  %-8s kernel %8.1f, nvofs %8.1f, FUSE requests %5.2f; of which FUSE %8.1f\n", what, 1e6 / median[what " kernel"],
				1e6 / median[what " nvofs"], m("requests-per-" what), m("requests-per-" what) * m("us-request")
		}
		END {
			flush()
			if (!only) printf "%-20s %26s %26s %20s\n", "", "kernel nvme-rdma, ext4", "nvofs", "nvofs/kernel"
			for (i = 1; i <= tests; i++) {
				t = order[i]; k = t " kernel"; n = t " nvofs"
				if (t " -" in median) continue
				if (k in median) printf "%-20s %26s %26s %20s\n", t, cell(k), cell(n), ratio(t)
				else printf "%-20s %26s\n", t, cell(t " verbs")
			}
			print "\nprices, microseconds"
			part("a system call", "us-syscall")
			part("the time of day (clock_gettime)", "us-clock")
			part("waking another process (pipe)", "us-wake")
			part("a FUSE request without data", "us-request")
			whole("read", "4K"); whole("read", "1M")
			whole("write", "4K"); whole("write", "1M")
			if (only) exit
			print "\none small file, microseconds"
			file("create"); file("stat"); file("unlink")
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
