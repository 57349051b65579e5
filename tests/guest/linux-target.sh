#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Our transport alone on the Linux NVMe/TCP target: reads and writes with and without digests, many in flight, and going on
# after the target was away. (The file system on that target: tests/accept.sh.)
programs=nvofs-rawperf
. "$(dirname "$0")/lib.sh"
[ "${1:-}" = --inside ] || rerun_inside -p -t 240 -s 256

keys() { echo "transport=tcp,traddr=10.9.0.1,trsvcid=4421,nqn=$linux_nqn${1:+,$1}"; }

run() { # DIGESTS OPTION...
	local name
	name=$(keys "$1")
	shift
	timeout 60 "$tools/nvofs-rawperf" "$name" --seconds=1 "$@" || fail "nvofs-rawperf $name $*"
}

for digests in '' hdr-digest data-digest hdr-digest,data-digest; do
	run "$digests" --rw=write --bs=1M --qd=4
	run "$digests" --rw=read --bs=1M --qd=4
	run "$digests" --rw=randread --bs=4k --qd=32 --queues=2
	run "$digests" --rw=randwrite --bs=4k --qd=32 --queues=2
done

# The target goes away twice under load.
run '' --rw=randwrite --bs=16k --qd=16 --seconds=6 &
load=$!
for round in 1 2; do
	sleep 1
	"$guest_folder/target-setup" restart
done
wait $load || fail "the load did not survive the target's restart"

if [ -x "$tools/nvofsctl" ]; then
	"$tools/nvofsctl" identify "$linux_ns" || fail "nvofsctl identify"
	"$tools/nvofsctl" discover 10.9.0.1:4421 | grep "$linux_nqn" || fail "nvofsctl discover"
fi
note "ok"
