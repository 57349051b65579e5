#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# accept.sh [--short] [--target nvofs|linux|rxe|siw]...
#
# The acceptance list, on nvofs-target here and on the Linux target in the guest (tests/guest; over TCP, and over RDMA with
# a soft device: rxe is RoCE, siw is iWARP): cp -a of real files from
# /usr, unmount, target restarted, mounted again: everything equal, with owners, modes, times, links and attributes; the
# checker finds nothing; git clone and fsck, a build of this project inside the mount, SQLite with its write-ahead log,
# tar and rsync -aHX --checksum.
#   --short         about 100 MB instead of at least 30,000 files and 1 GB; in the guest without the build
#   --target        only that one
# Exit code 0 all passed, 77 skipped (only the Linux target, when there is no guest or no such device), else failed.
set -eu
self=$(readlink -f "$0")
folder=$(dirname "$self")
size=full targets='' inside='' packed=''

while [ $# -gt 0 ]; do
	case $1 in
	--short) size=short ;;
	--full) size=full ;; # what it is without options
	--inside) inside=1 ;;
	--packed)
		packed=${2:-}
		shift
		;;
	--target)
		targets="$targets ${2:-}"
		shift
		;;
	*) sed -n '3,13s/^# \{0,1\}//p' "$self" >&2; exit 2 ;;
	esac
	shift
done

# Folders of /usr, whole ones, until there is enough. Huge ones would make the namespace too small; the short form in the
# guest, which takes 30 ms for a file, has few and large ones.
sources_of_tree() { # [guest]
	local want_files=30500 want_kb=1050000 most_files=1000000 most_kb=400000 least_average=0 files=0 kb=0
	local entry some_files some_kb
	[ $size = full ] || { want_files=1500 want_kb=80000 most_files=900 most_kb=50000; }
	[ "$size ${1:-}" != 'short guest' ] || { want_files=200 want_kb=90000 most_files=150 least_average=50; }
	for entry in /usr/lib/git-core /usr/include /usr/share/* /usr/lib/* /usr/lib/*-linux-gnu*/* /usr/bin /usr/sbin /usr/lib/gcc/*/* \
		/usr/libexec/*; do
		[ -d "$entry" ] && [ ! -L "$entry" ] || continue
		some_files=$(find "$entry" -type f | wc -l)
		[ "$some_files" -gt 0 ] && [ "$some_files" -le $most_files ] || continue
		some_kb=$(du -sk --apparent-size "$entry" 2>/dev/null | cut -f 1)
		[ "$some_kb" -le $most_kb ] && [ $((some_kb / some_files)) -ge $least_average ] || continue
		printf '%s\n' "$entry"
		files=$((files + some_files))
		kb=$((kb + some_kb))
		[ $files -lt $want_files ] || [ $kb -lt $want_kb ] || return 0
	done
	echo "accept.sh: only $files files and $kb KiB below /usr" >&2
}

# Runs this script in the guest, with memory for the namespace and for what the tests keep beside it. The real files go
# there as one archive: the guest sees this machine's files through an open descriptor for each, and slowly.
in_guest() ( # TARGET
	memory=4096 space=640 limit=550
	[ $size = short ] || { memory=10000 space=4096 limit=3600; }
	pack=$(mktemp -d "${TMPDIR:-/var/tmp}/nvofs-accept-XXXXXX")
	trap 'rm -rf "$pack"' EXIT
	sources_of_tree guest >"$pack/list"
	sed 's|^/||' "$pack/list" | tar --format=posix -C / -T - -cf "$pack/tree.tar"
	"$folder/guest/guest" -p -c 1 -m $memory -s $space -t $limit -- \
		"NVOFS_BUILD='$(realpath -m "${NVOFS_BUILD:-$folder/../build/release}")' NVOFS_SLACK=4 bash '$self' --inside --packed '$pack' --target $1 --$size"
)

# Each target in a process of its own; skipped only when nothing else ran either.
if [ -z "$inside" ]; then
	result=77
	for target in ${targets:-nvofs linux}; do
		code=0
		case $target in
		nvofs) bash "$self" --inside --target nvofs "--$size" || code=$? ;;
		linux | rxe | siw) in_guest "$target" || code=$? ;;
		*) echo "accept.sh: no target '$target'" >&2; exit 2 ;;
		esac
		[ $code = 0 ] || [ $code = 77 ] || exit $code
		[ $code = 77 ] || result=0
	done
	exit $result
fi

target=${targets# }
. "$folder/shell/lib.sh"
name="accept, $target target"

#--- the two targets

start() {
	if [ "$target" = linux ]; then
		ns=nvme+tcp://10.9.0.1:4421/nqn.2026-11.io.nvofs:guest
	elif [ "$target" != nvofs ]; then
		"$folder/guest/target-setup" rdma "$target" || skip "the guest's kernel has no $target"
		ns=nvme+rdma://10.9.0.1:4420/nqn.2026-11.io.nvofs:guest
	elif [ $size = full ]; then
		target_start "file:$disk:8G"
	else
		target_start "file:$disk:1G"
	fi
}

restart() {
	if [ "$target" != nvofs ]; then
		"$folder/guest/target-setup" restart
	else
		target_stop
		target_start "file:$disk"
	fi
}

#--- the tree

# The folders to copy, a line each, in $work/sources; no two of one name.
list_sources() {
	if [ -n "$packed" ]; then
		mkdir "$work/from"
		tar -xpf "$packed/tree.tar" -C "$work/from"
		sed "s|^|$work/from|" "$packed/list"
	else
		sources_of_tree
	fi >"$work/found"
	echo "$work/special" >>"$work/found"
	awk -F/ '!seen[$NF]++' "$work/found" >"$work/sources"
}

# What files of /usr do not have.
decorate() { # FOLDER
	mkdir "$1"
	echo linked >"$1/one"
	ln "$1/one" "$1/two"
	ln -s one "$1/symbolic"
	truncate -s 100M "$1/sparse"
	echo end >>"$1/sparse"
	mkfifo "$1/fifo"
	touch -d '1999-12-31 23:59:59.123456789' "$1/one"
	setfattr -n user.test -v 'a value' "$1/one" 2>/dev/null || note "no extended attributes on ${1%/*}"
	[ "$(id -u)" = 0 ] || return 0
	chown 1000:1001 "$1/sparse"
	mknod "$1/device" c 1 5
}

attributes() { (cd "$1" && getfattr -R -h -d -m - . 2>/dev/null | sed '/^$/d' | sort); }

compare_all() { # after a new mount
	local entry copy
	while read -r entry; do
		copy=$mnt/tree/$(basename "$entry")
		same_tree "$entry" "$copy"
		same_listing "$entry" "$copy"
		[ "$(attributes "$entry")" = "$(attributes "$copy")" ] || fail "extended attributes differ in $entry"
	done <"$work/sources"
}

copy_tree() {
	local begin entry
	decorate "$work/special"
	list_sources
	mkdir "$mnt/tree"
	begin=$(now_ms)
	while read -r entry; do
		cp -a "$entry" "$mnt/tree/"
	done <"$work/sources"
	sync -f "$mnt"
	begin=$(($(now_ms) - begin))
	note "copied $(find "$mnt/tree" -type f | wc -l) files, $(du -sm --apparent-size "$mnt/tree" | cut -f 1) MB in $begin ms"
}

check_tree() {
	local begin
	copy_tree
	unmount_fs
	restart
	fsck_clean
	mount_fs
	begin=$(now_ms)
	compare_all
	note "read back and compared in $(($(now_ms) - begin)) ms"
}

#--- the programs

check_git() {
	local origin=$work/origin
	export HOME=$work GIT_CONFIG_NOSYSTEM=1
	git config --global safe.directory '*'
	git config --global user.name test
	git config --global user.email test@example.org
	if git -C "$source_root" rev-parse HEAD >/dev/null 2>&1; then
		origin=$source_root
	else
		git init -q "$origin"
		cp -a "$source_root/tests" "$source_root/base" "$origin/"
		git -C "$origin" add -A
		git -C "$origin" commit -q -m all
	fi
	git clone -q --no-hardlinks "$origin" "$mnt/clone" || fail "git clone"
	git -C "$mnt/clone" fsck --full --strict --no-progress >"$work/git.log" 2>&1 || fail "git fsck: $(cat "$work/git.log")"
	[ -z "$(git -C "$mnt/clone" status --porcelain)" ] || fail "a fresh clone is not clean"
	note "git: ok"
}

# The project builds inside the mount, and what came out runs.
check_build() {
	[ "$target" = nvofs ] || [ $size = full ] || return 0
	mkdir "$mnt/source"
	(cd "$source_root" && tar --exclude='./build*' --exclude='./B*' --exclude=./.git -cf - .) | tar -C "$mnt/source" -xf -
	meson setup -Dtests=false "$mnt/build" "$mnt/source" >"$work/build.log" 2>&1 && ninja -C "$mnt/build" >>"$work/build.log" 2>&1 ||
		fail "the build inside the mount"
	"$mnt/build/tools/nvofs" --version >/dev/null || fail "what was built inside the mount does not run"
	note "build: ok"
}

check_sqlite() {
	local base=$mnt/base.db
	sqlite3 "$base" 'PRAGMA journal_mode=wal; CREATE TABLE t(i INTEGER PRIMARY KEY, v BLOB);' >/dev/null
	seq 1 3000 | sed '1i BEGIN;
		s/.*/INSERT INTO t VALUES(&, randomblob(& % 1000));/
		0~500a COMMIT; BEGIN;
		$a COMMIT;' | sqlite3 -bail "$base" || fail "sqlite3: writing"
	sqlite3 "$base" 'DELETE FROM t WHERE i % 7 = 0; VACUUM;'
	[ "$(sqlite3 "$base" 'PRAGMA integrity_check; SELECT count(*) FROM t;' | tr '\n' ' ')" = 'ok 2572 ' ] || fail "sqlite3: integrity_check"
	note "sqlite: ok"
}

check_archives() {
	local from=$mnt/tree/special entry
	entry=$(head -n 1 "$work/sources")
	tar --format=posix -C "$(dirname "$entry")" -cf "$mnt/a.tar" "$(basename "$entry")"
	mkdir "$mnt/tar"
	tar -C "$mnt/tar" -xpf "$mnt/a.tar"
	same_tree "$entry" "$mnt/tar/$(basename "$entry")"
	same_listing "$entry" "$mnt/tar/$(basename "$entry")"
	rsync -aHX --checksum "$entry" "$from" "$mnt/rsync/" || fail "rsync"
	[ -z "$(rsync -aHX --checksum --delete -i "$entry" "$from" "$mnt/rsync/")" ] || fail "rsync finds something to do again"
	same_tree "$entry" "$mnt/rsync/$(basename "$entry")"
	note "tar and rsync: ok"
}

need git sqlite3 rsync tar getfattr
start
format -f
mount_fs
check_tree
check_git
check_build
check_sqlite
check_archives
unmount_fs
restart
fsck_clean
mount_fs
compare_all
git -C "$mnt/clone" fsck --full --strict --no-progress >"$work/git.log" 2>&1 || fail "git fsck after a new mount"
[ "$(sqlite3 "$mnt/base.db" 'PRAGMA integrity_check')" = ok ] || fail "sqlite3: integrity_check after a new mount"
unmount_fs
fsck_clean
note "all passed"
