#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tar and rsync keep everything: hard links, attributes, sparse files, devices, owners, times.
. "$(dirname "$0")/lib.sh"
need rsync tar setfattr getfattr

# A tree of real files and of all that is special.
decorate() { # FOLDER
	ln "$1"/tests/run.sh "$1"/hard-link 2>/dev/null || ln "$(find "$1" -type f -print -quit)" "$1/hard-link"
	ln -s "does not exist" "$1/dangling"
	mkfifo "$1/fifo"
	truncate -s 20M "$1/sparse"
	printf data | dd of="$1/sparse" bs=1 seek=10000000 conv=notrunc status=none
	touch -d '2001-02-03 04:05:06.789012345' "$1/sparse"
	mkdir -m 1777 "$1/sticky"
	: >"$1/empty"
	setfattr -n user.comment -v "kept as it is" "$1/empty"
	setfattr -n user.binary -v 0x00ff10 "$1/sticky"
	[ "$(id -u)" = 0 ] || return 0
	mknod "$1/null" c 1 3
	chown 1234:4321 "$1/empty"
	chmod 4755 "$1/empty"
}

attributes() { (cd "$1" && getfattr -R -h -d -m '^user\.' . 2>/dev/null | sed '/^$/d' | sort); }
same_all() { # FOLDER FOLDER
	same_listing "$1" "$2"
	[ "$(attributes "$1")" = "$(attributes "$2")" ] || fail "extended attributes differ in $2"
	[ "$(attributes "$2" | wc -l)" -ge 2 ] || fail "no extended attributes at all in $2"
}

make_tree 20
decorate "$work/tree"
target_start "file:$disk:512M"
format
mount_fs

sleep 1.1 # rsync leaves times alone that differ by less than a second
rsync -aHX --checksum "$work/tree/" "$mnt/rsync/"
tar -C "$work" --xattrs --xattrs-include='user.*' -cf "$mnt/tree.tar" --sparse tree
mkdir "$mnt/tar"
tar -C "$mnt/tar" --xattrs --xattrs-include='user.*' -xpf "$mnt/tree.tar"
remount_fs
same_all "$work/tree" "$mnt/rsync"
same_all "$work/tree" "$mnt/tar/tree"
[ -z "$(rsync -aHX --checksum --delete -i "$work/tree/" "$mnt/rsync/")" ] || fail "rsync finds something to do again"
for file in $(cd "$work/tree" && find . -type f | head -n 200); do
	same "$work/tree/$file" "$mnt/tar/tree/$file"
done
mkdir "$work/back"
tar -C "$mnt" --xattrs --xattrs-include='user.*' --sparse -cf - rsync | tar -C "$work/back" --xattrs --xattrs-include='user.*' -xpf -
same_all "$work/tree" "$work/back/rsync"
same "$work/tree/sparse" "$work/back/rsync/sparse"
[ "$(du -k "$mnt/tar/tree/sparse" | cut -f 1)" -lt 1024 ] || fail "the sparse file is not sparse"
unmount_fs
fsck_clean
note ok
