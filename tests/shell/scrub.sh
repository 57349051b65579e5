#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# nvofsctl scrub: content with a sound file system, and leaves the cache alone; bytes flipped in the target's file while it is
# mounted are found, in data by path or inode and offset and in a node of the tree; the pace is kept.
. "$(dirname "$0")/lib.sh"

scrub() { # [OPTION]...: sets code, output in $work/scrub.json
	code=0
	timeout $((120 * slack)) "$tools/nvofsctl" scrub "$mnt" --json "$@" >"$work/scrub.json" 2>"$work/scrub.err" || code=$?
}
found() { json_value "$1" <"$work/scrub.json"; }

# Changes the first byte of that text wherever it is in the target's file: old copies of nodes may have it too.
flip_text() {
	local at places
	places=$(grep -obUaF "$1" "$disk" | cut -d : -f 1)
	[ -n "$places" ] || fail "'$1' is not in the target's file"
	for at in $places; do
		printf '#' | dd of="$disk" bs=1 seek="$at" conv=notrunc status=none
	done
}

fill() {
	mkdir "$mnt/folder"
	for i in $(seq 300); do
		echo "small $i" >"$mnt/folder/small-$i"
	done
	dd if=/dev/urandom of="$work/file" bs=1M count=20 status=none
	printf 'a-marker-%s-in-the-file' $$ | dd of="$work/file" bs=1 seek=5000000 conv=notrunc status=none
	cp "$work/file" "$mnt/folder/file"
	sync -f "$mnt"
}

clean_one() {
	local before hits
	scrub
	[ $code = 0 ] && [ "$(found found)" = 0 ] || fail "a sound file system: ended with $code: $(cat "$work/scrub.json" "$work/scrub.err")"
	[ "$(found data_bytes)" -ge $((20 << 20)) ] || fail "only $(found data_bytes) bytes of data were verified"
	[ "$(found node_bytes)" -ge $((16 << 10)) ] || fail "no node was verified"
	cat "$mnt/folder/file" >/dev/null
	echo 1 >/proc/sys/vm/drop_caches 2>/dev/null || true
	before=$(status cache_fills)
	scrub
	[ "$(status cache_fills)" = "$before" ] || fail "scrub fills the cache"
	hits=$(status cache_free_bytes)
	scrub
	[ "$(status cache_free_bytes)" = "$hits" ] || fail "scrub leaves something in the cache"
}

# While everything changes nothing is taken for damage.
busy_one() {
	local writer end i=0
	dd if=/dev/urandom of="$work/busy" bs=1M count=15 status=none
	while :; do
		i=$((i + 1))
		cp "$work/busy" "$mnt/busy-$((i % 3))" && echo $i >"$mnt/folder/small-$((i % 300))" && sync -f "$mnt"
		rm -f "$mnt/busy-$(((i + 1) % 3))"
	done 2>/dev/null &
	writer=$!
	children+=("$writer")
	end=$((SECONDS + 5))
	while [ $SECONDS -lt $end ]; do
		scrub
		[ $code = 0 ] || fail "under load: ended with $code: $(cat "$work/scrub.json" "$work/scrub.err")"
	done
	kill "$writer"
	wait "$writer" 2>/dev/null || true
	rm -f "$mnt"/busy-*
	sync -f "$mnt"
}

slow_one() {
	local begin took
	begin=$(now_ms)
	scrub --rate 10
	took=$(($(now_ms) - begin))
	[ $code = 0 ] && [ $took -ge 1800 ] || fail "20 MiB at 10 MB/s took $took ms"
}

# While it is mounted.
damaged_one() {
	flip_text "a-marker-$$-in-the-file"
	scrub
	[ $code = 4 ] && [ "$(found found)" = 1 ] || fail "damaged data: ended with $code: $(cat "$work/scrub.json" "$work/scrub.err")"
	[ "$(found offset)" = $((5000000 / 4096 * 4096)) ] || fail "the offset is $(found offset)"
	[ "$(found inode)" = "$(stat -c %i "$mnt/folder/file")" ] || fail "the inode is $(found inode)"
	grep -q 'folder\\\{0,1\}/file' "$work/scrub.json" || fail "no path: $(cat "$work/scrub.json")"
	code=0
	"$tools/nvofsctl" scrub "$mnt" >"$work/scrub.log" || code=$?
	[ $code = 4 ] && grep -q 'folder/file.*offset 4997120' "$work/scrub.log" || fail "for people: $(cat "$work/scrub.log")"
}

# Small files lie in the tree itself, which is all on the device after a mount.
damaged_node() {
	remount_fs
	ls -l "$mnt/folder" >/dev/null
	flip_text "small 300" # the one that busy_one never changes
	scrub
	[ $code = 4 ] && [ "$(found found)" -ge 1 ] || fail "a damaged node: ended with $code: $(cat "$work/scrub.json" "$work/scrub.err")"
	grep -q '"node"' "$work/scrub.json" || fail "no node is named: $(cat "$work/scrub.json")"
}

target_start "file:$disk:256M"
format
mount_fs
fill
remount_fs
clean_one
slow_one
busy_one
damaged_one
damaged_node
code=0
"$tools/nvofsctl" scrub /tmp >/dev/null 2>"$work/scrub.err" || code=$?
[ $code = 2 ] || fail "on something else: ended with $code"
code=0
"$tools/nvofsctl" scrub "$mnt" --rate x >/dev/null 2>"$work/scrub.err" || code=$?
[ $code = 1 ] || fail "with a wrong rate: ended with $code"
unmount_fs
note ok
