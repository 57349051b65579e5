# shellcheck shell=bash disable=SC2015,SC2034
# SPDX-License-Identifier: Apache-2.0
# Shared by the tests on a real mount; sourced first. A test has a folder of its own ($work), a target of its own on a free
# port, and a mount of its own ($mnt), so that tests run beside each other in any order. Whatever happens, the trap
# ends what was started here, by process id. Exit code 0 passed, 77 skipped (with a reason), anything else failed.
#
#   NVOFS_BUILD   the build folder (programs in tools/, helpers in tests/tools/)
#   NVOFS_SLACK   all limits in time are multiplied by it (sanitizers are slow); and by NVOFS_PATIENCE (machines are)
set -eu -o pipefail

source_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(realpath -m "${NVOFS_BUILD:-$source_root/build/release}")
tools=$build/tools
[ -x "$tools/nvofs" ] || { echo "${0##*/}: no build in $build (NVOFS_BUILD names another)" >&2; exit 1; }
helpers=$build/tests/tools
slack=$((${NVOFS_SLACK:-1} * ${NVOFS_PATIENCE:-1}))
nqn=nqn.2026-11.io.nvofs:test
name=$(basename "$0" .sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/nvofs-$name.XXXXXX")
mnt=$work/mnt
disk=$work/disk
children=() # processes that were started here
target_pid='' target_port='' daemon_pid='' ns=''
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
# In a User Mode Linux guest a process's page can be a mapping of the machine outside, which grants a process 65530 of them
# (vm.max_map_count). With the default cache, 65536 pages, a daemon there was seen to fault at one load for ever (5.5 million
# minor faults), another to die of SIGSEGV; that this limit is the cause is likely, the mappings were not counted.
mount_options=()
! grep -qs 'User Mode Linux' /proc/cpuinfo || mount_options=(-o cache=128M)
mkdir "$mnt"

note() { printf '%s: %s\n' "$name" "$*"; }
fail() { note "FAILED: $*" >&2; exit 1; }
skip() { note "skipped: $*"; exit 77; }
need() { # PROGRAM...
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || skip "no $program here"
	done
}
need_root() { [ "$(id -u)" = 0 ] || skip "only root can do this"; }

gone() { # PID: it has ended (a zombie has)
	! kill -0 "$1" 2>/dev/null || grep -qs '^State:.*Z' "/proc/$1/status"
}

# Polls until the command succeeds, at most SECONDS (times slack).
wait_for() { # SECONDS COMMAND...
	local end=$((SECONDS + $1 * slack + 1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

# Exactly the mount table's line: stat would hang on a mount whose daemon does.
mounted() { grep -q " $mnt " /proc/self/mountinfo; }

#--- cleaning up

dump_logs() {
	local log
	for log in "$work"/*.log "$work"/*.err; do
		[ -s "$log" ] || continue
		printf -- '--- %s\n' "${log##*/}"
		tail -n 40 "$log"
	done >&2
}

cleanup() {
	local status=$? pid dir
	trap - EXIT
	set +e
	[ $status = 0 ] || [ $status = 77 ] || dump_logs
	for pid in $daemon_pid "${children[@]}"; do
		disown "$pid" 2>/dev/null # bash need not tell that it was killed
		kill -9 "$pid" 2>/dev/null
	done
	while read -r dir; do
		fusermount3 -u -z "$dir" 2>/dev/null || umount -l "$dir" 2>/dev/null
	done < <(awk -v w="$work" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo)
	wait 2>/dev/null
	rm -rf --one-file-system "$work"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

for program in nvofs nvofs-target mkfs.nvofs fsck.nvofs nvofsctl; do
	[ -x "$tools/$program" ] || fail "$tools/$program is not built"
done
[ -c /dev/fuse ] && [ -w /dev/fuse ] || skip "no /dev/fuse here"

#--- the target

listening() { grep -q '^listening on' "$work/target.log"; }
target_up_or_dead() { listening || gone "$target_pid"; }

# Starts a target (again on the same port), waits until it is ready, sets ns.
target_start() { # [OPTION]... BACKING...
	: >"$work/target.log"
	"$tools/nvofs-target" --listen "127.0.0.1:${target_port:-0}" --nqn "$nqn" "$@" >"$work/target.log" 2>>"$work/target.err" &
	target_pid=$!
	children+=("$target_pid")
	wait_for 20 target_up_or_dead || fail "the target is not ready"
	listening || fail "the target ended: $(tail -n 1 "$work/target.err")"
	target_port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/target.log")
	ns=nvme+tcp://127.0.0.1:$target_port/$nqn
}

target_stop() {
	kill "$target_pid"
	wait_for 20 gone "$target_pid" || fail "the target does not end"
	wait "$target_pid" || fail "the target ended with $?"
}

target_kill() {
	kill -9 "$target_pid"
	wait_for 5 gone "$target_pid" || fail "the target does not die"
	wait "$target_pid" 2>/dev/null || true
}

#--- the file system

format() { "$tools/mkfs.nvofs" -q "$@" "$ns" || fail "mkfs.nvofs ended with $?"; } # [OPTION]...
fsck_clean() { "$tools/fsck.nvofs" -n "$ns" >"$work/fsck.log" 2>&1 || fail "fsck.nvofs -n ended with $?"; }

mounted_or_dead() { mounted || gone "$daemon_pid"; }

# Mounts with the daemon as our child, its messages in daemon.log.
mount_fs() { # [OPTION]...
	"$tools/nvofs" "$ns" "$mnt" -f ${mount_options[@]+"${mount_options[@]}"} "$@" >>"$work/daemon.log" 2>&1 &
	daemon_pid=$!
	children+=("$daemon_pid")
	wait_for 30 mounted_or_dead || fail "not mounted in time"
	mounted || fail "nvofs ended: $(tail -n 1 "$work/daemon.log")"
}

# Mounts as a user does: the command returns, the daemon is in the background.
mount_background() { # [OPTION]...
	timeout $((30 * slack)) "$tools/nvofs" "$ns" "$mnt" ${mount_options[@]+"${mount_options[@]}"} "$@" >>"$work/daemon.log" 2>&1 ||
		fail "nvofs ended with $?"
	mounted || fail "nvofs returned and nothing is mounted"
	daemon_pid=$(status pid)
}

unmounted() { ! mounted || fusermount3 -u "$mnt" 2>>"$work/unmount.err"; }

unmount_fs() {
	local code=0
	wait_for 20 unmounted || fail "cannot unmount: $(tail -n 1 "$work/unmount.err")"
	wait_for 60 gone "$daemon_pid" || fail "the daemon does not end"
	wait "$daemon_pid" 2>/dev/null || code=$?
	[ $code = 0 ] || [ $code = 127 ] || fail "the daemon ended with $code" # 127: not our child
	daemon_pid=
}

remount_fs() { unmount_fs; mount_fs "$@"; }

# Ends the daemon without a word and takes the dead mount away.
kill_daemon() {
	kill -9 "$daemon_pid"
	wait_for 5 gone "$daemon_pid" || fail "the daemon does not die"
	wait "$daemon_pid" 2>/dev/null || true
	fusermount3 -u -z "$mnt" 2>/dev/null || umount -l "$mnt" || fail "cannot take the dead mount away"
	daemon_pid=
}

# One value of `nvofsctl status --json`, or of JSON on standard input.
json_value() { tr ',{}[]' '\n\n\n\n\n' | sed -n 's/^[[:space:]]*"'"$1"'"[[:space:]]*:[[:space:]]*"\{0,1\}\([^"]*[^" ]\)"\{0,1\}[[:space:]]*$/\1/p' | head -n 1; }
status() { "$tools/nvofsctl" status --json "$mnt" | json_value "$1"; } # KEY

#--- checks

now_ms() { date +%s%3N; }

same() { # FILE FILE: both readable and equal
	cmp "$1" "$2" || fail "$2 differs from $1"
}
# diff calls two equal fifos or devices different: special files have these names in the tests, and are left to the listing.
same_tree() { # FOLDER FOLDER
	diff -r --no-dereference -x fifo -x device "$1" "$2" >"$work/diff.log" 2>&1 ||
		fail "$2 differs from $1: $(head -n 3 "$work/diff.log")"
}

# One line a file with all that has to survive; times in nanoseconds. A directory's size is the file system's own matter.
# Links are counted inside the folder: a file of this machine may have more names elsewhere. (Directories do not count: on an
# overlay their inode numbers may be those of files.)
listing() { # FOLDER
	(cd "$1" && find . -printf '%p|%y|%m|%U|%G|%i|%T@|%l|%s\n' | awk -F'|' -v OFS='|' '
		{ line[NR] = $0 }
		$2 != "d" { names[$6]++ }
		END {
			for (i = 1; i <= NR; i++) {
				$0 = line[i]
				$6 = $2 == "d" ? "" : names[$6]
				if ($2 == "d") $9 = ""
				print
			}
		}' | sort)
}
same_listing() { # FOLDER FOLDER
	listing "$1" >"$work/listing.a"
	listing "$2" >"$work/listing.b"
	cmp -s "$work/listing.a" "$work/listing.b" ||
		fail "names, modes, owners, times or links differ: $(diff "$work/listing.a" "$work/listing.b" | head -n 4)"
}

# The command ends with that code and one line, which matches the pattern (both streams together).
expect() { # CODE PATTERN COMMAND...
	local want=$1 pattern=$2 code=0 lines
	shift 2
	timeout $((60 * slack)) "$@" >"$work/expect.log" 2>&1 </dev/null || code=$?
	[ "$code" = "$want" ] || fail "'${*##*/}' ended with $code instead of $want: $(cat "$work/expect.log")"
	lines=$(wc -l <"$work/expect.log")
	[ "$lines" = 1 ] || fail "'${*##*/}' printed $lines lines instead of one: $(cat "$work/expect.log")"
	grep -Eqi -- "$pattern" "$work/expect.log" || fail "'${*##*/}' says '$(cat "$work/expect.log")', not /$pattern/"
}

# A tree of real files, at most MB megabytes of it, at $work/tree.
make_tree() { # MB
	local from have=0
	mkdir "$work/tree"
	for from in "$source_root/tests" /usr/include/linux /usr/include /usr/share/doc /usr/share /usr/lib; do
		[ -d "$from" ] && [ "$have" -lt "$1" ] || continue
		copy_some "$from" "$work/tree/$(basename "$from")" $(($1 - have))
		have=$(du -sm --apparent-size "$work/tree" | cut -f 1)
	done
}

# Files and links of a folder in the order find gives them, until MB are full.
copy_some() { # FROM TO MB
	mkdir "$2"
	(cd "$1" && find . \( -type f -size -16M -readable -o -type l \) -printf '%s %p\n' 2>/dev/null |
		awk -v max=$(($3 << 20)) '(used += $1 + 2048) <= max { sub(/^[0-9]+ /, ""); print }' |
		tar --no-recursion -cf - --verbatim-files-from -T -) | tar -C "$2" -xpf -
}
