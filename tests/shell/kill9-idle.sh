#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# After kill -9: a read-only mount works at once; a mount that ends without a write leaves the device byte for byte as it
# was; a file that was unlinked while open is gone after the next clean mount, and its space is back.
. "$(dirname "$0")/lib.sh"

digest() { sha256sum <"$disk"; }

target_start "file:$disk:256M"
format
mount_fs
free=$(status free_blocks)
dd if=/dev/urandom of="$mnt/kept" bs=1M count=8 status=none conv=fsync
sha256sum <"$mnt/kept" >"$work/kept.sum"
exec 9<>"$mnt/orphan"
dd if=/dev/zero bs=1M count=20 status=none >&9
sync "$mnt/kept"
rm "$mnt/orphan"
sync "$mnt/kept"
kill_daemon
exec 9>&-

before=$(digest)
mount_fs -o ro
sha256sum --status -c "$work/kept.sum" <"$mnt/kept" || fail "wrong data on a read-only mount"
! touch "$mnt/new" 2>/dev/null || fail "a read-only mount lets write"
unmount_fs
[ "$before" = "$(digest)" ] || fail "a read-only mount changed the device"

mount_fs
wait_for 40 touch "$mnt/new" || fail "no write after a crash"
freed() { [ $((free - $(status free_blocks))) -lt $((16 << 20 >> 12)) ]; }
wait_for 30 freed || fail "the unlinked file's space is not back: $free free blocks before, $(status free_blocks) now"
[ ! -e "$mnt/orphan" ] || fail "the unlinked file is back"
unmount_fs
fsck_clean
note ok
