/* SPDX-License-Identifier: Apache-2.0 */
/* Changing a file's size, and holes made into it. Bytes past the end are zero on the device, so growing touches no data
 * and shrinking writes the new last block again; many extents go in steps (INODE_TRUNCATE, ORPHAN). */
#include <string.h>
#include <fcntl.h>
#include "fs/ops.h"
#include "fs/range.h"
#include "fs/store.h"
#include "fs/truncate.h"

/* Locks [first, last], or all of a file that is inline or has to finish a truncate, and does finish that. After
 * each lock the file is looked at again: it may have changed while the op waited. */
static int file_lock(struct op *op, uint64_t first, uint64_t last, struct file_view *v)
{
	for (;;) {
		bool unfinished, whole;
		int r = file_view(op, v);

		if (r)
			return r;
		unfinished = get32(v->inode.flags) & INODE_TRUNCATE;
		whole = v->is_inline || unfinished;
		if (!range_covers(op, whole ? 0 : first, whole ? RANGE_END : last))
			r = range_lock(op, whole ? 0 : first, whole ? RANGE_END : last);
		else if (unfinished)
			r = truncate_finish(op, &v->inode);
		else
			return 0;
		if (r)
			return r;
	}
}

/* A run with file block fb as it is, for a change of a part of it; 0 and NULL: a hole stays a hole. */
static int block_copy(struct op *op, uint64_t fb, struct run **out)
{
	struct run *old;
	uint32_t page;
	int r = block_read(op, fb, &old, &page);

	*out = NULL;
	if (r || !old)
		return r;
	*out = page_new(op, &r);
	if (*out)
		memcpy((*out)->mem, (uint8_t *)old->mem + (size_t)page * FS_BLOCK, FS_BLOCK);
	run_unpin(old);
	return r;
}

/* An inline file outgrows its item: its bytes in a block. page_new zeroes, so the rest of the block is zeros. */
static int inline_to_block(struct op *op, const struct file_view *v)
{
	struct run *run;
	int r;

	run = page_new(op, &r);
	if (!run)
		return r;
	memcpy(run->mem, v->bytes, v->len);
	op_pin_run(op, run);
	store_begin(op, 0, STORE_NO_LEAD);
	return 0;
}

/* ---- truncate ---- */

/* With a run the block of the new end is replaced, too. Only a truncate without one is sure to give space back. */
static void truncate_change(const struct op *op, struct change *c)
{
	uint64_t size = op->off;

	*c = (struct change){ .first = op->nruns ? size / FS_BLOCK : DIV_UP(size, FS_BLOCK), .end = FILE_BLOCKS, .how = SIZE_SET,
		.size = size, .mtime = true, .attrs = true, .frees = !op->nruns, .steps = true };
}

/* Everything before the data is stored; 1: done without. Growing needs no data: bytes past the end are zero
 * already. Cutting inside a block writes it again with its rest zeroed, or growing later would bring the old bytes
 * back. */
static int truncate_prepare(struct op *op)
{
	uint64_t size = op->off;
	struct file_view v;
	struct run *run = NULL;
	struct change c;
	int r = file_lock(op, size / FS_BLOCK, RANGE_END, &v);

	if (r)
		return r;
	truncate_change(op, &c);
	if (v.is_inline && size <= INLINE_MAX) {
		r = inline_store(op, v.bytes, (uint32_t)size, &c);
		return r ? r : 1;
	}
	if (v.is_inline)
		return inline_to_block(op, &v);
	if (size < inode_size(&v.inode) && size % FS_BLOCK)
		r = block_copy(op, size / FS_BLOCK, &run);
	if (r)
		return r;
	if (run) {
		memset((uint8_t *)run->mem + size % FS_BLOCK, 0, FS_BLOCK - size % FS_BLOCK);
		op_pin_run(op, run);
	}
	store_begin(op, size / FS_BLOCK, STORE_NO_LEAD);
	return 0;
}

/* c.first follows S_FIRST, for an inline file's bytes go to block 0 whatever the new size is. */
static int truncate_run(struct op *op)
{
	struct change c;
	int r = store_error(op);

	if (!r && op->phase < STORE_ALLOC)
		r = truncate_prepare(op);
	if (!r && op->phase < STORE_STORED)
		r = store_data(op);
	if (r)
		return r == 1 ? 0 : r;
	truncate_change(op, &c);
	if (op->scratch[S_FIRST] < c.first && op->nruns)
		c.first = op->scratch[S_FIRST];
	return store_commit(op, &c);
}

/* op->result held the deadline of its waits for frames (op_retry_later): not a result. */
int file_truncate(struct op *op)
{
	int r = op->off > FILE_MAX ? -EFBIG : fs_may_write(op->worker->fs);

	op->own_errors = true;
	if (!r)
		r = inode_hold(op, false);
	if (!r)
		r = truncate_run(op);
	if (r == -E_PARKED)
		return r;
	store_end(op, r);
	op->result = 0;
	return r;
}

/* ---- holes ---- */

/* op->rdev is the length: op->len has 32 bits. */
static uint64_t zero_end(const struct op *op)
{
	return op->off + op->rdev;
}

/* Only FALLOC_FL_ZERO_RANGE without KEEP_SIZE makes a file longer. */
static bool grows(const struct op *op, const struct file_view *v)
{
	return !(op->mode & FALLOC_FL_KEEP_SIZE) && zero_end(op) > inode_size(&v->inode);
}

/* 1: done. A file that outgrows its item goes to a block, with the zeros in it already. */
static int zero_inline(struct op *op, struct file_view *v)
{
	uint64_t end = MIN(zero_end(op), INLINE_MAX), size = grows(op, v) ? zero_end(op) : inode_size(&v->inode);
	struct change c = { .size = size, .mtime = true };
	int r;

	if (op->off < end)
		memset(v->bytes + op->off, 0, end - op->off);
	if (size > INLINE_MAX)
		return inline_to_block(op, v);
	r = inline_store(op, v->bytes, (uint32_t)size, &c);
	return r ? r : 1;
}

/* Block fb with bytes [from, to) zero, as one more run; nothing for a hole. */
static int zero_part(struct op *op, uint64_t fb, uint64_t from, uint64_t to)
{
	struct run *run;
	int r = block_copy(op, fb, &run);

	if (r || !run)
		return r;
	memset((uint8_t *)run->mem + from, 0, to - from);
	op_pin_run(op, run);
	return 0;
}

/* First and last block keep what the range does not cover of them. Phase 1: the first one is done. */
static int zero_ends(struct op *op, const struct file_view *v)
{
	uint64_t end = MIN(zero_end(op), inode_size(&v->inode)), first = op->off / FS_BLOCK, last = end / FS_BLOCK;
	bool tail = end % FS_BLOCK && end < inode_size(&v->inode);
	uint64_t lead = STORE_NO_LEAD;
	int r = 0;

	if (op->off >= end) { /* all beyond the end: no block changes, not even the one with the end */
		store_begin(op, DIV_UP(zero_end(op), FS_BLOCK), STORE_NO_LEAD);
		return 0;
	}
	if (op->phase < 1 && (op->off % FS_BLOCK || (tail && first == last)))
		r = zero_part(op, first, op->off % FS_BLOCK, first == last && tail ? end % FS_BLOCK : FS_BLOCK);
	if (r)
		return r;
	op->phase = 1;
	if (op->nruns)
		lead = first;
	if (tail && last > first)
		r = zero_part(op, last, 0, end % FS_BLOCK);
	if (r)
		return r;
	if (!op->nruns || (lead != STORE_NO_LEAD && op->nruns == 1))
		store_begin(op, first, STORE_NO_LEAD);
	else
		store_begin(op, last, lead);
	return 0;
}

/* 1: done without storing anything. */
static int zero_prepare(struct op *op)
{
	struct file_view v;
	int r = file_lock(op, op->off / FS_BLOCK, (zero_end(op) - 1) / FS_BLOCK, &v);

	if (r)
		return r;
	return v.is_inline ? zero_inline(op, &v) : zero_ends(op, &v);
}

/* The range of whole blocks becomes a hole; a first block that is written again belongs to the range, one that
 * stays as it is does not (S_FIRST says where the change begins). */
static int zero_run(struct op *op)
{
	struct change c = { .first = op->off / FS_BLOCK, .end = DIV_UP(zero_end(op), FS_BLOCK), .mtime = true,
		.how = op->mode & FALLOC_FL_KEEP_SIZE ? SIZE_KEEP : SIZE_GROW, .size = zero_end(op) };
	int r = store_error(op);

	if (!r && op->phase < STORE_ALLOC)
		r = zero_prepare(op);
	if (!r && op->phase < STORE_STORED)
		r = store_data(op);
	if (r)
		return r == 1 ? 0 : r;
	c.first = op->nruns ? MIN(c.first, op->scratch[S_FIRST]) : MAX(c.first, op->scratch[S_FIRST]);
	c.frees = !op->nruns;
	return store_commit(op, &c);
}

/* Allocating ahead of data is not offered: with copy-on-write it would promise nothing about a later write. */
static int zero_check(const struct op *op)
{
	uint32_t mode = op->mode;

	if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) && (mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE)
		return -EOPNOTSUPP;
	if (!op->rdev)
		return -EINVAL;
	return range_fits(op->off, op->rdev, FILE_MAX) ? fs_may_write(op->worker->fs) : -EFBIG;
}

/* As fs_write: all that was begun is given back by store_end, unless the op parks. */
int fs_fallocate(struct op *op)
{
	int r = zero_check(op);

	op->own_errors = true;
	if (!r)
		r = inode_hold(op, false);
	if (!r)
		r = zero_run(op);
	if (r == -E_PARKED)
		return r;
	store_end(op, r);
	op->result = 0;
	return r;
}
