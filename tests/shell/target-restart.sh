#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The target is killed and started again on its file: under load while mounted (I/O waits and goes on), stopped for some
# seconds, and while nothing is mounted.
. "$(dirname "$0")/lib.sh"

make_tree 60
target_start "file:$disk:1G"
format

# Killed as soon as the mount is there, while the memory of a large cache is still being touched: waited for all the same.
mount_fs -o cache=2G
target_kill
echo early >"$mnt/early" &
writer=$!
children+=("$writer")
sleep 1
target_start "file:$disk"
wait $writer || fail "a write in the first second of the mount failed"
sync "$mnt/early" || fail "what was written in the first second of the mount is lost"
unmount_fs
mount_fs

# Killed three times in the middle of a copy.
cp -a "$work/tree" "$mnt/tree" &
copy=$!
children+=("$copy")
for pause in 0 1.5 0; do
	sleep 0.4
	target_kill
	sleep $pause
	target_start "file:$disk"
done
wait $copy || fail "the copy failed"
same_tree "$work/tree" "$mnt/tree"
reconnects=$(status reconnects)
[ "${reconnects:-0}" -ge 1 ] || fail "status does not count the reconnects"
remount_fs
same_tree "$work/tree" "$mnt/tree"
same_listing "$work/tree" "$mnt/tree"

# A read that comes while the target is away waits and is answered right.
remount_fs
target_kill
(sleep 2; :) &
cmp "$work/tree/linux/fs.h" "$mnt/tree/linux/fs.h" 2>"$work/read.log" &
reader=$!
children+=("$reader")
sleep 1
! gone $reader || note "the reader did not wait (cached)"
target_start "file:$disk"
wait $reader || fail "a read across the restart: $(cat "$work/read.log")"

# A target whose killed process loses what no Flush reached: what was fsync'ed is written again before fsync returns.
unmount_fs
target_stop
target_start --lose-cache "file:$disk"
mount_fs
mkdir "$mnt/records"
"$helpers/recorder" write "$mnt/records" "$work/acknowledged" 2>>"$work/recorder.log" &
recorder=$!
children+=("$recorder")
for pause in 0 1 0; do
	sleep 1.5
	target_kill
	sleep $pause
	target_start --lose-cache "file:$disk"
done
sleep 1.5
! gone $recorder || fail "the writer ended: $(cat "$work/recorder.log")"
kill_daemon
wait_for 20 gone $recorder || fail "the writer hangs"
target_kill
target_start "file:$disk"
fsck_clean
mount_fs
"$helpers/recorder" check "$mnt/records" "$work/acknowledged" || fail "acknowledged data is lost"
same_tree "$work/tree" "$mnt/tree"

# Nothing is mounted.
unmount_fs
target_kill
target_start "file:$disk"
fsck_clean
mount_fs
same_tree "$work/tree" "$mnt/tree"
unmount_fs
target_stop
note ok
