#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the design promises, as counters: no copies of our own for aligned I/O beyond TCP's staging, no heap allocations
# per data request in steady state, few commands for a cold read, few replays.
. "$(dirname "$0")/lib.sh"

delta() { # KEY COMMAND...: how much the counter grew
	local key=$1 before
	before=$(status "$key")
	shift
	"$@" >/dev/null
	echo $(($(status "$key") - before))
}

size=$((64 << 20))
read_all() { "$helpers/io_speed" read "$mnt/file" 1048576 64 1 direct; }
write_all() { "$helpers/io_speed" write "$mnt/file" 1048576 64 1 direct; }

target_start "file:$disk:512M"
format
mount_fs
dd if=/dev/urandom of="$mnt/file" bs=1M count=64 status=none conv=fsync
for key in pid copied_read copied_written allocs data_requests commands replays; do
	[[ "$(status $key)" =~ ^[0-9]+$ ]] || fail "status has no number '$key'"
done
[ "$(status pid)" = "$daemon_pid" ] || fail "pid is $(status pid), not $daemon_pid"

# What came with headers from the TCP stream is counted apart, and is a small part of what was read.
remount_fs
staged=$(status staged_read)
copied=$(delta copied_read read_all)
staged=$(($(status staged_read) - staged))
note "cold read of $size bytes: $copied copied, $staged came with headers"
[ "$copied" = 0 ] || fail "$copied bytes copied while reading $size aligned"
[ "$staged" -le $((size / 32)) ] || fail "$staged bytes staged while reading $size"
copied=$(delta copied_written write_all)
note "write of $size bytes: $copied copied"
[ "$copied" = 0 ] || fail "$copied bytes copied while writing $size aligned"

# Steady state: the second time round.
write_all >/dev/null
remount_fs
read_all >/dev/null
requests=$(status data_requests)
allocations=$(delta allocs read_all)
requests=$(($(status data_requests) - requests))
note "warm read: $allocations allocations in $requests requests"
[ "$requests" -ge 64 ] || fail "only $requests data requests were counted"
[ "$allocations" = 0 ] || fail "$allocations allocations in $requests requests"
write_all >/dev/null
allocations=$(delta allocs write_all)
note "write: $allocations allocations"
[ "$allocations" -le 8 ] || fail "$allocations allocations while writing in steady state"

# 64 MiB in 1 MiB commands, and what the tree costs.
remount_fs
commands=$(delta commands read_all)
note "cold read of 64 MiB: $commands commands"
[ "$commands" -le 400 ] || fail "$commands commands for 64 MiB"
remount_fs
replays=$(delta replays read_all)
note "cold read of 64 MiB: $replays replays"
[ "$replays" -le 400 ] || fail "$replays replays for 64 requests"
unmount_fs
note ok
