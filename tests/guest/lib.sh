# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
# Shared by the tests of the suite guest. Each is one script with two halves: called by meson it starts the guest with
# itself as the command (`rerun_inside`), and the second call, with --inside, is the test.
set -eu -o pipefail
guest_folder=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
source_root=$(cd "$guest_folder/../.." && pwd)
build=$(realpath -m "${NVOFS_BUILD:-$source_root/build/release}")
[ -x "$build/tools/nvofs" ] || { echo "${0##*/}: no build in $build (NVOFS_BUILD names another)" >&2; exit 1; }
tools=$build/tools
name=$(basename "$0" .sh)
mount_options=(-o cache=128M) # why: tests/shell/lib.sh
linux_nqn=nqn.2026-11.io.nvofs:guest
linux_ns=nvme+tcp://10.9.0.1:4421/$linux_nqn

note() { printf '%s: %s\n' "$name" "$*"; }
fail() { note "FAILED: $*" >&2; exit 1; }
skip() { note "skipped: $*"; exit 77; }

# Replaces the script by a guest that runs it again with --inside; the arguments are the guest's options.
rerun_inside() {
	exec "$guest_folder/guest" "$@" -- "NVOFS_BUILD='$build' NVOFS_SLACK='${NVOFS_SLACK:-3}' ${NVOFS_ROUNDS:+NVOFS_ROUNDS=$NVOFS_ROUNDS} ${NVOFS_SEED:+NVOFS_SEED=$NVOFS_SEED} bash '$(readlink -f "$0")' --inside"
}

wait_for() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# The rest needs the programs; checked on both sides.
for program in ${programs:-nvofs-target}; do
	[ -x "$tools/$program" ] || skip "$tools/$program is not built"
done
