/* SPDX-License-Identifier: Apache-2.0 */
/* Pass 0 reads the chain of records into memory. Pass 1 holds the blocks of every EXTENT that any of them puts, so that
 * the nodes which pass 2 copies do not land on data. Pass 2 applies transaction by transaction, as they were
 * committed, with the same functions. */
#include "fs/replay.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "fs/alloc_core.h"
#include "fs/fs_core.h"
#include "fs/journal.h"
#include "fs/node.h"
#include "fs/super.h"
#include "fs/tree_edit.h"
#include "fs/txn_core.h"

/* Records are kept in memory between the passes: the ring is at most 64 MiB. */
struct scan {
	struct fs *fs;
	uint8_t **record;          /* malloc'd, each of its own length */
	size_t n, room;
};

/* -ENOMEM leaves s as it was; replay_journal frees it. */
static int keep(struct scan *s, const void *data, size_t len)
{
	uint8_t *copy;

	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		uint8_t **r = realloc(s->record, room * sizeof(*r));

		if (!r)
			return -ENOMEM;
		s->record = r;
		s->room = room;
	}
	copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, len);
	s->record[s->n++] = copy;
	return 0;
}

/* The record that follows, at pos or, if there is none, at the ring's head: a writer that had no room before the
 * end went there. *len 0: the chain ends here. The length is believed only for how much to read; record_check
 * compares it. */
static int next_record(struct scan *s, struct replay *r, uint64_t *pos, uint8_t *buf, uint32_t *len)
{
	struct fs *fs = s->fs;
	uint64_t start = get64(fs->super.journal_start), size = get64(fs->super.journal_len), try[2] = { *pos, 0 };

	*len = 0;
	for (unsigned i = 0; i < (*pos ? 2u : 1u); i++) {
		uint32_t blocks = (uint32_t)MIN(RECORD_MAX / FS_BLOCK, size - try[i]);
		int err = ns_read_sync(fs->ns, start + try[i], 1, buf);

		if (err)
			return err;
		blocks = (uint32_t)MIN(blocks, DIV_UP(get32(((struct record_disk *)(void *)buf)->length), FS_BLOCK));
		if (blocks > 1)
			err = ns_read_sync(fs->ns, start + try[i], blocks, buf);
		if (err)
			return err;
		if (record_check(buf, (size_t)blocks * FS_BLOCK, fs->super.uuid, get64(fs->super.epoch), r->next_seq,
				 r->prev_crc))
			continue;
		*pos = try[i];
		*len = get32(((struct record_disk *)(void *)buf)->length);
		return 0;
	}
	return 0;
}

/* committed_gen above the superblock's: a newer one was durable when the record was written, and cannot be found
 * any more. scanned bounds the walk: a ring cannot hold more. */
static int scan_chain(struct scan *s, struct replay *r)
{
	uint64_t pos = get64(s->fs->super.journal_pos), size = get64(s->fs->super.journal_len), scanned = 0;
	uint8_t *buf = aligned_alloc(FS_BLOCK, RECORD_MAX);
	uint32_t len;
	int err;

	if (!buf)
		return -ENOMEM;
	while (!(err = next_record(s, r, &pos, buf, &len)) && len > 0 && scanned <= size) {
		const struct record_disk *h = (void *)buf;

		if (get64(h->committed_gen) > get64(s->fs->super.gen)) {
			err = -E_ROTTEN_SUPER;
			break;
		}
		err = keep(s, buf, len);
		if (err)
			break;
		r->prev_crc = get32(h->crc);
		r->next_seq++;
		pos += DIV_UP(len, FS_BLOCK);
		scanned += DIV_UP(len, FS_BLOCK);
		pos = pos >= size ? 0 : pos;
		r->next_pos = pos;
	}
	free(buf);
	return err;
}

/* ---- walking a record's bytes ---- */

/* Borrows the record's bytes. */
struct walk {
	const uint8_t *p, *end;
};

struct change {
	uint8_t op;
	struct key key;
	const uint8_t *val;
	uint16_t len;
};

/* The checksum held, so damage is unlikely here; lengths are checked all the same, for images can be made by hand. */
static int next_change(struct walk *w, struct change *c)
{
	struct txnop_disk d;

	if ((size_t)(w->end - w->p) < sizeof(d))
		return -E_BAD_ITEM;
	memcpy(&d, w->p, sizeof(d));
	*c = (struct change){ .op = d.op,
			      .key = KEY(get64(d.key.object), d.key.type, get64(d.key.offset)),
			      .val = w->p + sizeof(d),
			      .len = get16(d.len) };
	w->p += sizeof(d);
	if (c->len > VALUE_MAX || c->len > w->end - w->p || (c->op != OP_PUT && c->op != OP_DEL))
		return -E_BAD_ITEM;
	w->p += c->len;
	return 0;
}

/* Pass 1: what any transaction makes live is held, also if a later one frees it again. */
static int check_change(struct fs *fs, const struct change *c)
{
	struct extent_disk e;

	if (c->op != OP_PUT || c->key.type != ITEM_EXTENT || c->key.object == 0)
		return 0;
	if (c->len < sizeof(e))
		return -E_BAD_ITEM;
	memcpy(&e, c->val, sizeof(e));
	/* At most one checkpoint can have been under way: births are at most two generations ahead. */
	if (!alloc_range_ok(fs, get64(e.block), get16(e.stored_blocks)) || get64(e.birth) > get64(fs->super.gen) + 2)
		return -E_BAD_ITEM;
	return alloc_hold(fs, get64(e.block), get16(e.stored_blocks));
}

/* ---- applying ---- */

/* All keys are asked for before parking once. Not there is fine: puts make new ones. */
static int gather(struct op *op, struct walk w, uint32_t nops)
{
	struct change c;
	struct item it;
	int err = 0, parked = 0;

	for (uint32_t i = 0; i < nops && !err; i++) {
		err = next_change(&w, &c);
		if (!err)
			err = tree_get(op, &c.key, &it);
		if (err == -ENOENT)
			err = 0;
		if (err == -E_PARKED) {
			parked = err;
			err = 0;
		}
	}
	return err ? err : parked;
}

/* An error leaves the tree in memory half changed: the mount is given up then, and the device is as it was. */
static int apply(struct fs *fs, struct walk w, uint32_t nops)
{
	struct change c;
	int err = 0;

	txn_replay_begin(fs);
	for (uint32_t i = 0; i < nops && !err; i++) {
		err = next_change(&w, &c);
		if (!err && c.op == OP_PUT)
			txn_put_fs(fs, &c.key, c.val, c.len, NULL, 0);
		else if (!err && !txn_del_checked(fs, &c.key))
			err = -E_BAD_ITEM;
	}
	txn_replay_commit(fs);
	err = err ? err : alloc_error(fs);
	return err ? err : atomic_load(&fs->frozen); /* the tree turned out to be damaged */
}

/* op->in: the transaction's bytes. Exclusive lock for the sake of the functions it calls; nobody else is there yet.
 * No reserve is left out of reach: what was committed once has to fit again. */
static int replay_txn(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct txn_disk h;
	struct walk w;
	int err;

	memcpy(&h, op->in, sizeof(h));
	w.p = (const uint8_t *)op->in + sizeof(h);
	w.end = (const uint8_t *)op->in + get32(h.length);
	fs_lock_excl(fs);
	err = gather(op, w, get32(h.nops));
	if (!err)
		err = alloc_ready(op, tree_cost(fs, get32(h.nops)), 0);
	if (!err)
		err = nodes_ready(fs, tree_cost(fs, get32(h.nops)));
	if (!err)
		err = apply(fs, w, get32(h.nops));
	if (!err)
		fs->ino_next = MAX(fs->ino_next, get64(h.ino_watermark));
	fs_unlock(fs);
	return err;
}

/* Calls fn for each transaction of a record whose checksum held. Lengths are checked here once for both passes:
 * apply_txn may rely on t->length bytes and at most TXN_KEYS changes. */
static int each_txn(struct fs *fs, const uint8_t *record, int (*fn)(struct fs *, const uint8_t *, const struct txn_disk *))
{
	const struct record_disk *h = (const void *)record;
	const uint8_t *p = record + sizeof(*h), *end = record + get32(h->length);

	for (uint32_t i = 0; i < get32(h->count); i++) {
		struct txn_disk t;
		uint32_t len;
		int err;

		if ((size_t)(end - p) < sizeof(t))
			return -E_BAD_ITEM;
		memcpy(&t, p, sizeof(t));
		len = get32(t.length);
		if (len < sizeof(t) || len > (size_t)(end - p) || len > TXN_MAX || get32(t.nops) > TXN_KEYS)
			return -E_BAD_ITEM;
		err = fn(fs, p, &t);
		if (err)
			return err;
		p += len;
	}
	return 0;
}

/* Pass 1. */
static int hold_txn(struct fs *fs, const uint8_t *bytes, const struct txn_disk *t)
{
	struct walk w = { .p = bytes + sizeof(*t), .end = bytes + get32(t->length) };
	struct change c;
	int err = 0;

	for (uint32_t i = 0; i < get32(t->nops) && !err; i++) {
		err = next_change(&w, &c);
		if (!err)
			err = check_change(fs, &c);
	}
	return err;
}

/* Pass 2. Ops cannot run out: this is the only one. */
static int apply_txn(struct fs *fs, const uint8_t *bytes, const struct txn_disk *t)
{
	struct op *op = op_new(&fs->workers[0]);
	int err;

	op->run = replay_txn;
	op->in = bytes;
	err = op_run_sync(op);
	op_free(op);
	return err;
}

/* FUA: gone for good before the first checkpoint writes anything that they would not fit to. */
static int erase_blocks(struct fs *fs, uint64_t block, uint32_t n)
{
	static const uint8_t zeros[SUPER_BLOCKS * FS_BLOCK];

	return ns_write_sync(fs->ns, block, n, zeros, IO_FUA);
}

/* The slots that are newer than what was read; never the one that was read. Each round finds the newest one; a dead
 * session had at most one under way, so more rounds than slots are somebody who lives. */
static int settle_supers(struct fs *fs, bool erase)
{
	struct super_disk now;
	unsigned slot, tries = 0;
	int err;

	for (;;) {
		err = super_read(fs->ns, &now, &slot);
		if (err || (slot == fs->super_slot && !memcmp(&now, &fs->super, sizeof(now))))
			return err;
		if (!erase || slot == fs->super_slot || tries++ == RING_SLOTS)
			return -E_MOVED;
		log_info("a superblock of the former mount landed late (generation %llu): erased",
			 (unsigned long long)get64(now.gen));
		err = erase_blocks(fs, RING_A + slot * SUPER_BLOCKS, SUPER_BLOCKS);
		if (!err)
			err = erase_blocks(fs, get64(fs->super.ring_b) + slot * SUPER_BLOCKS, SUPER_BLOCKS);
		if (err)
			return err;
	}
}

/* Without its first block the first late record ends the chain. Begins where the recovered chain ended. */
static int settle_journal(struct fs *fs, bool erase)
{
	struct scan s = { .fs = fs };
	uint8_t *buf = aligned_alloc(FS_BLOCK, RECORD_MAX);
	int err = buf ? 0 : -ENOMEM;

	while (!err) {
		struct replay end = fs->recovered;
		uint64_t pos = end.next_pos;
		uint32_t len;

		err = next_record(&s, &end, &pos, buf, &len);
		if (err || !len)
			break;
		if (erase)
			log_info("a journal record of the former mount landed late: erased");
		err = erase ? erase_blocks(fs, get64(fs->super.journal_start) + pos, 1) : -E_MOVED;
	}
	free(buf);
	return err;
}

/* Superblocks first, then the chain that belongs to the one we found. */
int replay_settle(struct fs *fs, bool erase)
{
	int err = settle_supers(fs, erase);

	return err ? err : settle_journal(fs, erase);
}

/* An empty journal is the usual case after a clean unmount: no record, next_pos at the cut. */
int replay_journal(struct fs *fs, struct replay *r)
{
	struct scan s = { .fs = fs };
	int err;

	memset(r, 0, sizeof(*r));
	r->next_pos = get64(fs->super.journal_pos);
	r->next_seq = get64(fs->super.cut_seq) + 1;
	r->prev_crc = get32(fs->super.prev_crc);
	err = scan_chain(&s, r);
	for (size_t i = 0; i < s.n && !err; i++)
		err = each_txn(fs, s.record[i], hold_txn);
	for (size_t i = 0; i < s.n && !err; i++) {
		err = each_txn(fs, s.record[i], apply_txn);
		r->txns += get32(((struct record_disk *)(void *)s.record[i])->count);
	}
	r->records = s.n;
	for (size_t i = 0; i < s.n; i++)
		free(s.record[i]);
	free(s.record);
	return err;
}
