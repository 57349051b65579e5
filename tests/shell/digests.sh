#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# All four combinations of digests, and bits flipped on the way: with or without a digest no wrong byte is ever returned,
# and the mount goes on.
. "$(dirname "$0")/lib.sh"

# The same namespace in nvme-cli's form, through PORT.
keys() { echo "transport=tcp,traddr=127.0.0.1,trsvcid=$1,nqn=$nqn${2:+,$2}"; }

proxy_listens() { grep -q '^listening on' "$work/proxy.log"; }
proxy_start() {
	: >"$work/proxy.log" # not the line of the one before
	"$helpers/wire_proxy" "$target_port" >>"$work/proxy.log" &
	proxy=$!
	children+=("$proxy")
	wait_for 10 proxy_listens || fail "the proxy does not listen"
	proxy_port=$(sed -n 's/^listening on .*://p' "$work/proxy.log")
}

proxy_stop() {
	kill $proxy
	wait $proxy 2>/dev/null || true
}

flips() { grep -c flipped "$work/proxy.log" || true; }

# Every file is either right or an I/O error; how many errors there were.
read_all() {
	local file code errors=0
	while read -r file; do
		code=0
		cmp -s "$work/tree/$file" "$mnt/tree/$file" 2>/dev/null || code=$?
		[ $code != 1 ] || fail "wrong bytes in $file"
		[ $code = 0 ] || errors=$((errors + 1))
	done <"$work/files"
	echo $errors
}

flip_while_reading() { # DIGESTS
	proxy_start
	ns=$(keys "$proxy_port" "$1")
	mount_fs
	ls -lR "$mnt" >/dev/null
	kill -USR1 $proxy
	note "digests '$1': $(read_all) of $(wc -l <"$work/files") files unreadable while a bit was flipped"
	[ "$(flips)" -ge 1 ] || fail "nothing was flipped: the test tests nothing"
	[ "$(read_all)" = 0 ] || sleep 1
	unmount_fs
	ns=$(keys "$target_port" "$1")
	mount_fs
	[ "$(read_all)" = 0 ] || fail "not everything is readable afterwards"
	unmount_fs
	proxy_stop
}

# A bit flipped in what we write: a digest makes it a retry; nothing wrong may be found later.
flip_while_writing() { # DIGESTS
	proxy_start
	ns=$(keys "$proxy_port" "$1")
	mount_fs
	kill -USR2 $proxy
	dd if="$work/big" of="$mnt/big" bs=1M status=none conv=fsync || note "the write failed: allowed"
	[ "$(flips)" -ge 1 ] || fail "nothing was flipped: the test tests nothing"
	unmount_fs
	ns=$(keys "$target_port" "$1")
	mount_fs
	if [ -s "$mnt/big" ]; then
		code=0
		cmp -s "$work/big" "$mnt/big" || code=$?
		[ $code = 0 ] || fail "a flipped bit was stored though the digest showed it (cmp: $code)"
	fi
	unmount_fs
	proxy_stop
}

make_tree 12
(cd "$work/tree" && find . -type f -size +3k) >"$work/files"
dd if=/dev/urandom of="$work/big" bs=1M count=8 status=none
target_start "file:$disk:256M"
format
mount_fs
cp -a "$work/tree" "$mnt/"
unmount_fs
for digests in '' hdr-digest data-digest hdr-digest,data-digest; do
	ns=$(keys "$target_port" "$digests")
	mount_fs
	same_tree "$work/tree" "$mnt/tree"
	cp -a "$work/tree" "$mnt/again"
	remount_fs
	same_tree "$work/tree" "$mnt/again"
	rm -rf "$mnt/again"
	unmount_fs
done
flip_while_reading ''
flip_while_reading hdr-digest,data-digest
flip_while_writing hdr-digest,data-digest
ns=$(keys "$target_port")
fsck_clean
note ok
