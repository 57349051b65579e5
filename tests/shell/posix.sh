#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What programs rely on (tests/tools/posix_check.c has the list), on file systems with 4096 and with 512 byte blocks below.
. "$(dirname "$0")/lib.sh"

target_start "file:$disk:512M"
format
mount_fs
mkdir "$mnt/checks"
"$helpers/posix_check" "$mnt/checks" || fail "see above"
remount_fs
rm -rf "$mnt/checks"
[ -z "$(ls -A "$mnt")" ] || fail "something is left after rm -rf"
unmount_fs
fsck_clean
note ok
