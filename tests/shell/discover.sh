#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# nvofsctl identify and discover, as text and as JSON, on IPv4 and IPv6, with several namespaces.
. "$(dirname "$0")/lib.sh"

target_start ram:64M ram:128M
"$tools/nvofsctl" discover "127.0.0.1:$target_port" >"$work/discover.log" || fail "discover"
grep -q "$nqn" "$work/discover.log" || fail "discover does not name the subsystem: $(cat "$work/discover.log")"
"$tools/nvofsctl" discover --json "127.0.0.1:$target_port" >"$work/discover-json.log" || fail "discover --json"
grep -q "\"$nqn\"" "$work/discover-json.log" || fail "discover --json: $(cat "$work/discover-json.log")"
"$tools/nvofsctl" identify "$ns?nsid=2" >"$work/identify.log" || fail "identify"
"$tools/nvofsctl" identify --json "$ns?nsid=2" >"$work/identify-json.log" || fail "identify --json"
grep -q "$((128 << 20))\|$((128 << 8))" "$work/identify-json.log" || fail "no size: $(cat "$work/identify-json.log")"
if command -v python3 >/dev/null; then
	for file in discover identify; do
		python3 -m json.tool <"$work/$file-json.log" >/dev/null || fail "$file --json is not JSON"
	done
fi
target_stop
if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
	: >"$work/target.log"
	"$tools/nvofs-target" --listen '[::1]:0' --nqn "$nqn" ram:64M >"$work/target.log" 2>"$work/target.err" &
	target_pid=$!
	children+=("$target_pid")
	wait_for 10 target_up_or_dead && listening || fail "no target on ::1"
	target_port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/target.log")
	"$tools/nvofsctl" identify "nvme+tcp://[::1]:$target_port/$nqn" >"$work/identify6.log" || fail "identify over IPv6"
	target_stop
fi
note ok
