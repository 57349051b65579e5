#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# rules.sh [-n] [SEQUENCE...]
#
# Each sequence of test_sequences is there for a rule (fs/DESIGN.md, fs/FORMAT.md). Switches the rules off one after the other, in
# a copy of the source, and shows that the sequence fails without its rule: a test that cannot fail proves nothing. Takes a
# few minutes.   -n  only looks whether every rule is still found in the source (the lint test does that)
set -eu -o pipefail
source_root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
only_look=''
while getopts n opt; do
	case $opt in
	n) only_look=1 ;;
	*) sed -n '3,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
wanted=" $* "

# SEQUENCE, WHAT IS OFF, and then: FILE, a text that is there once, what stands there instead.
rules() {
	rule cache_lost_before_fsync "what was written and not flushed is not written again after a loss" \
		transport/ns_recover.c 'cursors[i] = ns->queues[i].stolen.next;' 'cursors[i] = &ns->queues[i].stolen;'
	rule fsync_of_another "no Flush of the data before the record" \
		fs/journal.c 'if (!ns_info(fs->ns)->vwc || ns_unflushed(fs->ns) == 0) {' 'if (true) {'
	rule freed_in_its_generation "what is freed may be used again at once" \
		fs/alloc.c 'ranges_add(&a->freed, block, n);' ';' \
		fs/alloc.c 'bitmap_clear(g->live, bit, n);' 'bitmap_clear(g->live, bit, n); clear_busy(a, g, bit, n);'
	rule reader_stalls "operations that began before are not waited for" \
		fs/alloc.c 'a->limbo[n].epoch < oldest)' '(a->limbo[n].epoch < oldest || true))'
	rule torn_record "a record's checksum is not looked at" \
		fs/journal.c 'return crc == get32(h->crc) ? 0 : -E_CHECKSUM;' 'return crc == 1 ? -E_CHECKSUM : 0;'
	rule late_writes "a dead mount's commands are not waited for" \
		fs/mount.c 'held, begun + quiesce_ms * NS_PER_MS)' 'held, begun)'
	rule superblock_rots "the generation in the records is not looked at" \
		fs/replay.c 'if (get64(h->committed_gen) > get64(s->fs->super.gen)) {' 'if (false) {'
	rule format_again "mkfs erases nothing first" \
		fs/mount.c 'err = erase(conf->ns, &l);' 'err = false ? erase(conf->ns, &l) : 0;'
	rule second_mount "nobody looks whether the heartbeat moves" \
		fs/super.c 'if (same_beat(&last, &now) ||' 'if (true || same_beat(&last, &now) ||'
	rule taken_over "the heartbeat is not looked at again after a loss" \
		fs/claim.c 'if (heartbeat_valid(&h, fs->uuid) &&' 'if (true || heartbeat_valid(&h, fs->uuid) &&'
	rule stopped_and_continued "a daemon that was stopped goes on with its old association" \
		transport/lane.c 'return until && (' 'return false && until && ('
	rule record_of_another_history "a record need not name the one before it" \
		fs/journal.c 'get32(copy.prev_crc) != prev_crc ||' ''
	rule checkpoint_takes_long "the journal is let go at the cut" \
		fs/checkpoint.c 'journal_cut(fs, &cp->cut);' 'journal_cut(fs, &cp->cut); journal_release(fs, &cp->cut, get64(fs->super.gen));'
	rule newer_version "a newer version's superblock is passed over" \
		fs/super.c 'return c.newer > get64(out->gen) ? -E_NEWER : 0;' 'return 0;'
	rule aborted_checkpoint "a bitmap is written where the last one lies" \
		fs/alloc.c '? 0 : *slot ^ 1;' '? 0 : *slot;'
	rule half_a_rename "a rename is two transactions, each in a record of its own" \
		fs/rename.c 'txn_del(op, &m->from.de.key);' 'txn_del(op, &m->from.de.key); txn_commit(op); if (txn_begin(op, 8, false)) __builtin_trap();' \
		fs/journal.c 'if (j->open && j->open->len + len > RECORD_MAX) {' 'if (j->open && j->open->count) {'
	rule late_duplicate "a place with a command of unknown fate is written at once" \
		transport/lane.c 'if (!atomic_load_explicit(&lane->ns->ndoubts, memory_order_acquire) ||' 'if (true ||'
}

fail() { echo "rules: $*" >&2; exit 1; }

replace() { # FILE TEXT BY
	local text rest
	text=$(cat "$1")
	rest=${text#*"$2"}
	[ "$rest" != "$text" ] || fail "$1 has no '$2' any more"
	[ "${rest#*"$2"}" = "$rest" ] || fail "$1 has '$2' more than once"
	[ "$only_look" ] || printf '%s\n' "${text%%"$2"*}$3$rest" >"$1"
}

build() { ninja -C "$copy/build" tests/sim/test_sequences >"$copy/build.log" 2>&1 || fail "cannot build: $(tail -n 5 "$copy/build.log")"; }
run() { timeout 300 "$copy/build/tests/sim/test_sequences" "$1" >"$copy/run.log" 2>&1; }

rule() {
	local sequence=$1 what=$2 files=()
	shift 2
	[ "$wanted" = '  ' ] || [ "${wanted#* "$sequence" }" != "$wanted" ] || return 0
	tried=$((tried + 1))
	while [ $# -gt 0 ]; do
		[ "$only_look" ] || [ -e "$copy/$1.whole" ] || cp -p "$copy/$1" "$copy/$1.whole"
		files+=("$1")
		replace "$copy/$1" "$2" "$3"
		shift 3
	done
	[ -z "$only_look" ] || return 0
	build
	if run "$sequence"; then
		printf '%-26s NOT NOTICED: %s\n' "$sequence" "$what"
	else
		printf '%-26s fails when %s\n' "$sequence" "$what"
		noticed=$((noticed + 1))
	fi
	for file in "${files[@]}"; do
		[ ! -e "$copy/$file.whole" ] || mv "$copy/$file.whole" "$copy/$file"
		touch "$copy/$file"
	done
}

tried=0 noticed=0 copy=$source_root
if [ "$only_look" ]; then
	rules
	echo "rules: $tried found"
	exit
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -C "$source_root" --exclude=./.git --exclude='./build*' -cf - . | tar -C "$copy" -xf -
meson setup --buildtype=release -Dwerror=false "$copy/build" "$copy" >"$copy/build.log" 2>&1 || fail "$(tail -n 5 "$copy/build.log")"
build
"$copy/build/tests/sim/test_sequences" || fail "fails with all rules on"
rules
echo "rules: $noticed of $tried noticed, $SECONDS s"
[ $tried -gt 0 ] && [ $noticed = $tried ]
