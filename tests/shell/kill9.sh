#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of the daemon in the middle of a copy, again and again: the next mount returns and reads within 3 s, its first
# write is done within 20 s, all that had been fsync'ed is there, and the checker finds nothing.
. "$(dirname "$0")/lib.sh"

rounds=${NVOFS_ROUNDS:-4}
source_tree=/usr/include
[ "$(find $source_tree -type f | wc -l)" -gt 500 ] || source_tree=/usr/share

start_work() { # ROUND
	"$helpers/recorder" write "$mnt/records" "$work/acknowledged" 2>>"$work/recorder.log" &
	recorder=$!
	cp -a $source_tree "$mnt/copy-$1" 2>/dev/null &
	copy=$!
	children+=("$recorder" "$copy")
}

crash() {
	kill_daemon
	wait_for 10 gone $recorder || fail "the writer hangs after the daemon died"
	wait_for 10 gone $copy || fail "the copy hangs after the daemon died"
	wait $recorder 2>/dev/null || true
	wait $copy 2>/dev/null || true
}

# The times are counted from the start of the mount command.
mount_again() { # ROUND
	local begin read_at write_at
	begin=$(now_ms)
	mount_background
	"$helpers/recorder" check "$mnt/records" "$work/acknowledged" || fail "round $1: acknowledged data is lost"
	read_at=$(($(now_ms) - begin))
	timeout $((30 * slack)) sh -c "echo $1 >'$mnt/first-write' && sync -d '$mnt/first-write'" || fail "round $1: no write within 30 s"
	write_at=$(($(now_ms) - begin))
	note "round $1: read after $read_at ms, first write after $write_at ms"
	[ $read_at -le $((3000 * slack)) ] || fail "round $1: reading took $read_at ms"
	[ $write_at -le $((20000 * slack)) ] || fail "round $1: the first write took $write_at ms"
}

target_start "file:$disk:2G"
format
mount_fs
mkdir "$mnt/records"
for round in $(seq "$rounds"); do
	start_work "$round"
	sleep "$(awk -v r="$round" 'BEGIN { srand(r); print 0.3 + 2 * rand() }')"
	crash
	"$tools/fsck.nvofs" -n "$ns" >"$work/fsck.log" 2>&1 || fail "round $round: fsck.nvofs -n before the mount ended with $?"
	mount_again "$round"
	rm -rf "$mnt/copy-$round"
done
unmount_fs
fsck_clean
note ok
