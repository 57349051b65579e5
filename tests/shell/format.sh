#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What mkfs.nvofs recognises and refuses, and what fsck.nvofs does with a file system that was not unmounted.
. "$(dirname "$0")/lib.sh"

refused() { # PATTERN [OPTION]...
	local pattern=$1
	shift
	expect 1 "$pattern" "$tools/mkfs.nvofs" -q "$@" "$ns"
}

fsck_code() { # CODE [OPTION]...
	local want=$1 code=0
	shift
	timeout $((120 * slack)) "$tools/fsck.nvofs" "$@" "$ns" >"$work/fsck.log" 2>&1 || code=$?
	[ $code = "$want" ] || fail "fsck.nvofs $* ended with $code instead of $want"
}

# A file that something else was made on is refused; -f takes it, and nothing of it is found afterwards.
check_foreign() { # PATTERN COMMAND...
	local pattern=$1
	shift
	truncate -s 0 "$disk"
	truncate -s 128M "$disk"
	"$@" "$disk" >/dev/null 2>&1
	target_start "file:$disk"
	refused "$pattern"
	refused "$pattern" -n
	format -f
	fsck_code 0 -n
	target_stop
	[ -z "$(blkid -p "$disk")" ] || fail "after mkfs.nvofs -f blkid still finds: $(blkid -p "$disk")"
}

# RAID metadata 0.90: 64 KiB before the end, nothing anywhere else.
raid_tail() {
	printf '\xfc\x4e\x2b\xa9\0\0\0\0\x5a\0\0\0\0\0\0\0' |
		dd of="$1" bs=1 seek=$((128 * 1048576 - 65536)) conv=notrunc
}

check_labels() {
	truncate -s 0 "$disk"
	target_start "file:$disk:128M"
	expect 2 'label' "$tools/mkfs.nvofs" -L "$(printf 'x%.0s' {1..64})" "$ns"
	expect 2 'label' "$tools/mkfs.nvofs" -L "$(printf '\xc0\xaf')" "$ns"
	expect 2 'UUID' "$tools/mkfs.nvofs" -U 1234 "$ns"
	format -L "$(printf 'x%.0s' {1..60})ä" -U 01234567-89ab-cdef-0123-456789abcdef
	fsck_code 0 -nv
	grep -q "01234567-89ab-cdef-0123-456789abcdef, label 'x*ä'" "$work/fsck.log" || fail "label or UUID is lost"
	target_stop
}

# The transport tells of the error, too: the last line counts.
expect_last() { # CODE PATTERN COMMAND...
	local want=$1 pattern=$2 code=0
	shift 2
	timeout $((60 * slack)) "$@" >"$work/expect.log" 2>&1 || code=$?
	[ $code = "$want" ] || fail "'${*##*/}' ended with $code instead of $want"
	tail -n 1 "$work/expect.log" | grep -q "$pattern" || fail "'${*##*/}' says '$(tail -n 1 "$work/expect.log")'"
}

check_unreadable() {
	truncate -s 0 "$disk"
	target_start --fault error-status=1:4281 "file:$disk:128M"
	expect_last 1 'cannot read' "$tools/mkfs.nvofs" "$ns"
	target_stop
}

check_journal() {
	target_start "file:$disk"
	ns="$ns?keep-alive-tmo=1"
	format -f
	mount_fs
	refused 'mounted' -f
	mkdir "$mnt/dir"
	for i in {1..200}; do echo "$i" >"$mnt/dir/file$i"; done
	sync "$mnt/dir"
	kill_daemon
	cp --sparse=always "$disk" "$work/before"
	fsck_code 0 -n
	cmp "$disk" "$work/before" || fail "fsck.nvofs -n wrote something"
	fsck_code 1
	fsck_code 0
	cmp -s "$disk" "$work/before" && fail "fsck.nvofs wrote nothing"
	mount_fs
	[ "$(cat "$mnt/dir/file200")" = 200 ] || fail "what was synced is not there after fsck.nvofs"
	unmount_fs
	target_stop
}

need blkid
if [ -x /sbin/mkfs.ext4 ]; then
	check_foreign 'ext4.*rooty' mkfs.ext4 -q -L rooty
fi
check_foreign 'swap' mkswap
check_foreign 'raid' raid_tail
check_labels
check_unreadable
check_journal
note ok
