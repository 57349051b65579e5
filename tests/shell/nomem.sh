#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The daemon without memory at its N-th allocation: of the mount, of many operations, of a reconnect, of an unmount. Whoever
# asked gets an errno (or a mount's exit code and a line), nothing ends or hangs, what was synced is there, and it can be
# mounted. nvofs_nomem is nvofs with allocations that can be made to fail (tests/tools/nomem.c has which).
#
# A failure while many allocations fail in a row is tried in every second run.
#
#   NVOFS_NOMEM_STEP=1   every N instead of some; minutes
#   NVOFS_NOMEM_FIRST    the first N (1)
. "$(dirname "$0")/lib.sh"

step=${NVOFS_NOMEM_STEP:-0} first=${NVOFS_NOMEM_FIRST:-1}
control=$work/control
never=1000000000

nomem() { "$helpers/nomem_work" "$@" || fail "nomem_work $1 ended with $?"; }
seen() { nomem get "$control" | cut -d ' ' -f 1; }

start_daemon() {
	NVOFS_NOMEM=$control "$helpers/nvofs_nomem" "$ns" "$mnt" -f -o cache=16M,workers=2 >"$work/daemon.log" 2>&1 &
	daemon_pid=$!
	children+=("$daemon_pid")
	wait_for 30 mounted_or_dead || fail "$1: neither mounted nor ended"
}

# Sets code. What a daemon may end with; more is a crash or a sanitizer's.
reap() { # WHAT
	wait_for 30 gone "$daemon_pid" || fail "$1: the daemon hangs"
	code=0
	wait "$daemon_pid" || code=$?
	daemon_pid=
	case $code in 0 | 2 | 16 | 32) ;; *) fail "$1: the daemon ended with $code" ;; esac
	! mounted || fail "$1: the daemon ended and the mount is there"
}

leave() { # WHAT
	wait_for 20 unmounted || fail "$1: cannot unmount: $(tail -n 1 "$work/unmount.err")"
	reap "$1"
}

# The file system is mounted and used without faults.
sound() { # WHAT
	fsck_clean
	nomem set "$control" 0
	start_daemon "$1"
	mounted || fail "$1: cannot be mounted any more"
	nomem check "$mnt" >"$work/check.log"
	leave "$1"
	[ "$code" = 0 ] || fail "$1: an unmount without faults ended with $code"
}

each_mount() {
	local n count failed=0 runs=0 by
	nomem set "$control" $never
	start_daemon counting
	mounted || fail "no mount"
	count=$(seen)
	leave counting
	by=$step
	[ "$by" != 0 ] || by=$((count / 40 + 1))
	for ((n = first; n <= count; n += by)); do
		nomem set "$control" "$n" $((runs % 2 ? 1000 : 1)) # every second time many in a row
		start_daemon "mount, allocation $n"
		runs=$((runs + 1))
		if mounted; then
			timeout $((20 * slack)) sh -c "echo $n >'$mnt/of-mount' && sync '$mnt/of-mount'" 2>"$work/write.log" ||
				grep -q 'annot allocate\|I/O error' "$work/write.log" || fail "mount, allocation $n: $(cat "$work/write.log")"
			leave "mount, allocation $n"
		else
			reap "mount, allocation $n"
			[ $code != 0 ] || fail "mount, allocation $n: no mount and no error"
			[ -s "$work/daemon.log" ] || fail "mount, allocation $n: no word why not"
			failed=$((failed + 1))
		fi
	done
	note "mount: $runs of $count allocations failed one at a time, $failed times there was no mount"
	sound mount
}

each_operation() {
	local by=$step
	[ "$by" != 0 ] || by=3
	nomem set "$control" 0
	start_daemon operations
	timeout $((400 * slack)) "$helpers/nomem_work" run "$control" "$mnt" "$first" "$by" 1000 >"$work/run.log" 2>"$work/run.err" ||
		fail "operations: $(cat "$work/run.err")"
	note "operations: $(cat "$work/run.log")"
	kill -0 "$daemon_pid" || fail "operations: the daemon is gone"
	kill_daemon
	sound operations
}

# A fault while the connection is made anew costs an attempt; the write waits and is done.
reconnect() { # WHAT N COUNT
	local try="echo '$1' >'$mnt/of-reconnect' && sync '$mnt/of-reconnect'"
	nomem set "$control" "$2" "$3"
	target_stop
	target_start "file:$disk"
	timeout $((60 * slack)) sh -c "$try" 2>"$work/write.log" || timeout $((60 * slack)) sh -c "$try" || fail "$1: no write"
	! gone "$daemon_pid" || fail "$1: the daemon is gone"
}

each_reconnect() {
	local n count runs=0 by=$step
	nomem set "$control" 0
	start_daemon reconnect
	reconnect counting $never 1
	count=$(seen)
	[ "$by" != 0 ] || by=$((count / 6 + 1))
	for ((n = first; n <= count; n += by)); do
		reconnect "reconnect, allocation $n" "$n" $((runs % 2 ? 2 : 1))
		runs=$((runs + 1))
	done
	nomem set "$control" 0
	note "reconnect: $runs of $count allocations"
	leave reconnect
	sound reconnect
}

unmount() { # WHAT N COUNT
	nomem set "$control" 0
	start_daemon "$1"
	nomem run "$control" "$mnt" $never 1 1 >"$work/run.log"
	nomem set "$control" "$2" "$3"
	leave "$1"
}

each_unmount() {
	local n count runs=0
	unmount counting $never 1
	count=$(seen)
	for ((n = first; n <= count; n += step ? step : 3)); do
		unmount "unmount, allocation $n" "$n" $((runs % 2 ? 1 : 1000))
		runs=$((runs + 1))
	done
	note "unmount: $runs of $count allocations"
	sound unmount
}

target_start "file:$disk:512M"
format -L nomem
each_mount
each_unmount
each_reconnect
each_operation # the last: who writes after its kill -9 has to wait for the dead session
target_stop
note ok
