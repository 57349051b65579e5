/* SPDX-License-Identifier: Apache-2.0 */
/* Reading extent items, and walking a file's. */
#include <string.h>
#include "fs/extent.h"

/* What this version can read: uncompressed, CRC32C, not shared. Other values are in the format but nothing writes
 * them yet; a mount that met one would not know what the blocks mean. */
static int form_check(const struct extent_disk *d, uint32_t len)
{
	uint32_t n = get16(d->nblocks), crcs = d->flags & EXTENT_UNWRITTEN ? 0 : n;

	if (!n || n > EXTENT_MAX || get16(d->stored_blocks) != n || get32(d->stored_bytes))
		return -E_BAD_ITEM;
	if (d->encoding != ENCODING_NONE || d->csum_type != CSUM_CRC32C || d->flags & ~EXTENT_UNWRITTEN)
		return -E_BAD_ITEM;
	return len == sizeof(*d) + crcs * sizeof(le32) ? 0 : -E_BAD_ITEM;
}

/* Everything that a caller will compute with is bounded here: the place by the device, the range by the longest
 * file, the birth by the running generation (a later one would name content that cannot exist). */
int extent_parse(const struct fs *fs, const struct item *item, struct extent *e)
{
	const struct extent_disk *d = (const void *)item->val;

	if (item->len < sizeof(*d) || form_check(d, item->len))
		return -E_BAD_ITEM;
	*e = (struct extent){ .start = item->key.offset, .block = get64(d->block), .birth = get64(d->birth),
		.n = get16(d->nblocks), .unwritten = d->flags & EXTENT_UNWRITTEN };
	e->crcs = e->unwritten ? NULL : item->val + sizeof(*d);
	if (!e->block || !range_fits(e->block, e->n, fs->nblocks) || !range_fits(e->start, e->n, FILE_BLOCKS))
		return -E_BAD_ITEM;
	return e->birth && e->birth <= fs->gen ? 0 : -E_BAD_ITEM;
}

/* The item under the cursor, if it is one of ours; -ENOENT ends the walk. */
static int accept(struct extent_iter *it, const struct item *item, struct extent *e)
{
	int r;

	if (item->key.object != it->ino || item->key.type != ITEM_EXTENT || item->key.offset >= it->end)
		return -ENOENT;
	r = extent_parse(it->cursor.op->worker->fs, item, e);
	if (r)
		return r;
	if (e->start < it->last)
		return -E_BAD_ITEM; /* overlaps the one before */
	it->last = extent_end(e);
	return 0;
}

/* The extent that reaches into the range may begin long before it, so the search begins at the floor of first; one
 * that ends before first is passed over. */
int extent_first(struct extent_iter *it, struct op *op, uint64_t ino, uint64_t first, uint64_t end, struct extent *e)
{
	struct key key = KEY(ino, ITEM_EXTENT, first), from = key;
	struct item item;
	int r = tree_floor(op, &key, &item);

	it->ino = ino;
	it->end = end;
	it->last = 0;
	if (r && r != -ENOENT)
		return r;
	if (!r && item.key.object == ino && item.key.type == ITEM_EXTENT)
		from = item.key; /* begins before first, may reach into it */
	r = cursor_first(&it->cursor, op, &from, &item);
	if (!r)
		r = accept(it, &item, e);
	if (!r && extent_end(e) <= first)
		r = extent_next(it, e);
	return r;
}

int extent_next(struct extent_iter *it, struct extent *e)
{
	struct item item;
	int r = cursor_next(&it->cursor, &item);

	return r ? r : accept(it, &item, e);
}

/* Only a hint: a damaged extent gives none, and the allocator takes another place if this one is in use. */
int extent_goal(struct op *op, uint64_t ino, uint64_t fb, uint64_t *goal)
{
	struct key key = KEY(ino, ITEM_EXTENT, fb);
	struct extent e;
	struct item item;
	int r = tree_floor(op, &key, &item);

	*goal = 0;
	if (r == -ENOENT)
		return 0;
	if (r)
		return r;
	if (item.key.object == ino && item.key.type == ITEM_EXTENT && !extent_parse(op->worker->fs, &item, &e))
		*goal = e.block + e.n;
	return 0;
}
