#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every wrong use has one clear line and the exit code that its man page says.
. "$(dirname "$0")/lib.sh"

# The codes of the man pages.
mount_failed=32 mkfs_failed=1 ctl_failed=2 target_failed=1
declare -A usage=([nvofs]=1 [mkfs.nvofs]=2 [fsck.nvofs]=16 [nvofsctl]=1 [nvofs-target]=2)

address() { echo "nvme+tcp://$1"; }

check_addresses() {
	expect $mount_failed 'no-such-host.invalid' "$tools/nvofs" "$(address no-such-host.invalid/$nqn)" "$mnt"
	expect $mount_failed '127.0.0.1.*refused' "$tools/nvofs" "$(address 127.0.0.1:1/$nqn)" "$mnt"
	expect $mount_failed 'nqn' "$tools/nvofs" "$(address "127.0.0.1:$target_port/nqn.2026-11.io.nvofs:wrong")" "$mnt"
	expect $mount_failed 'namespace|nsid' "$tools/nvofs" "$ns?nsid=9" "$mnt"
	expect $mount_failed 'not formatted' "$tools/nvofs" "$ns?nsid=1" "$mnt"
	expect $mount_failed 'mount point|no such file|does not exist' "$tools/nvofs" "$ns?nsid=1" "$work/missing"
	: >"$work/plain"
	expect $mount_failed 'not a directory' "$tools/nvofs" "$ns?nsid=1" "$work/plain"
	expect $mkfs_failed 'refused' "$tools/mkfs.nvofs" "$(address 127.0.0.1:1/$nqn)"
	expect $mkfs_failed 'small' "$tools/mkfs.nvofs" "$ns?nsid=2"
	expect 8 'refused' "$tools/fsck.nvofs" -n "$(address 127.0.0.1:1/$nqn)"
	expect 8 'not formatted' "$tools/fsck.nvofs" -n "$ns?nsid=1"
	expect $ctl_failed 'refused' "$tools/nvofsctl" identify "$(address 127.0.0.1:1/$nqn)"
	expect $ctl_failed 'refused' "$tools/nvofsctl" discover 127.0.0.1:1
	expect $ctl_failed 'not .*nvofs|not a' "$tools/nvofsctl" status "$work"
}

check_arguments() {
	local program
	for program in "${!usage[@]}"; do
		"$tools/$program" --help >"$work/help.log" 2>&1 </dev/null || fail "$program --help ended with $?"
		[ -s "$work/help.log" ] || fail "$program --help says nothing"
		"$tools/$program" --version >"$work/version.log" 2>&1 </dev/null || fail "$program --version ended with $?"
		expect "${usage[$program]}" '.' "$tools/$program" --no-such-option
		expect "${usage[$program]}" '.' "$tools/$program"
	done
	for program in nvofs mkfs.nvofs fsck.nvofs; do
		check_names $program
	done
}

# Names of namespaces that are wrong in themselves.
check_names() { # PROGRAM
	local mount_point=''
	[ "$1" != nvofs ] || mount_point=$mnt
	expect "${usage[$1]}" 'http|scheme|address|name|nvme' "$tools/$1" http://127.0.0.1/x $mount_point
	expect "${usage[$1]}" 'no-such-key' "$tools/$1" "$ns?no-such-key=1" $mount_point
	expect "${usage[$1]}" 'nsid' "$tools/$1" "$ns?nsid=x" $mount_point
}

check_targets() {
	local busy
	expect $target_failed 'size|small|exist|no such' "$tools/nvofs-target" --listen 127.0.0.1:0 "file:$work/does-not-exist"
	expect ${usage[nvofs-target]} 'ram|file|backing' "$tools/nvofs-target" --listen 127.0.0.1:0 tape:1G
	busy=127.0.0.1:$target_port
	expect $target_failed 'in use' "$tools/nvofs-target" --listen "$busy" ram:64M
	truncate -s 100M "$work/hundred"
	expect $target_failed 'size|bytes' "$tools/nvofs-target" --listen 127.0.0.1:0 "file:$work/hundred:200M"
}

# A target that accepts and goes away, and one that accepts and says nothing.
check_vanishing() {
	local proxy port begin
	"$helpers/wire_proxy" 1 >"$work/proxy.log" &
	proxy=$!
	children+=("$proxy")
	wait_for 10 grep -q 'listening on' "$work/proxy.log"
	port=$(sed -n 's/^listening on .*://p' "$work/proxy.log")
	begin=$(now_ms)
	expect $mount_failed "127.0.0.1:$port" "$tools/nvofs" "$(address "127.0.0.1:$port/$nqn")" "$mnt"
	kill -STOP $proxy
	expect $mount_failed "127.0.0.1:$port" "$tools/nvofs" "$(address "127.0.0.1:$port/$nqn")" "$mnt"
	[ $(($(now_ms) - begin)) -lt $((40000 * slack)) ] || fail "giving up takes too long"
	kill -9 $proxy
	! mounted || fail "something is mounted after a failed mount"
}

check_mounted() {
	"$tools/mkfs.nvofs" -q "$ns?nsid=1"
	ns="$ns?nsid=1"
	mount_fs
	mkdir "$work/other"
	expect $mount_failed 'use|mounted' "$tools/nvofs" "$ns" "$work/other"
	expect $mount_failed 'use|mounted' "$tools/nvofs" "$ns" "$mnt"
	expect 8 "$(hostname)|in use|mounted" "$tools/fsck.nvofs" "$ns"
	code=0
	"$tools/fsck.nvofs" -n "$ns" >"$work/fsck.log" 2>&1 || code=$?
	case $code in 0 | 4) ;; *) fail "fsck.nvofs -n on a mounted namespace ended with $code" ;; esac
	grep -qi mounted "$work/fsck.log" || fail "fsck.nvofs -n does not say that the namespace is mounted"
	echo alive >"$mnt/file"
	expect $mkfs_failed 'nvofs|use|mounted' "$tools/mkfs.nvofs" "$ns"
	[ "$(cat "$mnt/file")" = alive ] || fail "the first mount suffered"
	unmount_fs
	fsck_clean
}

# Every superblock says that a newer version wrote it.
check_newer() {
	"$tools/mkfs.nvofs" -q "$ns?nsid=3" || fail "mkfs.nvofs"
	"$helpers/make_newer" "$disk" >"$work/newer.log" || fail "no superblock in the target's file"
	expect $mount_failed 'newer' "$tools/nvofs" "$ns?nsid=3" "$mnt"
	expect 8 'newer' "$tools/fsck.nvofs" -n "$ns?nsid=3"
	expect $mkfs_failed 'nvofs|newer' "$tools/mkfs.nvofs" "$ns?nsid=3"
}

target_start ram:128M ram:32M "file:$disk:64M"
check_addresses
check_arguments
check_targets
check_vanishing
check_newer
check_mounted
note ok
