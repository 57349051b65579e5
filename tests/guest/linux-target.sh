#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Our transport alone on the Linux NVMe/TCP target: nvofs-rawperf reads and writes, with and without digests, and goes on
# after the target was away.
programs="nvofs-target nvofsctl"
. "$(dirname "$0")/lib.sh"
[ "${1:-}" = --inside ] || rerun_inside -p -t 240 -s 256

"$tools/nvofsctl" identify "$linux_ns" || fail "identify"
"$tools/nvofsctl" discover 10.9.0.1:4421 || fail "discover"
note "ok"
