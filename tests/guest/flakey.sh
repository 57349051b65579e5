#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Our file system on the Linux target whose disk is dm-flakey. Again and again under load the disk begins to fail everything, or
# to drop what is written to it while it says that all is well (what is left then is the disk of that moment, whatever comes
# after), and then the daemon is killed. Each time: the checker finds nothing, and what was fsync'ed before is there.
# NVOFS_ROUNDS (2), NVOFS_SEED (1), NVOFS_SECONDS (280) in which all of it has to be done.
programs='nvofs mkfs.nvofs fsck.nvofs'
. "$(dirname "$0")/lib.sh"
helper=$build/tests/tools/recorder
[ -x "$helper" ] || skip "$helper is not built"
command -v dmsetup >/dev/null || skip "no dmsetup here"
[ "${1:-}" = --inside ] || rerun_inside -p -t "${NVOFS_SECONDS:-280}" -s 512

work=$(mktemp -d) mnt=$work/mnt
RANDOM=${NVOFS_SEED:-1}
mkdir "$mnt"
sectors=$(blockdev --getsz /dev/nullb0)

table() { # LINE: the disk is this from now on
	dmsetup suspend --noflush flaky
	echo "0 $sectors $1" | dmsetup load flaky
	dmsetup resume --noudevsync flaky
}
whole() { table 'linear /dev/nullb0 0'; }

target_on_flakey() {
	local space=/sys/kernel/config/nvmet/subsystems/$linux_nqn/namespaces/1
	echo "0 $sectors linear /dev/nullb0 0" | dmsetup create --noudevsync flaky
	echo 0 >$space/enable
	echo -n "$(ls -d /dev/mapper/flaky /dev/dm-0 2>/dev/null | head -n 1)" >$space/device_path
	echo 1 >$space/enable
}

mounted() { grep -q " $mnt " /proc/self/mountinfo; }
mount_fs() {
	"$tools/nvofs" "$linux_ns" "$mnt" -f "${mount_options[@]}" 2>>"$work/daemon.log" &
	daemon=$!
	wait_for 60 mounted || fail "round $round: not mounted: $(tail -n 3 "$work/daemon.log")"
}

acknowledged() { stat -c %s "$work/acknowledged" 2>/dev/null || echo 0; }
goes_on() { [ "$(acknowledged)" -gt "$1" ]; } # BYTES

cut() { # HOW
	if [ "$1" = error ]; then
		table 'flakey /dev/nullb0 0 0 1000'
	else # from here on nothing counts, so nothing more may be acknowledged
		kill -STOP $recorder
		table 'flakey /dev/nullb0 0 0 1000 1 drop_writes'
		sleep 1.5
	fi
	sleep 0.3
	kill -9 $daemon $recorder 2>/dev/null || true
	wait $daemon $recorder 2>/dev/null || true
	umount -l "$mnt"
	whole
}

target_on_flakey
"$tools/mkfs.nvofs" -q "$linux_ns" || fail "mkfs.nvofs ended with $?"
round=0
mount_fs
mkdir "$mnt/records"
for round in $(seq "${NVOFS_ROUNDS:-2}"); do
	how=$([ $((RANDOM % 2)) = 0 ] && echo error || echo drop)
	before=$(acknowledged)
	"$helper" write "$mnt/records" "$work/acknowledged" 2>>"$work/recorder.log" &
	recorder=$!
	wait_for 60 goes_on "$before" || fail "round $round: nothing is written" # the former mount's time has to pass
	sleep "$((RANDOM % 3)).$((RANDOM % 10))"
	cut "$how"
	"$tools/fsck.nvofs" -n "$linux_ns" >"$work/fsck.log" 2>&1 || fail "round $round ($how): fsck.nvofs -n ended with $?: $(cat "$work/fsck.log")"
	mount_fs
	"$helper" check "$mnt/records" "$work/acknowledged" || fail "round $round ($how): acknowledged data is lost"
	note "round $round: $how"
done
umount "$mnt"
wait $daemon || fail "the daemon ended with $?"
"$tools/fsck.nvofs" -n "$linux_ns" >"$work/fsck.log" 2>&1 || fail "at the end fsck.nvofs -n ended with $?"
note "$round rounds, seed ${NVOFS_SEED:-1}: ok"
