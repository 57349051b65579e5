#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [SUITE...]: installs what is missing, builds the project three times and runs its tests in each.
#
#   build/release   every suite: unit, fs, shell, guest, accept, lint, fuzz
#   build/asan      AddressSanitizer and UndefinedBehaviorSanitizer: unit, fs, shell, fuzz
#   build/tsan      ThreadSanitizer: threads (what has more than one)
#
# With arguments only those suites. The last line is "N passed, N failed" and, where some were skipped (each says why in
# the build folder's meson-logs/testlog.txt), ", N skipped". Exit code 1 when something failed or did not build.
# NVOFS_TEST_LIMIT: seconds for everything (1500). NVOFS_PATIENCE: all limits in time inside the tests times this (1).
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."

passed=0 failed=0 skipped=0 failures=()
deadline=$((SECONDS + ${NVOFS_TEST_LIMIT:-1500}))
wanted=("$@")
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=98
export TSAN_OPTIONS=second_deadlock_stack=1:exitcode=97

say() { printf '\n== %s\n' "$*"; }

# One more failure that no test reports.
broken() { # WHAT
	say "$1"
	failed=$((failed + 1))
	failures+=("$1")
}

configure() { # FOLDER OPTION...
	local folder=$1
	shift
	if [ -e "$folder/build.ninja" ]; then
		meson configure "$folder" "$@" >/dev/null && return
		rm -rf "$folder"
	fi
	meson setup "$folder" "$@"
}

# The suites of the configuration that were asked for.
chosen() { # SUITE...
	local suite
	for suite in "$@"; do
		if [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $suite "* ]]; then
			printf '%s ' "$suite"
		fi
	done
}

# Adds up testlog.json: one object a line, in which quotes of the tests' own output are escaped.
count() { # FOLDER
	local log=$1/meson-logs/testlog.json word
	[ -s "$log" ] || { broken "no tests ran in $1"; return; }
	for word in $(sed -n 's/.*[^\\]"result": "\([A-Z]*\)".*/\1/p' "$log"); do
		case $word in
		OK | EXPECTEDFAIL) passed=$((passed + 1)) ;;
		SKIP) skipped=$((skipped + 1)) ;;
		*) failed=$((failed + 1)) ;;
		esac
	done
}

# Address space randomisation of newer kernels is too wide for older ThreadSanitizers.
fixed_addresses() {
	if setarch -R true 2>/dev/null; then
		setarch -R "$@"
	else
		"$@"
	fi
}

run_suites() { # FOLDER MULTIPLIER SUITE...
	local folder=$1 multiplier=$2 code=0 left runner='' suites=()
	shift 2
	for suite in "$@"; do
		suites+=(--suite "$suite")
	done
	left=$((deadline - SECONDS))
	[ $left -gt 10 ] || { broken "out of time before the tests in $folder"; return; }
	[ "$folder" != build/tsan ] || runner=fixed_addresses
	rm -f "$folder/meson-logs/testlog.json"
	export -f fixed_addresses
	timeout --foreground -k 30 -s INT $left bash -c "$runner \"\$@\"" sh meson test -C "$folder" --no-rebuild --print-errorlogs \
		--num-processes "$(nproc)" -t $((multiplier * ${NVOFS_PATIENCE:-1})) "${suites[@]}" || code=$?
	[ $code != 124 ] || broken "out of time in $folder"
	count "$folder"
	[ $code = 0 ] || [ $code = 124 ] || again "$folder" "$multiplier"
}

# What failed beside others on a busy machine is run once more, alone; it counts as passed only if it passes then, and is named.
again() { # FOLDER MULTIPLIER
	local name
	for name in $(sed -n 's/.*"name": "[^"]* \/ \([^"]*\)".*[^\\]"result": "\(FAIL\|TIMEOUT\|ERROR\)".*/\1/p' \
		"$1/meson-logs/testlog.json"); do
		rm -f "$1/meson-logs/again.txt"
		if [ $((deadline - SECONDS)) -gt 60 ] && bash -c "$runner \"\$@\"" sh meson test -C "$1" --no-rebuild --print-errorlogs --logbase again \
			-t $(($2 * ${NVOFS_PATIENCE:-1})) "$name"; then
			say "$1: $name failed beside others and passed alone"
			failed=$((failed - 1)) passed=$((passed + 1))
		else
			failures+=("$1: $name: $(tail -n 15 "$1/meson-logs/again.txt" 2>/dev/null)")
		fi
	done
}

# Builds one configuration and runs its suites.
run_configuration() { # FOLDER MULTIPLIER "MESON OPTIONS" SUITE...
	local folder=$1 multiplier=$2 options=$3 suites
	shift 3
	suites=$(chosen "$@")
	[ -n "$suites" ] || return 0
	say "$folder: $suites"
	# shellcheck disable=SC2086 # options and suites are lists of words
	if configure "$folder" $options && ninja -C "$folder"; then
		run_suites "$folder" "$multiplier" $suites
	else
		broken "$folder does not build"
	fi
}

summary() {
	local line="$passed passed, $failed failed"
	[ ${#failures[@]} = 0 ] || printf '\n%s\n' "${failures[@]}"
	[ $skipped = 0 ] || line="$line, $skipped skipped"
	printf '\n%s\n' "$line"
}
trap 'failed=$((failed + 1)); summary; exit 130' INT TERM

tools/deps.sh test || broken "not all packages are there"
run_configuration build/release 1 '-Dbuildtype=release' unit fs lint shell guest accept fuzz
run_configuration build/asan 3 '-Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false' unit fs shell fuzz
run_configuration build/tsan 4 '-Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false' threads
summary
[ $failed = 0 ]
