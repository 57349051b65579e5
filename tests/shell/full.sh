#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A full file system: ENOSPC, what fits is kept, deletion works, the space comes back, again and again.
. "$(dirname "$0")/lib.sh"

free_kb() { df -k --output=avail "$mnt" | tail -n 1; }

# Fills the file system with files of random data; the last one fails. Every file that was written whole is right.
fill_up() { # PREFIX
	local i=0
	while dd if="$work/random" of="$mnt/$1-$i" bs=64k status=none conv=fsync 2>"$work/dd.log"; do
		i=$((i + 1))
		[ $i -lt 500 ] || fail "it never gets full"
	done
	grep -q 'No space left' "$work/dd.log" || fail "not ENOSPC but $(cat "$work/dd.log")"
	[ $i -ge 1 ] || fail "nothing fits at all"
	files=$i
	rm -f "$mnt/$1-$i" || fail "deletion fails on a full file system"
}

check_files() { # PREFIX
	local i
	for i in $(seq 0 $((files - 1))); do
		cmp -s "$work/random" "$mnt/$1-$i" || fail "file $1-$i of $files is not whole"
	done
}

dd if=/dev/urandom of="$work/random" bs=1M count=3 status=none
target_start "file:$disk:128M"
format
mount_fs
empty=$(free_kb)
fill_up first
[ "$(free_kb)" -lt $((8 * 1024)) ] || fail "statfs says $(free_kb) KiB are free on a full file system"
check_files first
note "$files files of 3 MiB fit into 128 MiB"
first=$files
remount_fs
check_files first
rm "$mnt"/first-*
room() { [ "$(free_kb)" -gt $((empty - 4096)) ]; }
wait_for 30 room || fail "deleted, and only $(free_kb) KiB of $empty are free"
fill_up second
check_files second
[ "$files" -ge $((first - 2)) ] || fail "only $files files fit the second time, $first the first time"

# One file without end, through the kernel's write-back cache: write(2) itself has to fail, else dd goes on for ever.
rm -f "$mnt"/second-*
wait_for 30 room || fail "deleted, and only $(free_kb) KiB of $empty are free"
code=0
timeout 60 dd if=/dev/zero of="$mnt/endless" bs=64k status=none 2>"$work/dd.log" || code=$?
[ $code = 1 ] && grep -q 'No space left' "$work/dd.log" || fail "dd into a full file system: exit code $code, $(cat "$work/dd.log")"
[ "$(free_kb)" -lt $((8 * 1024)) ] || fail "$(free_kb) KiB are free, yet there was no room"
rm "$mnt/endless"
wait_for 30 room || fail "deleted, and only $(free_kb) KiB of $empty are free"
fill_up third
check_files third

# Small files until there is no room for an inode; overwriting and deleting still work.
rm -f "$mnt/third-0"
sync -f "$mnt" || : # may still tell of the write that found no room
i=0
while mkdir "$mnt/dir-$i" 2>/dev/null && echo "content $i" >"$mnt/dir-$i/f" 2>/dev/null; do
	i=$((i + 1))
	[ $i -lt 20000 ] || break
done
rm -rf "${mnt:?}"/* || fail "deletion fails on a full file system"
wait_for 30 room || fail "everything deleted, and only $(free_kb) KiB of $empty are free"
cp "$work/random" "$mnt/again"
remount_fs
same "$work/random" "$mnt/again"
unmount_fs
fsck_clean
note ok
