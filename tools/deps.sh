#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# deps.sh [build|test|fuzz]...   (default: build)
#
# The one place that installs packages. Idempotent: asks dpkg what is missing and installs only that, as root or
# through sudo, without questions. Where there is no apt it installs nothing: it looks for the programs and libraries
# themselves and says in one line what is missing.
#   build   what `meson setup B && ninja -C B` needs, and fusermount3 to mount
#   test    also what tests/run.sh uses
#   fuzz    also clang, for -Dfuzz=true
# Exit code: 0 all there, 1 something is missing, 2 wrong use.
set -eu

# A compiler, the build system, and the libraries with their reason in README.md; check is for the unit tests.
build_packages='gcc libc6-dev meson ninja-build pkg-config libfuse3-dev fuse3 libisal-dev libblkid-dev libjson-c-dev check
libibverbs-dev librdmacm-dev'
# What the tests cannot do without, and what only makes single tests possible (those skip without it).
test_packages='rsync sqlite3 git attr acl xz-utils e2fsprogs procps util-linux diffutils'
test_optional='nvme-cli fio iproute2 kmod busybox-static rdma-core ibverbs-providers ibverbs-utils rdmacm-utils perftest shellcheck man-db'
fuzz_packages='clang'

# The same by program and library, for systems without dpkg.
build_commands='gcc meson ninja pkg-config fusermount3'
build_modules='fuse3 libisal blkid json-c check'
test_commands='rsync sqlite3 git getfattr setfacl xz mkfs.ext4'

say() { printf 'deps.sh: %s\n' "$*" >&2; }

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing_of() {
	local package
	for package in "$@"; do
		installed "$package" || printf '%s ' "$package"
	done
}

# apt-get as root; -y alone would still ask about changed configuration files.
apt() {
	local sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -qq -y -o DPkg::Lock::Timeout=300 \
		-o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" >&2
}

# The lists are fetched only when the packages cannot be had without.
install_all() {
	apt install --no-install-recommends "$@" 2>/dev/null && return
	if [ -z "${updated:-}" ]; then
		apt update || say "apt-get update failed"
		updated=1
	fi
	apt install --no-install-recommends "$@"
}

with_apt() {
	local missing package
	missing=$(missing_of $required)
	if [ -n "$missing" ]; then
		can_install || { say "missing, and neither root nor sudo to install it: $missing"; return 1; }
		say "installing $missing"
		install_all $missing || { say "could not install: $(missing_of $required)"; return 1; }
	fi
	missing=$(missing_of $optional)
	[ -n "$missing" ] && can_install || return 0
	say "installing $missing"
	install_all $missing && return 0
	for package in $(missing_of $optional); do
		apt install --no-install-recommends "$package" || say "not available, tests that want it will skip: $package"
	done
}

can_install() { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }

without_apt() {
	local missing='' name
	for name in $commands; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$name" >/dev/null || missing="$missing $name"
	done
	for name in $modules; do
		pkg-config --exists "$name" 2>/dev/null || missing="$missing lib:$name"
	done
	[ -z "$missing" ] && return 0
	say "no apt-get and dpkg here; please install:$missing"
	return 1
}

required=$build_packages optional='' commands=$build_commands modules=$build_modules
for group in "${@:-build}"; do
	case $group in
	build) ;;
	test)
		required="$required $test_packages" optional="$optional $test_optional"
		commands="$commands $test_commands"
		;;
	fuzz) required="$required $fuzz_packages" commands="$commands clang" ;;
	*)
		say "usage: deps.sh [build|test|fuzz]..."
		exit 2
		;;
	esac
done
if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
	with_apt
else
	without_apt
fi
