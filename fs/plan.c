/* SPDX-License-Identifier: Apache-2.0 */
/* Plans: a range of a file's extents replaced by new pieces (or by nothing) in one transaction.
 *
 *      before   |---- a ----|-- b --|   |------ c ------|
 *      range          [first                  end)
 *      after    |left |  pieces ...           |  right  |
 *
 * Remainders keep their blocks and birth; b's key goes unless a piece starts there; a piece that continues the extent
 * before it on the device, born with it, joins it. */
#include <string.h>
#include "fs/extent.h"
#include "fs/txn.h"

/* crcs stays as it is: only the first n count, and the callers fill them in. */
static void item_init(struct plan_item *it, uint64_t start, uint64_t block, uint64_t birth, uint32_t n, bool unwritten)
{
	it->start = start;
	it->disk = (struct extent_disk){ .block = put64(block), .birth = put64(birth), .nblocks = put16((uint16_t)n),
		.stored_blocks = put16((uint16_t)n), .flags = unwritten ? EXTENT_UNWRITTEN : 0, .csum_type = CSUM_CRC32C };
}

/* Blocks [from, from+n) of e as an item of their own. */
static void item_part(struct plan_item *it, const struct extent *e, uint32_t from, uint32_t n)
{
	item_init(it, e->start + from, e->block + from, e->birth, n, e->unwritten);
	if (!e->unwritten)
		memcpy(it->crcs, e->crcs + 4 * from, 4 * n);
}

static uint32_t item_blocks(const struct plan_item *it)
{
	return get16(it->disk.nblocks);
}

/* The fixed part is the head, as txn_put wants it of extents; unwritten ones have no checksums. */
static void item_put(struct op *op, uint64_t ino, const struct plan_item *it)
{
	struct key key = KEY(ino, ITEM_EXTENT, it->start);
	uint32_t crcs = it->disk.flags & EXTENT_UNWRITTEN ? 0 : item_blocks(it);

	txn_put(op, &key, &it->disk, sizeof(it->disk), it->crcs, crcs * (uint32_t)sizeof(le32));
}

/* The checksums of a piece from its runs, behind those that are there. */
static void piece_crcs(struct op *op, const struct piece *p, le32 *out)
{
	uint32_t run = p->run, page = p->page;

	for (uint32_t i = 0; i < p->n; i++, page++) {
		while (page == op->runs[run]->npages) {
			run++;
			page = 0;
		}
		out[i] = put32(op->runs[run]->crcs[page]);
	}
}

/* Takes one old extent into the plan; -E2BIG: no room, the plan has to end before it. Three cases: it begins before
 * the range (its key stays, with less), it lies inside (its key goes), it reaches beyond the end (a new key there);
 * one that does both, first and last, is cut in two. */
static int plan_old(struct plan *p, const struct extent *e)
{
	uint64_t from = MAX(e->start, p->first), to = MIN(extent_end(e), p->end);
	uint32_t skip = (uint32_t)(from - e->start), n = (uint32_t)(to - from);

	if (e->start >= p->first && p->ndels == PLAN_DELS)
		return -E2BIG;
	if (e->start < p->first) {
		p->left = true;
		item_part(&p->left_item, e, 0, skip);
		p->cut[p->ncuts].block = e->block + skip;
		p->cut[p->ncuts++].n = n;
	} else {
		p->dels[p->ndels].start = e->start;
		p->dels[p->ndels].block = e->block;
		p->dels[p->ndels++].n = n;
	}
	if (extent_end(e) > p->end) {
		p->right = true;
		item_part(&p->right_item, e, skip + n, e->n - skip - n);
	}
	p->freed += n;
	return 0;
}

/* Does the first piece continue e, which ends where it begins? */
static void plan_merge(struct op *op, struct plan *p, const struct extent *e)
{
	const struct piece *n = p->pieces;

	if (!p->npieces || n->start != p->first || extent_end(e) != n->start || e->unwritten || e->birth != n->birth ||
	    e->block + e->n != n->block || e->n + n->n > EXTENT_MAX)
		return;
	p->merge = true;
	item_part(&p->merge_item, e, 0, e->n);
	p->merge_item.disk.nblocks = p->merge_item.disk.stored_blocks = put16((uint16_t)(e->n + n->n));
	piece_crcs(op, n, p->merge_item.crcs + e->n);
}

static int plan_collect(struct op *op, struct plan *p)
{
	struct extent_iter it;
	struct extent e;
	int r;

	if (p->first >= p->end)
		return 0;
	/* One block earlier, to see the extent that ends where the range begins: a candidate for joining. */
	for (r = extent_first(&it, op, p->ino, p->first ? p->first - 1 : 0, p->end, &e); !r; r = extent_next(&it, &e)) {
		if (extent_end(&e) <= p->first) {
			plan_merge(op, p, &e);
			continue;
		}
		if (plan_old(p, &e) == -E2BIG) {
			p->end = e.start;
			break;
		}
	}
	return r == -ENOENT ? 0 : r;
}

/* Its leaf must be in memory before the transaction begins; whether it is there does not matter. */
static int gather_key(struct op *op, uint64_t ino, uint64_t start)
{
	struct key key = KEY(ino, ITEM_EXTENT, start);
	struct item item;
	int r = tree_get(op, &key, &item);

	return r == -ENOENT ? 0 : r;
}

/* Begins with an empty gathered part. Pieces beyond PLAN_PIECES are left to the next transaction. */
int plan_gather(struct op *op, struct plan *p)
{
	int r;

	p->ndels = p->ncuts = 0;
	p->left = p->right = p->merge = false;
	p->freed = p->added = 0;
	if (p->npieces > PLAN_PIECES) {
		p->npieces = PLAN_PIECES;
		p->end = p->pieces[PLAN_PIECES].start;
	}
	r = plan_collect(op, p);
	/* Cut short in collect: pieces beyond the new end belong to the next transaction, and so does a part of one. */
	while (!r && p->npieces && p->pieces[p->npieces - 1].start >= p->end)
		p->npieces--;
	for (unsigned i = 0; !r && i < p->npieces; i++) {
		p->added += MIN(p->pieces[i].n, p->end - p->pieces[i].start);
		r = gather_key(op, p->ino, p->pieces[i].start);
	}
	if (!r && p->right)
		r = gather_key(op, p->ino, p->end);
	if (p->merge && p->npieces && p->pieces[0].start + p->pieces[0].n > p->end)
		p->merge = false;
	return r;
}

/* An upper bound: a del whose place a piece takes is counted twice. */
unsigned plan_keys(const struct plan *p)
{
	return p->ndels + p->npieces + p->left + p->right + p->merge;
}

/* A merged first piece has no key of its own. */
static bool piece_starts(const struct plan *p, uint64_t start)
{
	for (unsigned i = p->merge; i < p->npieces; i++)
		if (p->pieces[i].start == start)
			return true;
	return false;
}

/* Inside a transaction. A key that a piece replaces is not deleted first: one put does both, and the transaction
 * sees the old value in either case. */
void plan_apply(struct op *op, const struct plan *p)
{
	for (unsigned i = 0; i < p->ndels; i++) {
		struct key key = KEY(p->ino, ITEM_EXTENT, p->dels[i].start);

		if (!piece_starts(p, p->dels[i].start))
			txn_del(op, &key);
	}
	if (p->left)
		item_put(op, p->ino, &p->left_item);
	if (p->merge)
		item_put(op, p->ino, &p->merge_item);
	for (unsigned i = p->merge; i < p->npieces; i++) {
		struct piece n = p->pieces[i];
		struct plan_item it;

		n.n = (uint32_t)MIN(n.n, p->end - n.start);
		item_init(&it, n.start, n.block, n.birth, n.n, false);
		piece_crcs(op, &n, it.crcs);
		item_put(op, p->ino, &it);
	}
	if (p->right)
		item_put(op, p->ino, &p->right_item);
}

/* Not needed for correctness, since a block's next content has another birth: it makes room. */
void plan_forget(struct op *op, const struct plan *p)
{
	struct cache *cache = op->worker->fs->cache;

	for (unsigned i = 0; i < p->ndels; i++)
		cache_drop(cache, p->dels[i].block, p->dels[i].n);
	for (unsigned i = 0; i < p->ncuts; i++)
		cache_drop(cache, p->cut[i].block, p->cut[i].n);
}
