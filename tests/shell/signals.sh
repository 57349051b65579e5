#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Ending on request: SIGTERM unmounts; in use, the mount is detached and served to its last user; a second signal ends at
# once. While the target is away a reader can be killed, and the daemon gives up in the end.
. "$(dirname "$0")/lib.sh"

ended() { # SECONDS: the daemon has ended, well or (with the second argument) with that code
	local code=0
	wait_for "$1" gone "$daemon_pid" || fail "the daemon does not end"
	wait "$daemon_pid" 2>/dev/null || code=$?
	[ $code = "${2:-0}" ] || fail "the daemon ended with $code: $(tail -n 2 "$work/daemon.log")"
	daemon_pid=
}

stay_inside() { (cd "$mnt" && exec sleep 60) & user=$!; children+=("$user"); sleep 0.3; }

target_start "file:$disk:256M"
format
mount_fs
echo kept >"$mnt/file"
kill -TERM "$daemon_pid"
ended 20
! mounted || fail "SIGTERM leaves the mount"
fsck_clean

mount_fs
stay_inside
kill -TERM "$daemon_pid"
wait_for 10 eval '! mounted' || fail "a mount in use is not detached"
sleep 0.5
! gone "$daemon_pid" || fail "the daemon left its user alone"
[ "$(cat "/proc/$user/cwd/file")" = kept ] || fail "a detached mount is not served"
kill $user
ended 20
fsck_clean

mount_fs
stay_inside
kill -TERM "$daemon_pid"
sleep 0.5
kill -TERM "$daemon_pid"
ended 20
kill $user
fsck_clean

# The target hangs: whoever reads can be killed, and goes on when it is back.
mount_fs
head -c 8M /dev/urandom >"$work/random"
cp "$work/random" "$mnt/random"
remount_fs
kill -STOP "$target_pid"
cat "$mnt/random" >/dev/null &
reader=$!
children+=("$reader")
sleep $((8 * slack))
! gone $reader || fail "a read without a target ended"
kill -9 $reader
wait_for 10 gone $reader || fail "a reader cannot be killed while the target is away"
kill -CONT "$target_pid"
same "$work/random" "$mnt/random"

# It does not come back: unmounting ends, and says that not all was written.
echo new >"$mnt/new"
kill -STOP "$target_pid"
fusermount3 -u "$mnt" &
children+=("$!")
sleep 1
kill -TERM "$daemon_pid"
ended $((40 * slack)) 16
grep -q 'not everything could be written' "$work/daemon.log" || fail "nothing is said about what was lost"
kill -CONT "$target_pid"
wait_for 20 fsck_clean
mount_fs
same "$work/random" "$mnt/random"
unmount_fs
note ok
