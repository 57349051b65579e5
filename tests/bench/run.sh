#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [-r ROUNDS] [-m MB]
#
# What the file system costs: sequential and random reads and writes through the mount beside the raw initiator
# (nvofs-rawperf: our transport alone, same block size, requests in flight and queues) on the same nvofs-target (memory), and
# beside memcpy. Rounds are interleaved, so that a slow phase of the machine hits all alike; medians, and min..max in
# brackets. What is read was written once, in order; what is written over and over is another file, whose blocks random
# writes strew over the device: read-1M-scattered reads that one. Compare ratios of one run only. Cold reads follow a new
# mount; direct is O_DIRECT.
# As root it runs in a network namespace of its own with TCP's plain congestion control, because some defaults (bbr) pace
# loopback; nothing of the machine is changed.
#   -r  rounds (5)    -m  size of the file (512)
set -eu
folder=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
rounds=5 mb=512

if [ "$(id -u)" = 0 ] && [ -z "${NVOFS_BENCH_NETNS:-}" ] && command -v ip >/dev/null && unshare -n true 2>/dev/null; then
	NVOFS_BENCH_NETNS=1 exec unshare -n bash "$0" "$@"
fi
while getopts r:m: opt; do
	case $opt in
	r) rounds=$OPTARG ;;
	m) mb=$OPTARG ;;
	*) sed -n '3,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
if [ -n "${NVOFS_BENCH_NETNS:-}" ]; then
	ip link set lo up
	echo reno >/proc/sys/net/ipv4/tcp_congestion_control
fi
. "$folder/../shell/lib.sh"
[ -x "$tools/nvofs-rawperf" ] || fail "$tools/nvofs-rawperf is not built"

results=$work/results # lines: TEST WHO MB/S
cpus=$(nproc)

record() { printf '%s %s %s\n' "$1" "$2" "$3" >>"$results"; }

# Our transport alone, on the second namespace: D requests in flight over as many queues as there are workers.
raw() { # TEST RW BLOCK DEPTH
	local queues=$(($4 < cpus ? $4 : cpus)) line
	line=$("$tools/nvofs-rawperf" "$target_ns?nsid=2" --rw="$2" --bs="$3" --qd=$(($4 / queues)) --queues=$queues --seconds=1) ||
		fail "nvofs-rawperf --rw=$2 --bs=$3"
	record "$1" raw "$(sed -n 's/.*MB\/s=\([0-9.]*\).*/\1/p' <<<"$line")"
}

through_mount() { # TEST RW BLOCK DEPTH [direct]
	local result file=$mnt/file
	case $2 in *write) file=$mnt/written ;; esac
	result=$("$helpers/io_speed" "$2" "$file" "$3" "$((mb * 1048576 / $3)):2" "$4" ${5:-}) || fail "io_speed $*"
	record "$1" mount "${result%% *}"
}

measure() { # TEST RW BLOCK DEPTH [direct]
	case $2 in *read) remount_fs ;; esac
	through_mount "$@"
	raw "$@"
}

round() {
	record memcpy memcpy "$("$helpers/io_speed" memcpy - 1048576 2000 | cut -d ' ' -f 1)"
	measure read-1M-direct-1 read 1048576 1 direct
	measure read-1M-direct-4 read 1048576 4 direct
	measure read-128K-buffered read 131072 1
	measure randread-4K-direct-1 randread 4096 1 direct
	measure randread-4K-direct-32 randread 4096 32 direct
	measure write-1M-direct-1 write 1048576 1 direct
	measure write-1M-direct-4 write 1048576 4 direct
	measure write-128K-buffered write 131072 1
	measure randwrite-4K-direct-1 randwrite 4096 1 direct
	measure randwrite-4K-direct-32 randwrite 4096 32 direct
	"$helpers/io_speed" read "$mnt/file" 1048576 "$mb" >/dev/null
	through_mount read-128K-page-cache read 131072 1
	remount_fs
	record read-1M-scattered mount "$("$helpers/io_speed" read "$mnt/written" 1048576 "$mb:2" 1 direct | cut -d ' ' -f 1)"
}

table() {
	sort -k1,1 -k2,2 -k3,3g "$results" | awk '
		function flush() { if (n) { median[key] = v[int((n + 1) / 2)]; low[key] = v[1]; high[key] = v[n] } n = 0 }
		{ if ($1 " " $2 != key) { flush(); key = $1 " " $2 }; v[++n] = $3 }
		!($1 in seen) { seen[$1]; order[++tests] = $1 }
		function cell(k) { return k in median ? sprintf("%7.0f [%.0f..%.0f]", median[k], low[k], high[k]) : "-" }
		END {
			flush()
			printf "%-24s %24s %24s %8s %10s\n", "MB/s", "mount", "raw initiator", "of raw", "of memcpy"
			for (i = 1; i <= tests; i++) {
				t = order[i]; m = t " mount"; r = t " raw"
				if (t == "memcpy") continue
				printf "%-24s %24s %24s %8s %10.3f\n", t, cell(m), cell(r),
					r in median ? sprintf("%.2f", median[m] / median[r]) : "-", median[m] / median["memcpy memcpy"]
			}
			printf "%-24s %24s\n", "memcpy", cell("memcpy memcpy")
		}'
}

target_start -q --touch "ram:$((mb * 3 + 256))M" "ram:${mb}M"
target_ns=$ns
"$tools/mkfs.nvofs" -q -f "$ns?nsid=1"
ns="$target_ns?nsid=1"
mount_fs
for file in file written; do
	dd if=/dev/urandom of="$mnt/$file" bs=1M count="$mb" status=none conv=fsync
done
for number in $(seq "$rounds"); do
	note "round $number of $rounds" >&2
	round
done
unmount_fs
table
