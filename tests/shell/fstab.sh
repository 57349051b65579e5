#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mount -t nvofs, mount -t fuse.nvofs and fstab, in a mount namespace of its own with mount.nvofs in /sbin.
if [ "${1:-}" != --inside ]; then
	[ "$(id -u)" = 0 ] || { echo "fstab: skipped: only root can mount(8)"; exit 77; }
	unshare -m true 2>/dev/null || { echo "fstab: skipped: no mount namespaces here"; exit 77; }
	exec unshare -m --propagation private bash "$0" --inside
fi
. "$(dirname "$0")/lib.sh"
need mount

# /usr/sbin with one more entry: a folder of links to everything in it, laid over it.
install_helper() {
	local entry
	mkdir "$work/real-sbin" "$work/sbin"
	mount --bind /usr/sbin "$work/real-sbin"
	for entry in "$work"/real-sbin/*; do
		ln -s "$entry" "$work/sbin/"
	done
	ln -sf "$tools/nvofs" "$work/sbin/mount.nvofs"
	ln -sf "$tools/nvofs" "$work/sbin/nvofs"
	mount --bind "$work/sbin" /usr/sbin
	mountpoint -q /sbin || [ -L /sbin ] || mount --bind "$work/sbin" /sbin
}

write_fstab() { # LINE
	echo "$1" >"$work/fstab"
	mount --bind "$work/fstab" /etc/fstab
}

mounted_by() { # HOW
	mounted || fail "$1 returned and nothing is mounted"
	daemon_pid=$(status pid)
	echo "$1" >>"$mnt/file"
}

install_helper
target_start "file:$disk:128M"
format
mount -t nvofs "$ns" "$mnt" || fail "mount -t nvofs"
mounted_by "mount -t nvofs"
grep -q " $mnt .*fuse.nvofs" /proc/self/mountinfo || fail "the type is not fuse.nvofs: $(grep " $mnt " /proc/self/mountinfo)"
unmount_fs
mount -t nvofs -o noatime,ro "$ns" "$mnt" || fail "mount -t nvofs -o noatime,ro"
! touch "$mnt/x" 2>/dev/null || fail "-o ro is not read-only"
daemon_pid=$(status pid)
umount "$mnt"
wait_for 20 gone "$daemon_pid" || fail "the daemon does not end after umount"
daemon_pid=
if [ -x /sbin/mount.fuse.nvofs ] || [ -x /sbin/mount.fuse3 ]; then
	mount -t fuse.nvofs "$ns" "$mnt" || fail "mount -t fuse.nvofs"
	mounted_by "mount -t fuse.nvofs"
	unmount_fs
fi
mount -f -t nvofs "$ns" "$mnt" || fail "mount -f"
! mounted || fail "mount -f mounted something"
[ -e /etc/fstab ] || skip "no /etc/fstab to put ours over"
write_fstab "$ns $mnt nvofs defaults,noatime,_netdev,nofail,x-systemd.requires=network-online.target 0 0"
mount "$mnt" || fail "mount by fstab"
mounted_by fstab
[ "$(wc -l <"$mnt/file")" -ge 2 ] || fail "the file is not what was written"
unmount_fs
fsck_clean
note ok
