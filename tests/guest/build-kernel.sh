#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# build-kernel.sh [-j JOBS] [OUTPUT]
#
# Builds the guest's kernel from the distribution's linux-source package with uml.defconfig, once; takes about ten
# minutes on two cores and 3 GB below TMPDIR. OUTPUT is where `guest` looks for it by default. Nothing runs this by itself.
set -eu

here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
jobs=$(nproc)
if [ "${1:-}" = -j ]; then
	jobs=$2
	shift 2
fi
output=${1:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/nvofs/linux-uml}
sudo=''
[ "$(id -u)" = 0 ] || sudo=sudo

$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends linux-source gcc make flex bison bc \
	libelf-dev libc6-dev xz-utils kmod cpio
archive=$(find /usr/src -maxdepth 1 -name 'linux-source-*.tar.xz' | sort -V | tail -n 1)
[ -n "$archive" ] || { echo "build-kernel.sh: the package linux-source brought no archive" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/nvofs-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "unpacking $archive"
tar -C "$work" --strip-components=1 -xf "$archive"
cp "$here/uml.defconfig" "$work/arch/um/configs/nvofs_defconfig"
make -s -C "$work" ARCH=um nvofs_defconfig
nice make -s -C "$work" ARCH=um -j"$jobs" linux
mkdir -p "$(dirname "$output")"
strip -o "$output.part" "$work/linux"
mv "$output.part" "$output"
echo "the guest's kernel is $output ($("$output" --version))"
