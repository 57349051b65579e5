/* SPDX-License-Identifier: Apache-2.0 */
/* Making and removing names; rename is in rename.c. Each is one transaction. What is known in memory (look-ups, names for
 * messages, orphans) changes under the same holding of the lock, right after the commit. */
#include <string.h>
#include "base/clock.h"
#include "fs/dir.h"
#include "fs/inode.h"
#include "fs/namei.h"
#include "fs/ops.h"
#include "fs/txn.h"

/* ---- making ---- */

struct make {
	size_t len;                /* of the name */
	uint32_t mode;
	uint64_t rdev;
	const char *target;        /* of a symbolic link */
	uint32_t target_len;
};

/* A directory begins with two links, its name and its "."; each subdirectory's ".." adds one. Only directories have
 * one parent to remember. size is 0 but for symbolic links. */
static void make_inode(const struct op *op, const struct make *m, const struct inode_disk *dir, struct inode_disk *d)
{
	uint32_t mode = m->mode, gid = op->gid;

	memset(d, 0, sizeof(*d));
	if (inode_mode(dir) & S_ISGID) { /* as with System V: the directory's group, and directories inherit the bit */
		gid = get32(dir->gid);
		mode |= S_ISDIR(mode) ? S_ISGID : 0;
	}
	d->mode = put32(mode);
	d->uid = put32(op->uid);
	d->gid = put32(gid);
	d->nlink = put32(S_ISDIR(mode) ? 2 : 1);
	d->rdev = put64(m->rdev);
	d->size = put64(m->target_len);
	d->parent = put64(S_ISDIR(mode) ? op->ino : 0);
	d->atime = d->mtime = d->ctime = d->btime = time_build(clock_wall());
}

/* The inode's key must be in memory before its number is drawn: it will be ino_next, since the lock is held. */
static int make_gather(struct op *op, const struct make *m, struct inode_disk *dir, struct dir_entry *de)
{
	struct fs *fs = op->worker->fs;
	struct key keys[2] = { KEY(fs->ino_next, ITEM_INODE, 0), KEY(fs->ino_next, ITEM_INLINE, 0) };
	struct item item;
	int r = dir_load(op, op->ino, dir);

	if (r)
		return r;
	r = dir_find(op, op->ino, op->name, m->len, de);
	if (r != -ENOENT)
		return r ? r : -EEXIST;
	if (S_ISDIR(m->mode) && get32(dir->nlink) >= LINKS_MAX)
		return -EMLINK;
	for (unsigned i = 0; i < (m->target ? 2u : 1u); i++) {
		r = tree_get(op, &keys[i], &item);
		if (r != -ENOENT)
			return r ? r : -E_BAD_ITEM;
	}
	return txn_begin(op, 4, false);
}

/* entries and subdirs may be negative: two's complement does the rest. */
void dir_changed(struct op *op, uint64_t ino, struct inode_disk *dir, int entries, int subdirs)
{
	dir->entries = put64(get64(dir->entries) + (uint64_t)(int64_t)entries);
	dir->nlink = put32(get32(dir->nlink) + (uint32_t)subdirs);
	inode_touch(dir, true);
	inode_store(op, ino, dir);
}

/* Exclusive lock. The look-up is counted before it is released: until the kernel has the inode nobody can remove it
 * unseen. The object comes first: an open that follows (O_CREAT) cannot fail for want of it when the name is there. */
static int make_locked(struct op *op, const struct make *m)
{
	struct fs *fs = op->worker->fs;
	uint64_t expect = fs->ino_next, ino;
	struct inode_disk dir, d;
	struct dir_entry de;
	struct inode *in = inode_get(fs, expect, NULL);
	int r = in ? make_gather(op, m, &dir, &de) : -ENOMEM;

	if (r) {
		if (in)
			inode_put(fs, in);
		return r;
	}
	make_inode(op, m, &dir, &d);
	ino = txn_new_ino(op);
	assert(ino == expect);
	inode_store(op, ino, &d);
	if (m->target) {
		struct key key = KEY(ino, ITEM_INLINE, 0);

		txn_put(op, &key, m->target, m->target_len, NULL, 0);
	}
	dir_put(op, &de.key, ino, mode_dtype(m->mode), op->name, m->len);
	/* After the entry, with the directory as it was gathered: nothing else has changed it under this lock. */
	dir_changed(op, op->ino, &dir, 1, S_ISDIR(m->mode) ? 1 : 0);
	txn_commit(op);
	inode_stat(ino, &d, &op->attr);
	inode_looked_up(fs, in, op->ino, op->name, m->len);
	inode_put(fs, in);
	return 0;
}

/* fs_may_write first: on a read-only mount nothing is gathered for it. */
static int make(struct op *op, struct make *m)
{
	struct fs *fs = op->worker->fs;
	int r = name_check_new(op->name, &m->len);

	if (!r)
		r = fs_may_write(fs);
	if (r)
		return r;
	fs_lock_excl(fs);
	r = make_locked(op, m);
	fs_unlock(fs);
	return r;
}

/* A type of 0 means a regular file, as with mknod(2). rdev of other types is not kept. */
int fs_mknod(struct op *op)
{
	struct make m = { .mode = op->mode & (S_IFMT | 07777) };

	switch (m.mode & S_IFMT) {
	case 0:
		m.mode |= S_IFREG;
		break;
	case S_IFCHR: case S_IFBLK:
		m.rdev = op->rdev;
		break;
	case S_IFREG: case S_IFIFO: case S_IFSOCK:
		break;
	default:
		return -EINVAL;
	}
	return make(op, &m);
}

int fs_mkdir(struct op *op)
{
	struct make m = { .mode = S_IFDIR | (op->mode & 07777) };

	return make(op, &m);
}

/* The target is an INLINE item; it ends without a zero byte, and its length is the inode's size. */
int fs_symlink(struct op *op)
{
	struct make m = { .mode = S_IFLNK | 0777, .target = op->in };
	size_t len = strlen(op->in);

	if (!len)
		return -ENOENT;
	if (len >= VALUE_MAX)
		return -ENAMETOOLONG;
	m.target_len = (uint32_t)len;
	return make(op, &m);
}

/* ---- links ---- */

/* No second name for a directory (cycles), nor for what has none left (it is being reaped). */
static int link_gather(struct op *op, size_t len, struct inode_disk *dir, struct inode_disk *d, struct dir_entry *de)
{
	int r = inode_load(op, op->ino, d);

	if (!r)
		r = dir_load(op, op->ino2, dir);
	if (r)
		return r;
	if (S_ISDIR(inode_mode(d)))
		return -EPERM;
	if (!get32(d->nlink))
		return -ENOENT;
	if (get32(d->nlink) >= LINKS_MAX)
		return -EMLINK;
	r = dir_find(op, op->ino2, op->name, len, de);
	if (r != -ENOENT)
		return r ? r : -EEXIST;
	return txn_begin(op, 3, false);
}

/* The link count is stored in the same transaction as the name: after a crash both are there or neither. */
static int link_locked(struct op *op, size_t len)
{
	struct fs *fs = op->worker->fs;
	struct inode_disk dir, d;
	struct dir_entry de;
	struct inode *in;
	int r = link_gather(op, len, &dir, &d, &de);

	if (r)
		return r;
	d.nlink = put32(get32(d.nlink) + 1);
	inode_touch(&d, false);
	inode_store(op, op->ino, &d);
	dir_put(op, &de.key, op->ino, mode_dtype(inode_mode(&d)), op->name, len);
	dir_changed(op, op->ino2, &dir, 1, 0);
	txn_commit(op);
	inode_stat(op->ino, &d, &op->attr);
	in = inode_get(fs, op->ino, NULL);
	if (in) {
		inode_looked_up(fs, in, op->ino2, op->name, len);
		inode_put(fs, in);
	}
	return 0;
}

/* op->ino gets the name op->name in the directory op->ino2. It counts as a look-up of op->ino. */
int fs_link(struct op *op)
{
	struct fs *fs = op->worker->fs;
	size_t len;
	int r = name_check_new(op->name, &len);

	if (!r)
		r = fs_may_write(fs);
	if (r)
		return r;
	fs_lock_excl(fs);
	r = link_locked(op, len);
	fs_unlock(fs);
	return r;
}

/* ---- removing ---- */

/* What a name is removed from and what it names. */
struct removal {
	size_t len;
	struct inode_disk dir, d;
	struct dir_entry de;
	bool last;                 /* name: the inode becomes an orphan */
};

/* A transaction that frees: a full file system must let go of what fills it. The ORPHAN key is gathered whether it
 * will be needed or not. -E_NO_SPACE of a look-up is a full bucket, so the name is not there. */
static int remove_gather(struct op *op, struct removal *m, bool directory)
{
	struct item item;
	struct key key;
	int r = dir_load(op, op->ino, &m->dir);

	if (!r)
		r = dir_find(op, op->ino, op->name, m->len, &m->de);
	if (r)
		return r == -E_NO_SPACE ? -ENOENT : r;
	r = inode_load(op, m->de.ino, &m->d);
	if (r)
		return r == -ENOENT ? -E_BAD_ITEM : r;
	if (S_ISDIR(inode_mode(&m->d)) != directory)
		return directory ? -ENOTDIR : -EISDIR;
	if (!get32(m->d.nlink) || m->de.ino == INO_ROOT)
		return -E_BAD_ITEM;
	if (directory)
		r = dir_empty(op, m->de.ino);
	if (r)
		return r;
	m->last = directory || get32(m->d.nlink) == 1;
	key = KEY(0, ITEM_ORPHAN, m->de.ino);
	r = tree_get(op, &key, &item);
	if (r && r != -ENOENT)
		return r;
	return txn_begin(op, 4, true);
}

/* Names the inode to the next mount, if this one does not get to reap it. size is what a truncate that did not end
 * (INODE_TRUNCATE) was cutting to. */
static void orphan_put(struct op *op, uint64_t ino, const struct inode_disk *d)
{
	struct key key = KEY(0, ITEM_ORPHAN, ino);
	struct orphan_disk orphan = { .size = get32(d->flags) & INODE_TRUNCATE ? d->size : put64(0) };

	txn_put(op, &key, &orphan, sizeof(orphan), NULL, 0);
}

void orphan_known(struct fs *fs, uint64_t ino)
{
	struct inode *in = inode_get(fs, ino, NULL);

	if (!in)
		return; /* without memory it is found at the next mount */
	inode_orphan(fs, in);
	inode_put(fs, in);
}

/* The inode loses a name (a directory its only one): one link less, or an orphan. */
void inode_drop_name(struct op *op, uint64_t ino, struct inode_disk *d, bool last)
{
	d->nlink = put32(last ? 0 : get32(d->nlink) - 1);
	inode_touch(d, false);
	inode_store(op, ino, d);
	if (last)
		orphan_put(op, ino, d);
}

/* Content and inode stay until the last user is gone; then the reaper frees them in bounded steps (fs/reap.c). */
static int remove_locked(struct op *op, struct removal *m, bool directory)
{
	struct fs *fs = op->worker->fs;
	int r = remove_gather(op, m, directory);

	if (r)
		return r;
	txn_del(op, &m->de.key);
	inode_drop_name(op, m->de.ino, &m->d, m->last);
	dir_changed(op, op->ino, &m->dir, -1, directory ? -1 : 0);
	txn_commit(op);
	inode_unnamed(fs, m->de.ino, op->ino, op->name, m->len);
	if (m->last)
		orphan_known(fs, m->de.ino);
	return 0;
}

/* Errors for the dots are those of unlink(2) and rmdir(2). */
static int remove_name(struct op *op, bool directory)
{
	struct fs *fs = op->worker->fs;
	struct removal m;
	int r = name_check(op->name, &m.len);

	if (!r && !strcmp(op->name, "."))
		r = -EINVAL;
	if (!r && !strcmp(op->name, ".."))
		r = directory ? -ENOTEMPTY : -EISDIR;
	if (!r)
		r = fs_may_write(fs);
	if (r)
		return r;
	fs_lock_excl(fs);
	r = remove_locked(op, &m, directory);
	fs_unlock(fs);
	return r;
}

int fs_unlink(struct op *op)
{
	return remove_name(op, false);
}

int fs_rmdir(struct op *op)
{
	return remove_name(op, true);
}
