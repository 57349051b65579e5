#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A namespace with LBAs of 512 bytes, and one whose size is no multiple of anything.
. "$(dirname "$0")/lib.sh"

check() { # BACKING
	rm -f "$disk"
	target_port=''
	target_start --lba-size 512 "$1"
	format
	mount_fs
	cp -a "$work/tree" "$mnt/"
	remount_fs
	same_tree "$work/tree" "$mnt/tree"
	unmount_fs
	fsck_clean
	target_stop
}

make_tree 10
check "file:$disk:128M"
check "file:$disk:$((100 * 1024 * 1024 + 512 * 3))"
note ok
