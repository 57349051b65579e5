#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Format, mount in the background, copy a real tree in, unmount, mount again: everything is there and nothing changed.
. "$(dirname "$0")/lib.sh"

target_start "file:$disk:512M"
"$tools/mkfs.nvofs" -n "$ns" >"$work/dry.log" 2>&1 || fail "mkfs.nvofs -n ended with $?"
expect_unformatted() { "$tools/nvofs" "$ns" "$mnt" -f >"$work/unformatted.log" 2>&1; }
! expect_unformatted || fail "mkfs.nvofs -n wrote something"
format -L first
! "$tools/mkfs.nvofs" -q "$ns" 2>"$work/again.log" || fail "mkfs.nvofs formats over a file system"
grep -qi nvofs "$work/again.log" || fail "mkfs.nvofs does not say what it found: $(cat "$work/again.log")"
format -f -L second -U 01234567-89ab-cdef-0123-456789abcdef
fsck_clean

make_tree 40
mount_background
cp -a "$work/tree" "$mnt/"
same_tree "$work/tree" "$mnt/tree"
"$tools/nvofsctl" status "$mnt" >"$work/status.log" || fail "nvofsctl status ended with $?"
[ "$(status label)" = second ] || fail "the label is '$(status label)'"
unmount_fs
fsck_clean
mount_fs
same_tree "$work/tree" "$mnt/tree"
same_listing "$work/tree" "$mnt/tree"
rm -rf "$mnt/tree"
[ -z "$(ls -A "$mnt")" ] || fail "something is left after rm -rf: $(ls -A "$mnt")"
unmount_fs
fsck_clean
target_stop
note ok
