#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# git on the mount: clone, commit, repack, gc, and git fsck after a new mount.
. "$(dirname "$0")/lib.sh"
need git

export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@example.org GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@example.org
export GIT_CONFIG_NOSYSTEM=1 HOME=$work
git config --global safe.directory '*'
git config --global init.defaultBranch main

# A repository with some history outside the mount.
make_repository() {
	local i
	make_tree 8
	git init -q "$work/origin"
	for i in 1 2 3; do
		cp -r "$work/tree" "$work/origin/part$i"
		(cd "$work/origin" && git add -A && git commit -q -m "part $i")
	done
}

make_repository
target_start "file:$disk:512M"
format
mount_fs
git clone -q --no-hardlinks "$work/origin" "$mnt/clone"
(
	cd "$mnt/clone"
	git fsck --strict --no-progress
	[ -z "$(git status --porcelain)" ] || fail "a fresh clone is not clean"
	git checkout -q -b branch HEAD~1
	git mv part1 moved
	git commit -q -m move
	git checkout -q main
	git merge -q branch -m merge
	git gc -q --aggressive --prune=now
	git fsck --strict --no-progress
)
remount_fs
git -C "$mnt/clone" fsck --full --strict --no-progress || fail "git fsck after a new mount"
[ -z "$(git -C "$mnt/clone" status --porcelain)" ] || fail "not clean after a new mount"
git clone -q "$mnt/clone" "$mnt/second" # hard links
git -C "$mnt/second" fsck --no-progress
unmount_fs
fsck_clean
note ok
