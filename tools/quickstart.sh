#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# quickstart.sh [--once | --stop] [DIRECTORY]
#
# nvofs on this machine in one command: installs what is missing, builds, starts a target on loopback, formats its
# namespace, mounts it, copies a real tree in, mounts it anew, reads everything back, compares, and leaves the mount.
#   DIRECTORY  the tree to copy (default: some of /usr, about 100 MB)
#   --once     takes everything down at the end; exit code 0 only when all compared equal
#   --stop     takes down what an earlier run left
# Run again while it is up, it uses the mount that is there. Everything it makes lies in one folder below
# ${XDG_RUNTIME_DIR:-/tmp} (the namespace's file perhaps below /var/tmp, where there is more room) and in build/release.
set -eu
export LC_ALL=C

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
build=$top/build/release
base=${XDG_RUNTIME_DIR:-/tmp}/nvofs-quickstart.$(id -u)
nqn=nqn.2026-11.io.nvofs:quickstart
mode=stay tree='' finished='' state=''

say() { printf '  %-10s %s\n' "$1" "$2"; }
die() { printf 'quickstart.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '3,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }

read_arguments() {
	local argument
	for argument in "$@"; do
		case $argument in
		--once) mode=once ;;
		--stop) mode=stop ;;
		-h | --help) usage ;;
		-*) usage ;;
		*) [ -z "$tree" ] || usage; tree=$argument ;;
		esac
	done
	[ -z "$tree" ] || [ -d "$tree" ] || die "$tree is not a directory"
	[ -z "$tree" ] || tree=$(readlink -f "$tree")
}

#--- times and sizes for people

now_ms() { date +%s%3N; }
seconds() { awk -v ms="$1" 'BEGIN { printf "%.1f s", ms / 1000 }'; }
speed() { awk -v kb="$1" -v ms="$2" 'BEGIN { printf "%.0f MB/s", kb * 1.024 / (ms < 1 ? 1 : ms) }'; }
megabytes() { awk -v kb="$1" 'BEGIN { printf "%.0f MB", kb * 1.024 / 1000 }'; }

#--- processes and mounts that are ours

wait_for() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# The process in a file runs, and is (still) the program it should be.
runs() { # FILE PROGRAM
	local pid
	pid=$(cat "$state/$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(basename "$(readlink "/proc/$pid/exe" 2>/dev/null)" | cut -d ' ' -f 1)" = "$2" ]
}
ended() { ! runs "$@"; }

mounted() { grep -q " $state/mnt " /proc/self/mountinfo; }
unmounted() { ! mounted || fusermount3 -u "$state/mnt" 2>/dev/null; }

end_process() { # FILE PROGRAM SECONDS
	runs "$1" "$2" || return 0
	[ "$2" = nvofs ] || kill "$(cat "$state/$1")"
	wait_for "$3" ended "$1" "$2" || { kill -9 "$(cat "$state/$1")" && wait_for 5 ended "$1" "$2"; }
}

stop() {
	[ -n "$state" ] && [ -d "$state" ] || return 0
	wait_for 10 unmounted || fusermount3 -u -z "$state/mnt" || true
	end_process daemon.pid nvofs 30
	end_process target.pid nvofs-target 10
	if mounted; then
		fusermount3 -u -z "$state/mnt" || { echo "quickstart.sh: $state/mnt cannot be unmounted" >&2; return 1; }
	fi
	[ ! -s "$state/backing" ] || rm -f "$(cat "$state/backing")"
	rm -rf --one-file-system "$state"
}

at_end() {
	local code=$?
	trap - EXIT INT TERM HUP
	if [ -z "$finished" ]; then
		[ ! -s "$state/target.err" ] || tail -n 3 "$state/target.err" >&2
		[ ! -s "$state/nvofs.err" ] || tail -n 3 "$state/nvofs.err" >&2
		stop || true
		[ $code != 0 ] || code=1
	fi
	exit $code
}

#--- the steps

build_all() {
	local begin
	begin=$(now_ms)
	"$top/tools/deps.sh" build || die "the packages above are needed"
	mkdir -p "$build"
	exec 8>"$build.lock"
	flock 8
	if [ ! -e "$build/build.ninja" ]; then
		meson setup --buildtype=release "$build" "$top" >"$build.log" 2>&1 || { tail -n 20 "$build.log" >&2; die "meson setup failed"; }
	fi
	ninja -C "$build" >"$build.log" 2>&1 || { tail -n 40 "$build.log" >&2; die "it does not build"; }
	exec 8>&-
	PATH=$build/tools:$PATH
	say build "$build, $(seconds $(($(now_ms) - begin)))"
}

check_fuse() {
	[ -c /dev/fuse ] || die "no /dev/fuse here (in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
	[ -w /dev/fuse ] || die "/dev/fuse may not be used by $(id -un)"
}

prepare_state() {
	if [ $mode = once ]; then
		state=$(mktemp -d "$base.once.XXXXXX")
	else
		state=$base
		if [ -L "$state" ] || { [ -d "$state" ] && [ ! -O "$state" ]; }; then
			die "$state belongs to somebody else"
		fi
		(umask 077 && mkdir -p "$state")
	fi
	mkdir -p "$state/mnt" 2>/dev/null || true # a dead mount is in the way: start_all sees to it
}

# The file of the namespace: sparse, where there is room for what is copied.
backing_file() {
	local folder
	for folder in "$state" /var/tmp "${TMPDIR:-/tmp}"; do
		[ -w "$folder" ] || continue
		if [ "$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')" -gt $((need_kb * 3 / 2 + 100000)) ]; then
			[ "$folder" = "$state" ] && echo "$state/namespace" || mktemp "$folder/nvofs-quickstart.$(id -u).XXXXXX"
			return
		fi
	done
	die "no room for $(megabytes "$need_kb") below $base and /var/tmp"
}

ready_or_dead() { grep -q '^listening on' "$state/target.out" || ended target.pid nvofs-target; }

start_target() {
	local file
	file=$(backing_file)
	rm -f "$file"
	echo "$file" >"$state/backing"
	: >"$state/target.out"
	setsid nvofs-target --listen 127.0.0.1:0 --nqn $nqn "file:$file:16G" </dev/null >"$state/target.out" 2>"$state/target.err" &
	echo $! >"$state/target.pid"
	sleep 0.1
	wait_for 20 ready_or_dead && grep -q '^listening on' "$state/target.out" || die "the target does not start"
	echo "nvme+tcp://$(sed -n 's/^listening on //p' "$state/target.out")/$nqn" >"$state/name"
	say target "$(cat "$state/name"), a sparse file of 16 GiB"
}

mount_it() {
	nvofs "$(cat "$state/name")" "$state/mnt" 2>"$state/nvofs.err" || die "nvofs does not mount"
	mounted || die "nvofs returned and nothing is mounted"
	nvofsctl status --json "$state/mnt" | tr ',{}' '\n\n\n' | sed -n 's/^[[:space:]]*"pid"[[:space:]]*:[[:space:]]*\([0-9]*\).*/\1/p' |
		head -n 1 >"$state/daemon.pid"
	[ -s "$state/daemon.pid" ] || die "nvofsctl status does not know the daemon"
}

unmount_it() {
	wait_for 20 unmounted || die "cannot unmount $state/mnt"
	wait_for 60 ended daemon.pid nvofs || die "the daemon does not end"
}

start_all() {
	local begin
	if mounted && runs daemon.pid nvofs && runs target.pid nvofs-target; then
		say mount "$state/mnt is there from an earlier run"
		return
	fi
	stop
	(umask 077 && mkdir -p "$state/mnt")
	start_target
	begin=$(now_ms)
	mkfs.nvofs -q "$(cat "$state/name")" || die "mkfs.nvofs failed"
	say format "mkfs.nvofs, $(seconds $(($(now_ms) - begin)))"
	mount_it
	say mount "$state/mnt"
}

# Without DIRECTORY: folders of /usr that every machine has, until it is about 100 MB.
choose_trees() {
	local folder kb total=0
	trees=()
	if [ -n "$tree" ]; then
		trees=("$tree")
		return
	fi
	for folder in /usr/include /usr/share/doc /usr/lib/python3 /usr/share/perl /usr/share/locale /usr/share/zoneinfo /usr/lib/gcc \
		/usr/bin; do
		[ -d "$folder" ] && [ $total -lt 100000 ] || continue
		kb=$(du -sk "$folder" 2>/dev/null | cut -f 1)
		[ $((total + kb)) -le 220000 ] || continue
		trees+=("$folder")
		total=$((total + kb))
	done
	[ ${#trees[@]} -gt 0 ] || trees=("$top/base" "$top/tests")
}

copy_in() {
	local begin folder
	begin=$(now_ms)
	for folder in "${trees[@]}"; do
		rm -rf "${state:?}/mnt/$(basename "$folder")"
		cp -a "$folder" "$state/mnt/" || die "copying $folder failed"
	done
	sync -f "$state/mnt"
	begin=$(($(now_ms) - begin))
	say write "$(find "${trees[@]}" | wc -l) files and folders, $(megabytes "$need_kb") of ${trees[*]}: $(seconds $begin), $(speed "$need_kb" $begin)"
}

read_back() {
	local begin folder
	unmount_it
	mount_it
	begin=$(now_ms)
	for folder in "${trees[@]}"; do
		find "$state/mnt/$(basename "$folder")" -type f -exec cat {} + >/dev/null || die "reading back failed"
	done
	begin=$(($(now_ms) - begin))
	say read "back through a fresh mount: $(seconds $begin), $(speed "$need_kb" $begin)"
	for folder in "${trees[@]}"; do
		diff -r --no-dereference "$folder" "$state/mnt/$(basename "$folder")" >"$state/diff" 2>&1 ||
			{ head -n 5 "$state/diff" >&2; die "what came back is not what was written"; }
	done
	say compare "every byte is equal (diff -r)"
}

read_arguments "$@"
if [ $mode = stop ]; then
	state=$base
	[ -d "$state" ] || { echo "nothing is running"; exit 0; }
	stop || exit 1
	echo "stopped, and taken away what was there"
	exit 0
fi
trap at_end EXIT
trap 'exit 130' INT TERM HUP
echo "nvofs quickstart"
check_fuse
build_all
prepare_state
choose_trees
need_kb=$(du -skc "${trees[@]}" 2>/dev/null | tail -n 1 | cut -f 1)
start_all
copy_in
read_back
if [ $mode = once ]; then
	unmount_it
	stop || die "could not clean up"
	say finish "unmounted, stopped, nothing left behind"
else
	printf '\nLook around in  %s\nStatus:         %s\nStop it with:   %s\n' "$state/mnt" "$build/tools/nvofsctl status $state/mnt" \
		"$top/tools/quickstart.sh --stop"
fi
finished=1
