#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/live/loop.sh [--minutes N] [--seed S]      (N: 60; S: the time of day, and it is printed)
# Real processes under load on a file-backed target, killed with -9 at random moments: the daemon, the target, both; and
# copies of the backing file at random moments, which is what a dead host leaves. Each time: the checker finds nothing, and
# everything that had been fsync'ed is there and equal. NVOFS_BUILD names the build folder, as for tests/shell.
minutes=60 seed=$(date +%s)
while [ $# -gt 0 ]; do
	case $1 in
	--minutes) minutes=$2 ;;
	--seed) seed=$2 ;;
	*) sed -n '3,6s/^# //p' "$0" >&2; exit 2 ;;
	esac
	shift 2 || exit 2
done
. "$(dirname "$0")/../shell/lib.sh"

RANDOM=$seed
slack=$((slack * 4)) # nothing here measures time, and the load is meant to be high
recorder='' churn=''
declare -A count=([daemon]=0 [target]=0 [both]=0 [copy]=0)

random_ms() { # LOW HIGH
	sleep "$(awk -v r="$RANDOM" -v a="$1" -v b="$2" 'BEGIN { print (a + (b - a) * r / 32767) / 1000 }')"
}

# Files that come, change and go, beside the recorder's, which are fsync'ed one by one.
churn() {
	local i=0
	while mkdir -p "$mnt/churn" 2>/dev/null; do
		i=$(((i + 1) % 40))
		cp -a "$source_root/fs" "$mnt/churn/$i" || return 0
		dd if=/dev/urandom of="$mnt/churn/big-$i" bs=100k count=20 conv=fsync || return 0
		truncate -s 777777 "$mnt/churn/big-$i" || return 0
		mv "$mnt/churn/$i" "$mnt/churn/old-$i" || return 0
		rm -rf "$mnt/churn/old-$(((i + 20) % 40))" "$mnt/churn/big-$(((i + 20) % 40))" || return 0
	done 2>/dev/null
}

load_start() {
	"$helpers/recorder" write "$mnt/records" "$work/acknowledged" 2>>"$work/recorder.log" &
	recorder=$!
	churn &
	churn=$!
	children=("$target_pid" "$daemon_pid" "$recorder" "$churn")
}

# Where its threads are, should it not die.
kill_daemon_hard() {
	local pid=$daemon_pid since=$SECONDS
	kill -9 "$pid"
	if ! wait_for 10 gone "$pid"; then
		grep -H . "/proc/$pid"/task/*/{stat,wchan,stack} >"$work/stuck.log" 2>&1 || true
		fail "round $round (seed $seed): the daemon does not die"
	fi
	[ $((SECONDS - since)) -lt 5 ] || note "round $round: the daemon took $((SECONDS - since)) s to die"
	wait "$pid" 2>/dev/null || true
	fusermount3 -u -z "$mnt" 2>/dev/null || umount -l "$mnt" || fail "cannot take the dead mount away"
	daemon_pid=
}

load_gone() { gone "$recorder" && gone "$churn"; }

# A process that is killed while the target is away ends when that is back.
load_stop() {
	kill -9 "$recorder" "$churn" 2>/dev/null || true
	wait_for 60 load_gone || fail "the load does not end"
	wait "$recorder" "$churn" 2>/dev/null || true
}

acknowledged() { stat -c %s "$work/acknowledged"; }
goes_on() { [ "$(acknowledged)" -gt "$1" ]; } # BYTES

all_there() { # WHAT [MOUNTPOINT] [LOG]
	timeout $((120 * slack)) "$helpers/recorder" check "${2:-$mnt}/records" "${3:-$work/acknowledged}" ||
		fail "round $round ($1, seed $seed): acknowledged data is lost"
}

checker_content() { # WHAT NAMESPACE
	timeout $((120 * slack)) "$tools/fsck.nvofs" -n "$2" >"$work/fsck.log" 2>&1 ||
		fail "round $round ($1, seed $seed): fsck.nvofs -n ended with $?"
}

mount_and_check() { # WHAT
	checker_content "$1" "$ns"
	mount_fs
	all_there "$1"
}

kill_one_daemon() {
	kill_daemon_hard
	load_stop
	mount_and_check daemon
	load_start
}

kill_both() {
	if [ $((RANDOM % 2)) = 0 ]; then
		kill -9 "$target_pid" || true
		random_ms 0 50
		kill_daemon_hard
	else
		kill_daemon_hard
		random_ms 0 50
		kill -9 "$target_pid" || true
	fi
	wait "$target_pid" 2>/dev/null || true
	load_stop
	target_start "file:$disk:4G"
	mount_and_check both
	load_start
}

# The daemon goes on as if nothing had been.
kill_one_target() {
	local before
	target_kill
	random_ms 0 3000
	target_start "file:$disk:4G"
	before=$(acknowledged)
	wait_for 60 goes_on "$before" || fail "round $round (target, seed $seed): nothing was fsync'ed any more"
	load_stop
	all_there target
	load_start
}

# What is acknowledged was executed before the target stopped, so it is in the copy.
copy_backing_file() {
	local pid copy_ns
	kill -STOP "$target_pid"
	cp --sparse=always "$disk" "$work/copy"
	cp "$work/acknowledged" "$work/copy-acknowledged"
	kill -CONT "$target_pid"
	: >"$work/copy-target.log"
	"$tools/nvofs-target" --listen 127.0.0.1:0 --nqn "$nqn" "file:$work/copy:4G" >"$work/copy-target.log" 2>>"$work/target.err" &
	pid=$!
	children+=("$pid")
	wait_for 20 grep -q '^listening on' "$work/copy-target.log" || fail "no target for the copy"
	copy_ns=nvme+tcp://127.0.0.1:$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/copy-target.log")/$nqn
	checker_content copy "$copy_ns"
	timeout $((30 * slack)) "$tools/nvofs" "$copy_ns" "$work/copy-mnt" -o ro >>"$work/daemon.log" 2>&1 ||
		fail "round $round (copy, seed $seed): cannot be mounted"
	all_there copy "$work/copy-mnt" "$work/copy-acknowledged"
	wait_for 20 fusermount3 -u "$work/copy-mnt" || fail "cannot unmount the copy"
	kill -9 "$pid" || true
	wait "$pid" 2>/dev/null || true
	rm -f "$work/copy"
}

note "seed $seed, $minutes minutes"
target_start "file:$disk:4G"
format
mount_fs
mkdir "$mnt/records" "$work/copy-mnt"
load_start
begin=$SECONDS round=0
while [ $((SECONDS - begin)) -lt $((minutes * 60)) ]; do
	round=$((round + 1))
	random_ms 100 2500
	case $((RANDOM % 4)) in
	0) what=daemon; kill_one_daemon ;;
	1) what=both; kill_both ;;
	2) what=target; kill_one_target ;;
	3) what=copy; copy_backing_file ;;
	esac
	count[$what]=$((count[$what] + 1))
done
load_stop
all_there end
unmount_fs
checker_content end "$ns"
note "$round cuts in $((SECONDS - begin)) s, seed $seed: ${count[daemon]} daemon, ${count[target]} target, ${count[both]} both," \
	"${count[copy]} copies; $(acknowledged) bytes of acknowledgements: ok"
