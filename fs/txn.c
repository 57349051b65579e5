/* SPDX-License-Identifier: Apache-2.0 */
/* The one transaction that can be open: its bytes for the journal, and the blocks that its keys gain and lose. What
 * callers may rely on stands in txn.h.
 *  1. fs->txn is used under the exclusive lock only (or before anybody else runs, at replay); so one buffer serves
 *     all.
 *  2. While it is open no node is evicted (nodes->hold): what was gathered stays in memory.
 *  3. Blocks change hands in finish(), after all keys: only then it is known which of them are named again. */
#include "fs/txn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "fs/alloc_core.h"
#include "fs/checkpoint.h"
#include "fs/journal.h"
#include "fs/node.h"
#include "fs/pressure.h"
#include "fs/tree_edit.h"
#include "fs/txn_core.h"

/* Device blocks [block, end). */
struct range {
	uint64_t block, end;
};

/* A change of one key names at most one extent before and one after, so TXN_KEYS bounds both arrays; one place is
 * to spare, since a range is parsed into the next place before it is counted. */
struct txn {
	bool open, replay;
	uint32_t len, nops;
	unsigned nuse, nfree;
	struct range use[TXN_KEYS + 1], gone[TXN_KEYS + 1];
	uint8_t bytes[TXN_MAX];
};

int txn_new(struct fs *fs)
{
	fs->txn = calloc(1, sizeof(*fs->txn));
	return fs->txn ? 0 : -ENOMEM;
}

void txn_free(struct fs *fs)
{
	free(fs->txn);
	fs->txn = NULL;
}

/* replay: the bytes come from the journal, so none are collected for it. */
static void start(struct fs *fs, bool replay)
{
	struct txn *t = fs->txn;

	assert(!t->open);
	t->open = true;
	t->replay = replay;
	t->len = sizeof(struct txn_disk);
	t->nops = t->nuse = t->nfree = 0;
	fs->nodes->hold = true;
}

/* States that end it at once come first, then what may park. Only memory for nodes is set aside: the lock, which is
 * held until after txn_commit, keeps what the other checks found true. */
int txn_begin(struct op *op, unsigned nkeys, bool frees)
{
	struct fs *fs = op->worker->fs;
	const struct layout *l = alloc_layout(fs);
	int err = atomic_load(&fs->frozen);

	assert(nkeys <= TXN_KEYS);
	if (fs->conf.readonly)
		return -E_READ_ONLY;
	if (err)
		return err == -E_NOT_OURS ? err : -E_FROZEN;
	/* The rule of the dead writer (fs/claim.h). claim.c takes the waiters under the same lock. */
	if (!atomic_load(&fs->writable)) {
		struct waiter *w = op_wait_idle(op);

		if (w)
			waitq_add(&fs->wait_writable, w);
		return -E_PARKED;
	}
	err = journal_ready(op);
	if (!err)
		err = alloc_ready(op, tree_cost(fs, nkeys), frees ? 0 : l->reserve_quads / 4);
	if (!err)
		err = nodes_ready(fs, tree_cost(fs, nkeys));
	if (err)
		return err;
	/* Blocks that were freed come back with a checkpoint only: one is asked for before there is need. */
	if (alloc_free_quads(fs) < l->reserve_quads / 2)
		checkpoint_request(fs);
	start(fs, false);
	return 0;
}

void txn_replay_begin(struct fs *fs)
{
	start(fs, true);
}

/* The blocks of an EXTENT item's value, if it is one that makes sense. Object 0 has none: its items are of the file
 * system itself. Blocks of a damaged item are not freed: a leak is harmless, a block freed twice is not. */
static bool extent_blocks(struct fs *fs, const struct key *k, const void *val, uint32_t len, struct range *r)
{
	struct extent_disk e;

	if (k->type != ITEM_EXTENT || k->object == 0)
		return false;
	if (len >= sizeof(e)) {
		memcpy(&e, val, sizeof(e));
		r->block = get64(e.block);
		r->end = r->block + get16(e.stored_blocks);
		if (alloc_range_ok(fs, r->block, get16(e.stored_blocks)))
			return true;
	}
	log_error("damaged extent of inode %llu at block %llu: its blocks stay allocated", (unsigned long long)k->object,
		  (unsigned long long)k->offset);
	return false;
}

/* What the key holds now is about to go. Only extents own blocks, and only inodes are counted; tree_peek may not
 * miss, since the caller has gathered the key. */
static void before_change(struct fs *fs, const struct key *k, bool put)
{
	struct txn *t = fs->txn;
	struct item old;
	bool there;

	if (k->type != ITEM_EXTENT && k->type != ITEM_INODE)
		return;
	there = tree_peek(fs, k, &old);
	if (k->type == ITEM_INODE)
		fs->inodes_used += (uint64_t)(put && !there) - (uint64_t)(!put && there);
	else if (there && extent_blocks(fs, k, old.val, old.len, &t->gone[t->nfree]))
		t->nfree++;
	assert(t->nfree <= TXN_KEYS);
}

/* Appends one change as it will stand in the record (FORMAT.md). The assertion is on callers, who bound their keys. */
static void log_op(struct txn *t, uint8_t op, const struct key *k, const void *head, uint32_t head_len,
		   const void *tail, uint32_t tail_len)
{
	struct txnop_disk d = { .op = op, .key = key_store(k), .len = put16((uint16_t)(head_len + tail_len)) };

	if (t->replay)
		return;
	assert(t->len + sizeof(d) + head_len + tail_len <= TXN_MAX);
	memcpy(t->bytes + t->len, &d, sizeof(d));
	t->len += (uint32_t)sizeof(d);
	if (head_len)
		memcpy(t->bytes + t->len, head, head_len);
	if (tail_len)
		memcpy(t->bytes + t->len + head_len, tail, tail_len);
	t->len += head_len + tail_len;
	t->nops++;
}

void txn_put_fs(struct fs *fs, const struct key *k, const void *head, uint32_t head_len, const void *tail,
		uint32_t tail_len)
{
	struct txn *t = fs->txn;
	uint8_t start_of[sizeof(struct extent_disk)];

	assert(t->open);
	before_change(fs, k, true);
	if (k->type == ITEM_EXTENT && k->object) {
		/* Extents are put with the fixed part as head, or as one piece; replay has checked the length. */
		assert(head_len >= sizeof(start_of));
		memcpy(start_of, head, sizeof(start_of));
		if (extent_blocks(fs, k, start_of, sizeof(start_of), &t->use[t->nuse]))
			t->nuse++;
		assert(t->nuse <= TXN_KEYS);
	}
	log_op(t, OP_PUT, k, head, head_len, tail, tail_len);
	tree_put(fs, k, head, head_len, tail, tail_len);
}

void txn_del_fs(struct fs *fs, const struct key *k)
{
	assert(fs->txn->open);
	before_change(fs, k, false);
	log_op(fs->txn, OP_DEL, k, NULL, 0, NULL, 0);
	tree_del(fs, k);
}

/* For replay, which may not trust the journal to delete only what is there. */
bool txn_del_checked(struct fs *fs, const struct key *k)
{
	struct item it;

	if (!tree_peek(fs, k, &it))
		return false;
	txn_del_fs(fs, k);
	return true;
}

void txn_put(struct op *op, const struct key *k, const void *head, uint32_t head_len, const void *tail, uint32_t tail_len)
{
	txn_put_fs(op->worker->fs, k, head, head_len, tail, tail_len);
}

void txn_del(struct op *op, const struct key *k)
{
	txn_del_fs(op->worker->fs, k);
}

/* Never used again, even if the inode goes: the watermark is logged with each transaction. */
uint64_t txn_new_ino(struct op *op)
{
	assert(op->worker->fs->txn->open);
	return op->worker->fs->ino_next++;
}

/* Calls fn for the parts of r that no range of minus covers. Quadratic, over at most TXN_KEYS ranges. */
static void each_rest(struct fs *fs, struct range r, const struct range *minus, unsigned n,
		      void (*fn)(struct fs *, uint64_t, uint32_t))
{
	while (r.block < r.end) {
		uint64_t end = r.end;
		bool covered = false;

		for (unsigned i = 0; i < n; i++) {
			if (minus[i].block <= r.block && r.block < minus[i].end) {
				r.block = MIN(minus[i].end, r.end);
				covered = true;
				break;
			}
			if (minus[i].block > r.block)
				end = MIN(end, minus[i].block);
		}
		if (covered)
			continue;
		fn(fs, r.block, (uint32_t)(end - r.block));
		r.block = end;
	}
}

/* Blocks follow keys: what is named no more is freed, what is named newly is live. */
static void settle_blocks(struct fs *fs)
{
	struct txn *t = fs->txn;

	for (unsigned i = 0; i < t->nfree; i++)
		each_rest(fs, t->gone[i], t->use, t->nuse, alloc_free);
	for (unsigned i = 0; i < t->nuse; i++)
		each_rest(fs, t->use[i], t->gone, t->nfree, alloc_use);
}

/* Blocks of both lists at once are neither freed nor used: an extent that was split keeps its own. */
static void finish(struct fs *fs)
{
	settle_blocks(fs);
	fs->txn->open = false;
	fs->nodes->hold = false;
	atomic_fetch_add_explicit(&fs->txns, 1, memory_order_relaxed);
}

/* From here on it is visible to everybody; journal_append decides when it becomes durable. Exclusive lock held. */
void txn_commit(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct txn *t = fs->txn;
	struct txn_disk h = { .length = put32(t->len), .nops = put32(t->nops), .ino_watermark = put64(fs->ino_next) };

	memcpy(t->bytes, &h, sizeof(h));
	finish(fs);
	journal_append(op->worker, t->bytes, t->len);
	pressure_check(op->worker, false);
}

/* No journal: these changes came from it, and it is let go only by a checkpoint that holds them. */
void txn_replay_commit(struct fs *fs)
{
	finish(fs);
}
