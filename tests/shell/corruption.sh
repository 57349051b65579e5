#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Bytes flipped in the target's file. Data: EIO with path and offset in the log, everything else readable, fsck.nvofs -n
# ends with 4 and names it. Anywhere, at random: never a wrong byte.
. "$(dirname "$0")/lib.sh"

flip() { # OFFSET
	local byte
	byte=$(od -An -tu1 -j "$1" -N 1 "$disk")
	printf "\\x$(printf %x $((byte ^ 0x41)))" | dd of="$disk" bs=1 seek="$1" conv=notrunc status=none
}

read_code() { # FILE SOURCE: 0 equal, 1 wrong bytes, 2 error
	local code=0
	cmp -s "$2" "$1" 2>/dev/null || code=$?
	echo $code
}

# 4 MiB with a line that stands nowhere else, 3 MiB in.
check_data() {
	local at marker="the-marker-$$-of-this-test"
	dd if=/dev/urandom of="$work/file" bs=1M count=4 status=none
	printf '%s' "$marker" | dd of="$work/file" bs=1 seek=3145000 conv=notrunc status=none
	mount_fs
	mkdir "$mnt/folder"
	cp "$work/file" "$mnt/folder/file"
	cp -a "$work/tree" "$mnt/"
	unmount_fs
	target_stop
	at=$(grep -obUaF "$marker" "$disk" | head -n 1 | cut -d : -f 1)
	[ -n "$at" ] || fail "the data is not in the target's file as it was written"
	flip "$at"
	target_start "file:$disk"
	: >"$work/daemon.log"
	mount_fs
	[ "$(read_code "$mnt/folder/file" "$work/file")" != 1 ] || fail "wrong bytes"
	! cat "$mnt/folder/file" >/dev/null 2>"$work/cat.log" || fail "a damaged block was read without an error"
	grep -q 'Input/output error' "$work/cat.log" || fail "not EIO but $(cat "$work/cat.log")"
	grep -q 'folder/file' "$work/daemon.log" || fail "the log does not name the file: $(tail -n 3 "$work/daemon.log")"
	grep -Eq "\b(3145000|$((3145000 / 4096 * 4096)))\b" "$work/daemon.log" || fail "the log does not say where: $(tail -n 3 "$work/daemon.log")"
	cmp -n 2000000 "$work/file" "$mnt/folder/file" || fail "what lies before the damage is unreadable"
	cmp -i 3500000 "$work/file" "$mnt/folder/file" || fail "what lies behind the damage is unreadable"
	same_tree "$work/tree" "$mnt/tree"
	unmount_fs
	code=0
	"$tools/fsck.nvofs" -n "$ns" >"$work/fsck.log" 2>&1 || code=$?
	[ $code = 4 ] || fail "fsck.nvofs -n ended with $code instead of 4"
	grep -Eq 'folder/file|inode' "$work/fsck.log" || fail "fsck.nvofs does not name the file: $(cat "$work/fsck.log")"
	mount_fs
	rm "$mnt/folder/file" || fail "a damaged file cannot be deleted"
	unmount_fs
	fsck_clean
	target_stop
}

# Each file reads right or not at all; a mount may be refused.
read_tree() { # sets errors
	local file
	errors=0
	while read -r file; do
		case $(read_code "$mnt/tree/$file" "$work/tree/$file") in
		1) fail "wrong bytes in $file" ;;
		2) errors=$((errors + 1)) ;;
		esac
	done <"$work/files"
}

check_random() {
	local round i used
	cp "$disk" "$work/whole"
	used=$((160 << 20))
	for round in $(seq "${NVOFS_ROUNDS:-3}"); do
		cp "$work/whole" "$disk"
		for i in $(seq 40); do
			flip "$(awk -v n="$round$i" -v max=$used 'BEGIN { srand(n); printf "%d", rand() * max }')"
		done
		target_start "file:$disk"
		"$tools/nvofs" "$ns" "$mnt" -f -o ro >>"$work/daemon.log" 2>&1 &
		daemon_pid=$!
		children+=("$daemon_pid")
		wait_for 30 mounted_or_dead || fail "round $round: neither mounted nor refused"
		if mounted; then
			read_tree
			note "round $round: $errors of $(wc -l <"$work/files") files unreadable"
			unmount_fs
		else
			note "round $round: refused: $(tail -n 1 "$work/daemon.log")"
			daemon_pid=
		fi
		code=0
		timeout $((60 * slack)) "$tools/fsck.nvofs" -n "$ns" >"$work/fsck.log" 2>&1 || code=$?
		case $code in 0 | 4 | 8 | 12) ;; *) fail "round $round: fsck.nvofs -n ended with $code" ;; esac
		target_stop
	done
}

make_tree 30
(cd "$work/tree" && find . -type f) >"$work/files"
target_start "file:$disk:256M"
format
check_data
check_random
note ok
