/* SPDX-License-Identifier: Apache-2.0 */
/* Background work, one bounded transaction a call: what has no name and no user goes item by item, then the inode and
 * its ORPHAN item together; truncates that were cut off are completed. After a mount the ORPHAN items tell what is due. */
#include <string.h>
#include "base/log.h"
#include "fs/dir.h"
#include "fs/inode.h"
#include "fs/namei.h"
#include "fs/ops.h"
#include "fs/range.h"
#include "fs/store.h"
#include "fs/txn.h"

#define REAP_KEYS 48u
#define SCAN_ITEMS 64u

/* ---- what former mounts left ---- */

/* ORPHAN items from *next on become known; *next = 0 at the end. Shared lock. */
static int scan(struct op *op, uint64_t *next)
{
	struct key key = KEY(0, ITEM_ORPHAN, *next);
	struct cursor c;
	struct item item;
	unsigned n = 0;
	int r;

	for (r = cursor_first(&c, op, &key, &item); !r; r = cursor_next(&c, &item)) {
		if (item.key.object || item.key.type != ITEM_ORPHAN)
			r = -ENOENT;
		if (r || n++ == SCAN_ITEMS)
			break;
		orphan_known(op->worker->fs, item.key.offset);
		*next = item.key.offset + 1;
	}
	if (r == -ENOENT)
		*next = 0;
	return r == -ENOENT ? 0 : r;
}

static int scan_step(struct op *op)
{
	struct fs *fs = op->worker->fs;
	uint64_t *next = inodes_scan(fs);
	int r;

	if (!*next)
		return 0;
	fs_lock_shared(fs);
	r = scan(op, next);
	fs_unlock(fs);
	if (r && r != -E_PARKED) {
		log_error("orphaned files cannot be listed: %s", err_text(r));
		*next = 0;
	}
	inodes_scan(fs); /* notices the end */
	return r;
}

/* ---- an inode without a name ---- */

struct heap {                  /* items of one step */
	struct key keys[REAP_KEYS];
	struct { uint64_t block; uint32_t n; } blocks[REAP_KEYS];
	unsigned nkeys, nblocks;
	uint64_t freed;
	bool all;                  /* nothing but the inode item is left behind them */
};

static int heap_take(struct op *op, struct heap *h, const struct item *item)
{
	struct extent e;

	h->keys[h->nkeys++] = item->key;
	if (item->key.type != ITEM_EXTENT)
		return 0;
	if (extent_parse(op->worker->fs, item, &e))
		return -E_BAD_ITEM; /* better a leak than somebody else's blocks */
	h->blocks[h->nblocks].block = e.block;
	h->blocks[h->nblocks++].n = e.n;
	h->freed += e.n;
	return 0;
}

static int heap_gather(struct op *op, struct heap *h)
{
	struct key key = KEY(op->ino, ITEM_INODE + 1, 0);
	struct cursor c;
	struct item item;
	int r;

	h->nkeys = h->nblocks = 0;
	h->freed = 0;
	for (r = cursor_first(&c, op, &key, &item); !r; r = cursor_next(&c, &item)) {
		if (item.key.object != op->ino) {
			r = -ENOENT;
			break;
		}
		if (h->nkeys == REAP_KEYS)
			break;
		r = heap_take(op, h, &item);
		if (r)
			return r;
	}
	h->all = r == -ENOENT;
	return r == -ENOENT ? 0 : r;
}

static void heap_apply(struct op *op, const struct heap *h, struct inode_disk *d)
{
	struct key inode_key = KEY(op->ino, ITEM_INODE, 0), orphan_key = KEY(0, ITEM_ORPHAN, op->ino);
	uint64_t blocks = get64(d->blocks);

	for (unsigned i = 0; i < h->nkeys; i++)
		txn_del(op, &h->keys[i]);
	if (h->all) {
		txn_del(op, &inode_key);
		txn_del(op, &orphan_key);
	} else {
		d->blocks = put64(blocks - MIN(blocks, h->freed));
		inode_store(op, op->ino, d);
	}
}

/* The inode item and ORPHAN go in the last step, together: until then every crash finds the way back here. */
static int remove_step(struct op *op, struct inode_disk *d)
{
	struct fs *fs = op->worker->fs;
	struct heap h;
	int r = heap_gather(op, &h);

	if (!r)
		r = txn_begin(op, h.nkeys + 2, true);
	if (r)
		return r;
	heap_apply(op, &h, d);
	txn_commit(op);
	for (unsigned i = 0; i < h.nblocks; i++)
		cache_drop(fs->cache, h.blocks[i].block, h.blocks[i].n);
	return !h.all;
}

/* ---- one step ---- */

/* Its truncate is not finished. Locks the range as a truncate does; nobody may be writing there meanwhile. */
static int truncate_step(struct op *op, const struct inode_disk *d)
{
	uint64_t first = DIV_UP(inode_size(d), FS_BLOCK);
	struct change c = { .first = first, .end = FILE_BLOCKS, .how = SIZE_KEEP, .no_data = true, .frees = true, .steps = true };

	op->scratch[S_NEXT] = 0;
	return store_commit_step(op, &c);
}

/* Does what the ORPHAN item of op->ino asks for. 1: not done yet. */
static int orphan_step(struct op *op)
{
	struct key key = KEY(0, ITEM_ORPHAN, op->ino);
	struct inode_disk d;
	struct item item;
	int r = tree_get(op, &key, &item);

	if (r)
		return r == -ENOENT ? 0 : r; /* somebody completed the truncate */
	r = inode_load(op, op->ino, &d);
	if (r)
		return r == -ENOENT ? -E_BAD_ITEM : r;
	if (!get32(d.nlink))
		return remove_step(op, &d);
	return get32(d.flags) & INODE_TRUNCATE ? truncate_step(op, &d) : -E_BAD_ITEM;
}

/* An error takes it out of the queue until the next mount, so that one damaged inode does not hold up the others; want of
 * space or memory is no such error. */
static int reap_one(struct op *op)
{
	struct fs *fs = op->worker->fs;
	int r;

	if (!op->inode)
		op->inode = inode_reap_next(fs);
	if (!op->inode)
		return 0;
	op->ino = op->inode->ino;
	r = op->error ? op->error : range_lock(op, 0, RANGE_END);
	if (r == -E_PARKED)
		return r;
	if (!r) {
		fs_lock_excl(fs);
		r = orphan_step(op);
		fs_unlock(fs);
	}
	if (r == -E_PARKED)
		return r;
	range_unlock(op);
	if (r < 0 && r != -E_FROZEN)
		log_error("inode %llu cannot be reaped: %s", (unsigned long long)op->ino, err_text(r));
	if (r <= 0 && r != -E_NO_SPACE && r != -ENOMEM && r != -E_NO_FRAMES)
		inode_reaped(fs, op->inode);
	return r > 0 ? 0 : r;
}

int fs_reap(struct op *op)
{
	int r = fs_may_write(op->worker->fs);

	op->own_errors = true;
	if (!r && !op->inode)
		r = op->error ? op->error : scan_step(op);
	if (!r)
		r = reap_one(op);
	if (r != -E_PARKED)
		op->result = !r && fs_reap_pending(op->worker->fs);
	return r;
}
