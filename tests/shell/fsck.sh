#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fsck.nvofs repairs: space and superblocks with -p, lost leaves of the tree with -y. -n never writes a byte, a second run has
# nothing to do, what did not lie under the damage is as it was.
. "$(dirname "$0")/lib.sh"

run_fsck() { # WANTED_CODES OPTION...: sets code
	local wanted=$1
	shift
	code=0
	timeout $((120 * slack)) "$tools/fsck.nvofs" "$@" "$ns" >"$work/fsck.log" 2>&1 || code=$?
	grep -qw "$code" <<<"$wanted" || fail "fsck.nvofs $* ended with $code instead of $wanted: $(tail -n 5 "$work/fsck.log")"
}

# The command leaves the image as it is.
unchanged() { # COMMAND...
	cp --sparse=always "$disk" "$work/before"
	"$@"
	cmp "$disk" "$work/before" || fail "'$*' wrote something"
}

# Bitmaps, their summaries, a ring of superblocks: brought back without loss.
check_safe() { # FIRST_BLOCK BLOCKS
	cp --sparse=always "$work/whole" "$disk"
	target_start "file:$disk"
	dd if=/dev/urandom of="$disk" bs=4096 seek="$1" count="$2" conv=notrunc status=none
	unchanged run_fsck 4 -n
	run_fsck 1 -p
	unchanged run_fsck 0 -n
	unchanged run_fsck 0 -p
	unchanged run_fsck 0 -y
	mount_fs
	same_tree "$work/tree" "$mnt/tree"
	unmount_fs
	target_stop
}

# Offsets of what looks like a leaf of the tree, newest states included.
leaves() {
	grep -obUaF NVND "$work/whole" | cut -d : -f 1 | while read -r at; do
		[ $((at % 16384)) = 0 ] && [ "$(od -An -tu1 -j $((at + 32)) -N 1 "$work/whole" | tr -d ' ')" = 0 ] && echo "$at"
	done
}

# Damages leaf number N (of those that are in use); false: there are no more.
damage_leaf() {
	local at n=$1
	for at in $(leaves); do
		cp --sparse=always "$work/whole" "$disk"
		printf '\xff\xff' | dd of="$disk" bs=1 seek=$((at + 9000)) conv=notrunc status=none
		run_fsck "0 4" -n
		[ "$code" = 4 ] || continue
		[ $((n--)) -gt 0 ] || return 0
	done
	return 1
}

check_lost_leaf() { # NUMBER
	local file wrong=0 same=0 gone=0
	target_start "file:$disk"
	damage_leaf "$1" || fail "no leaf of the tree was found"
	unchanged run_fsck 4 -n
	unchanged run_fsck 4 -p
	grep -q 'is lost: keys from' "$work/fsck.log" || fail "what is lost is not listed"
	run_fsck 1 -y
	unchanged run_fsck 0 -n
	unchanged run_fsck 0 -y
	mount_fs
	while read -r file; do
		if [ ! -e "$mnt/tree/$file" ]; then
			gone=$((gone + 1))
		elif cmp -s "$work/tree/$file" "$mnt/tree/$file"; then
			same=$((same + 1))
		else
			wrong=$((wrong + 1))
		fi
	done <"$work/files"
	note "leaf $1: $same files as before, $wrong incomplete, $gone not at their place, $(find "$mnt"/lost+found -mindepth 1 2>/dev/null |
		wc -l) in lost+found"
	[ "$same" -gt 0 ] || fail "nothing is left"
	echo new >"$mnt/new"
	unmount_fs
	run_fsck 0 -n
	target_stop
}

make_tree 25
for i in {1..600}; do echo "$i" >"$work/tree/small-file-number-$i"; done
(cd "$work/tree" && find . -type f) >"$work/files"
target_start "file:$disk:128M"
format
mount_fs
cp -a "$work/tree" "$mnt/"
unmount_fs
run_fsck 0 -p
target_stop
cp --sparse=always "$disk" "$work/whole"
check_safe 0 6
check_safe 8 8
check_lost_leaf 0
check_lost_leaf 4
note ok
