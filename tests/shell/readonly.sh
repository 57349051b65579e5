#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# -o ro: everything can be read, nothing written, and the device stays byte for byte as it was; beside a mount that writes,
# too.
. "$(dirname "$0")/lib.sh"

make_tree 10
target_start "file:$disk:256M"
format
mount_fs
cp -a "$work/tree" "$mnt/"
unmount_fs
before=$(sha256sum <"$disk")
mount_fs -o ro
same_tree "$work/tree" "$mnt/tree"
for change in "touch $mnt/new" "rm -r $mnt/tree" "mkdir $mnt/d" "chmod 700 $mnt/tree" "ln -s a $mnt/l" "truncate -s 0 $mnt/tree/linux/fs.h"; do
	! $change 2>"$work/change.log" || fail "possible on a read-only mount: $change"
	grep -q 'Read-only file system' "$work/change.log" || fail "'$change' says $(cat "$work/change.log")"
done
unmount_fs
[ "$before" = "$(sha256sum <"$disk")" ] || fail "a read-only mount changed the device"
note ok
