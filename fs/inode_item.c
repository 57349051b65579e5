/* SPDX-License-Identifier: Apache-2.0 */
/* The inode item on the device: checked when read (its bytes are the device's word, not ours), built when written. */
#include <string.h>
#include "base/clock.h"
#include "fs/inode.h"
#include "fs/txn.h"

/* One of the known types, and no bits but type and permissions: the kernel is given st_mode as it is. */
static bool type_valid(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFCHR: case S_IFBLK: case S_IFIFO: case S_IFSOCK:
		return !(mode & ~(uint32_t)(S_IFMT | 07777));
	}
	return false;
}

/* Seconds may be anything (also before 1970); nanoseconds have to be below a second, as statx promises. */
static bool times_valid(const struct inode_disk *d)
{
	return get32(d->atime.ns) < NS_PER_S && get32(d->mtime.ns) < NS_PER_S && get32(d->ctime.ns) < NS_PER_S &&
	       get32(d->btime.ns) < NS_PER_S;
}

/* The copy outlives the lock; the item's memory does not. Any fs lock held. */
int inode_load(struct op *op, uint64_t ino, struct inode_disk *d)
{
	struct key key = KEY(ino, ITEM_INODE, 0);
	struct item item;
	int r = tree_get(op, &key, &item);

	if (r)
		return r;
	if (item.len != sizeof(*d))
		return -E_BAD_ITEM;
	memcpy(d, item.val, sizeof(*d));
	if (!type_valid(inode_mode(d)) || inode_size(d) > FILE_MAX || !times_valid(d) || get32(d->nlink) > LINKS_MAX)
		return -E_BAD_ITEM;
	return 0;
}

/* Inside a transaction that has gathered the key. */
void inode_store(struct op *op, uint64_t ino, const struct inode_disk *d)
{
	struct key key = KEY(ino, ITEM_INODE, 0);

	txn_put(op, &key, d, sizeof(*d), NULL, 0);
}

/* Signed seconds go to the device as two's complement. */
struct time_disk time_build(struct timespec t)
{
	return (struct time_disk){ .s = put64((uint64_t)t.tv_sec), .ns = put32((uint32_t)t.tv_nsec) };
}

static struct timespec time_parse(struct time_disk t)
{
	return (struct timespec){ .tv_sec = (time_t)(int64_t)get64(t.s), .tv_nsec = (long)get32(t.ns) };
}

/* st_blocks counts 512 bytes, whatever the file system's block (stat(2)); inline data takes none. */
void inode_stat(uint64_t ino, const struct inode_disk *d, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = inode_mode(d);
	st->st_nlink = get32(d->nlink);
	st->st_uid = get32(d->uid);
	st->st_gid = get32(d->gid);
	st->st_rdev = get64(d->rdev);
	st->st_size = (off_t)inode_size(d);
	st->st_blksize = FS_BLOCK;
	st->st_blocks = (blkcnt_t)(get64(d->blocks) * (FS_BLOCK / 512));
	st->st_atim = time_parse(d->atime);
	st->st_mtim = time_parse(d->mtime);
	st->st_ctim = time_parse(d->ctime);
}

/* Change time with every change; content changes stamp both with one reading of the clock. */
void inode_touch(struct inode_disk *d, bool mtime)
{
	d->ctime = time_build(clock_wall());
	if (mtime)
		d->mtime = d->ctime;
}

/* As the kernel does it: set-group-ID without group execution means mandatory locking, not privilege, and stays. Of
 * directories it means inheritance. */
void inode_kill_priv(struct inode_disk *d)
{
	uint32_t mode = inode_mode(d);

	if (S_ISDIR(mode))
		return;
	mode &= ~(uint32_t)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(uint32_t)S_ISGID;
	d->mode = put32(mode);
}
