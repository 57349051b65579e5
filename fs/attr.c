/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes, symbolic links' targets, opens, and fsync. */
#include <fcntl.h>
#include <string.h>
#include "base/clock.h"
#include "fs/inode.h"
#include "fs/ops.h"
#include "fs/store.h"
#include "fs/truncate.h"
#include "fs/txn.h"

/* From the tree each time: it is in memory as long as it is used, so there is no second copy to keep right. */
int fs_getattr(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct inode_disk d;
	int r;

	fs_lock_shared(fs);
	r = inode_load(op, op->ino, &d);
	fs_unlock(fs);
	if (!r)
		inode_stat(op->ino, &d, &op->attr);
	return r;
}

/* ---- setattr ---- */

/* Times that were asked for beat those that the change itself sets, so this comes after inode_touch; losing
 * privileges comes last, whatever mode was asked for. */
void attr_apply(const struct op *op, struct inode_disk *d)
{
	if (op->valid & SET_MODE)
		d->mode = put32((inode_mode(d) & S_IFMT) | (op->mode & 07777));
	if (op->valid & SET_UID)
		d->uid = put32(op->uid);
	if (op->valid & SET_GID)
		d->gid = put32(op->gid);
	if (op->valid & SET_ATIME)
		d->atime = time_build(op->atime);
	if (op->valid & SET_MTIME)
		d->mtime = time_build(op->mtime);
	if (op->valid & SET_CTIME)
		d->ctime = time_build(op->ctime);
	if (op->valid & SET_KILL_PRIV)
		inode_kill_priv(d);
}

/* Another value would be refused by inode_load ever after. */
static bool time_valid(const struct op *op, unsigned which, const struct timespec *t)
{
	return !(op->valid & which) || (t->tv_nsec >= 0 && (uint64_t)t->tv_nsec < NS_PER_S);
}

/* May use the reserve: it costs no space in the end, and rm -r of a full file system changes modes. */
static int setattr_locked(struct op *op)
{
	struct inode_disk d;
	int r = inode_load(op, op->ino, &d);

	if (!r)
		r = txn_begin(op, 1, true);
	if (r)
		return r;
	inode_touch(&d, false);
	attr_apply(op, &d);
	inode_store(op, op->ino, &d);
	txn_commit(op);
	inode_stat(op->ino, &d, &op->attr);
	return 0;
}

/* With a size it is a truncate, which applies the other attributes in its own transaction; ATTR_SIZED is
 * remembered, so that a park of the getattr behind it does not truncate again. */
int fs_setattr(struct op *op)
{
	struct fs *fs = op->worker->fs;
	int r = fs_may_write(fs);

	if (r)
		return r;
	if (!time_valid(op, SET_ATIME, &op->atime) || !time_valid(op, SET_MTIME, &op->mtime) ||
	    !time_valid(op, SET_CTIME, &op->ctime))
		return -EINVAL;
	if (op->valid & SET_SIZE) {
		if (op->phase < ATTR_SIZED)
			r = file_truncate(op);
		if (r)
			return r;
		op->phase = ATTR_SIZED;
		op->own_errors = false;
		return fs_getattr(op);
	}
	fs_lock_excl(fs);
	r = setattr_locked(op);
	fs_unlock(fs);
	return r;
}

/* ---- symbolic links ---- */

/* The target is checked like everything from the device: its length is the inode's size, and it has no zero byte,
 * which would cut it short in the kernel. -E_BAD_ITEM otherwise. */
static int readlink_locked(struct op *op)
{
	struct key key = KEY(op->ino, ITEM_INLINE, 0);
	struct inode_disk d;
	struct item item;
	int r = inode_load(op, op->ino, &d);

	if (r)
		return r;
	if (!S_ISLNK(inode_mode(&d)))
		return -EINVAL;
	r = tree_get(op, &key, &item);
	if (r)
		return r == -ENOENT ? -E_BAD_ITEM : r;
	if (!item.len || item.len >= VALUE_MAX || item.len != inode_size(&d) || memchr(item.val, 0, item.len))
		return -E_BAD_ITEM;
	op->result = MIN(item.len, op->len);
	memcpy(op->out, item.val, op->result);
	return 0;
}

int fs_readlink(struct op *op)
{
	struct fs *fs = op->worker->fs;
	int r;

	fs_lock_shared(fs);
	r = readlink_locked(op);
	fs_unlock(fs);
	return r;
}

/* ---- opens ---- */

/* The open is counted under the fs lock: a removal comes before it (and leaves no name to open by), or sees it. */
static int open_locked(struct op *op)
{
	struct inode_disk d;
	int r = inode_load(op, op->ino, &d);

	if (r)
		return r;
	r = inode_hold(op, false);
	if (!r)
		inode_opened(op->worker->fs, op->inode);
	return r;
}

/* An open keeps the inode from being reaped; the content is not touched but by O_TRUNC, for which only the loss of
 * privileges is taken from valid. */
int fs_open(struct op *op)
{
	struct fs *fs = op->worker->fs;
	int r = 0;

	if (op->flags & O_TRUNC && op->phase < ATTR_SIZED) {
		op->off = 0;
		op->valid &= SET_KILL_PRIV;
		r = file_truncate(op);
		if (r)
			return r;
		op->phase = ATTR_SIZED;
		op->own_errors = false;
	}
	fs_lock_shared(fs);
	r = open_locked(op);
	fs_unlock(fs);
	return r;
}

/* May be what makes an orphan ready for reaping. It cannot fail. */
int fs_release(struct op *op)
{
	inode_closed(op->worker->fs, op->ino);
	return 0;
}

/* Data was written before its transaction committed, so there is only the journal to wait for. Once frozen every fsync
 * fails, also one with nothing to wait for: the kernel may have lost what could not be written. */
int fs_fsync(struct op *op)
{
	int frozen = atomic_load(&op->worker->fs->frozen);

	return frozen ? frozen : txn_sync(op);
}
