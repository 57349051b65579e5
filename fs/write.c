/* SPDX-License-Identifier: Apache-2.0 */
/* Writing.
 *
 *      NEW --range lock, small files end here--> LOCKED --payload in place or shifted--> ALIGNED
 *          --old content around the payload--> STORE_* (fs/store.h)
 *
 *  1. Whether a file is inline changes only under a lock on the whole file, so any range keeps it as it is.
 *  2. Page-aligned payload is written from where it lies; only what is shifted, or inline, is copied. */
#include <string.h>
#include <fcntl.h>
#include "fs/ops.h"
#include "fs/range.h"
#include "fs/store.h"

enum { WRITE_NEW, WRITE_LOCKED, WRITE_ALIGNED };

static uint64_t write_end(const struct op *op)
{
	return op->off + op->len;
}

/* A file with blocks stays in blocks, however short it is; it becomes inline again only when it was cut to nothing. */
static bool stays_inline(const struct op *op, const struct inode_disk *d)
{
	return !get64(d->blocks) && MAX(inode_size(d), write_end(op)) <= INLINE_MAX;
}

/* ---- locking ---- */

/* Locks what the write touches, and looks at the file once nothing of that can change any more. Appending needs the
 * end, and inline data the whole file, so those lock all of it; what has to be locked is only known after looking,
 * hence the loop. */
static int write_lock(struct op *op, struct file_view *v)
{
	for (;;) {
		uint64_t first, last;
		bool whole;
		int r = file_view(op, v);

		if (r)
			return r;
		if (op->flags & O_APPEND)
			op->off = inode_size(&v->inode);
		if (!range_fits(op->off, op->len, FILE_MAX))
			return -EFBIG;
		whole = op->flags & O_APPEND || v->is_inline || stays_inline(op, &v->inode) ||
			get32(v->inode.flags) & INODE_TRUNCATE;
		first = whole ? 0 : op->off / FS_BLOCK;
		last = whole ? RANGE_END : (write_end(op) - 1) / FS_BLOCK;
		if (!range_covers(op, first, last)) {
			r = range_lock(op, first, last);
			if (r)
				return r;
			continue;
		}
		if (!(get32(v->inode.flags) & INODE_TRUNCATE))
			return 0;
		r = truncate_finish(op, &v->inode);
		if (r)
			return r;
	}
}

/* ---- the payload ---- */

/* Calls for each piece of the payload in order: copies it to *to, which moves on. */
static void payload_copy(const struct op *op, uint8_t *to, size_t skip, size_t len)
{
	uint64_t at = op->scratch[S_PAYLOAD] + skip;

	for (unsigned i = 0; i < op->nruns && len; i++) {
		size_t bytes = (size_t)op->runs[i]->npages * FS_BLOCK;
		size_t n = at < bytes ? MIN(bytes - at, len) : 0;

		memcpy(to, (uint8_t *)op->runs[i]->mem + (n ? at : 0), n);
		to += n;
		len -= n;
		at = n ? 0 : at - bytes;
	}
}

static void count_copied(struct op *op, uint64_t bytes)
{
	atomic_fetch_add_explicit(&op->worker->copied_written, bytes, memory_order_relaxed);
}

/* Blocks that the payload touches, partly or wholly. */
static uint64_t nblocks(const struct op *op)
{
	return DIV_UP(op->off % FS_BLOCK + op->len, FS_BLOCK);
}

static void drop_first_run(struct op *op)
{
	run_unpin(op->runs[0]);
	memmove(&op->runs[0], &op->runs[1], --op->nruns * sizeof(op->runs[0]));
}

/* Cuts off what the payload does not use of the runs, at both ends. */
static void payload_fit(struct op *op)
{
	uint64_t skip = op->scratch[S_PAYLOAD] / FS_BLOCK, left = nblocks(op);
	unsigned i = 0;

	while (skip && skip >= op->runs[0]->npages) {
		skip -= op->runs[0]->npages;
		drop_first_run(op);
	}
	if (skip) {
		struct run *rest = run_split(op->runs[0], (uint32_t)skip);

		run_unpin(op->runs[0]);
		op->runs[0] = rest;
	}
	for (; i < op->nruns && left; i++) {
		if (op->runs[i]->npages > left)
			run_trim(op->runs[i], (uint32_t)left);
		left -= op->runs[i]->npages;
	}
	assert(!left); /* the caller promised len bytes */
	while (op->nruns > i)
		run_unpin(op->runs[--op->nruns]);
}

/* New runs for n blocks, as long as they come; how many, or -E_PARKED / -E_NO_FRAMES with none. Nothing is kept
 * while waiting: two writes that each hold half of what they need would wait for each other. */
static int runs_new(struct op *op, uint64_t n, struct run **runs)
{
	uint32_t size = RUN_MAX;
	int count = 0;

	while (n) {
		struct run *run;

		size = (uint32_t)MIN(size, n);
		run = count < (int)OP_RUNS ? run_new(op->worker->fs->cache, size) : NULL;
		if (run) {
			runs[count++] = run;
			n -= size;
			continue;
		}
		if (size > 1) {
			size /= 2;
			continue;
		}
		while (count)
			run_unpin(runs[--count]);
		return op_retry_later(op, &op->result);
	}
	return count;
}

/* The payload shifted to its place in blocks, in new runs. */
static int payload_shift(struct op *op)
{
	size_t head = op->off % FS_BLOCK, done = 0;
	struct run *runs[OP_RUNS];
	int n = runs_new(op, nblocks(op), runs);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		size_t at = i ? 0 : head, bytes = (size_t)runs[i]->npages * FS_BLOCK - at;

		bytes = MIN(bytes, op->len - done);
		payload_copy(op, (uint8_t *)runs[i]->mem + at, done, bytes);
		done += bytes;
	}
	count_copied(op, op->len);
	op_unpin_runs(op);
	memcpy(op->runs, runs, (size_t)n * sizeof(runs[0]));
	op->nruns = (unsigned)n;
	return 0;
}

/* The receiver places the payload page-aligned, so a write at a block's border is written from where it lies. */
static int payload_align(struct op *op)
{
	if (op->scratch[S_PAYLOAD] % FS_BLOCK != op->off % FS_BLOCK)
		return payload_shift(op);
	payload_fit(op);
	return 0;
}

/* ---- old content around it ---- */

/* Bytes [from, to) of file block fb, into the page of the run that will replace it: zeros for a hole and beyond the
 * end, so that bytes past the end are zero on the device. An error leaves the block as it was: a part of it that
 * cannot be read is not written over. */
static int keep_old(struct op *op, const struct file_view *v, uint64_t fb, uint8_t *page, size_t from, size_t to)
{
	struct run *old;
	uint32_t at;
	int r;

	if (from == to)
		return 0;
	memset(page + from, 0, to - from);
	if (v->is_inline || fb * FS_BLOCK + from >= inode_size(&v->inode)) {
		if (v->is_inline && !fb && from < INLINE_MAX)
			memcpy(page + from, v->bytes + from, MIN(to, INLINE_MAX) - from);
		return 0;
	}
	r = block_read(op, fb, &old, &at);
	if (r || !old)
		return r;
	memcpy(page + from, (uint8_t *)old->mem + (size_t)at * FS_BLOCK + from, to - from);
	run_unpin(old);
	return 0;
}

/* What the payload leaves of its first and last block. May be repeated after a park: it writes the same bytes
 * again. */
static int keep_around(struct op *op, const struct file_view *v)
{
	uint64_t first = op->off / FS_BLOCK, last = (write_end(op) - 1) / FS_BLOCK;
	struct run *last_run = op->runs[op->nruns - 1];
	uint8_t *last_page = (uint8_t *)last_run->mem + (size_t)(last_run->npages - 1) * FS_BLOCK;
	size_t tail = write_end(op) % FS_BLOCK;
	int r = keep_old(op, v, first, op->runs[0]->mem, 0, op->off % FS_BLOCK);

	if (!r && tail)
		r = keep_old(op, v, last, last_page, tail, FS_BLOCK);
	return r;
}

/* An inline file grows: its bytes become block 0, unless the payload covers that anyway. They go in front of the
 * payload's runs as the lead (fs/store.h), since what lies between is a hole. */
static int write_begin(struct op *op, const struct file_view *v)
{
	uint64_t first = op->off / FS_BLOCK;
	struct run *run;
	int r;

	if (!v->is_inline || !first || !v->len) {
		store_begin(op, first, STORE_NO_LEAD);
		return 0;
	}
	if (op->nruns == OP_RUNS)
		return -E_NO_FRAMES;
	run = page_new(op, &r);
	if (!run)
		return r;
	memcpy(run->mem, v->bytes, v->len);
	memmove(&op->runs[1], &op->runs[0], op->nruns++ * sizeof(op->runs[0]));
	op->runs[0] = run;
	store_begin(op, first, 0);
	return 0;
}

/* ---- the operation ---- */

/* Built anew at each replay of the commit; with a lead the range begins at block 0, and the hole is part of it. */
static void change_build(const struct op *op, struct change *c)
{
	bool lead = op->scratch[S_LEAD] != STORE_NO_LEAD;

	*c = (struct change){ .first = lead ? 0 : op->off / FS_BLOCK, .end = DIV_UP(write_end(op), FS_BLOCK), .how = SIZE_GROW,
		.size = write_end(op), .mtime = true, .kill_priv = op->valid & SET_KILL_PRIV };
}

/* The range lock is on the whole file, so v is what inline_store replaces. An empty file begins here, too. */
static int write_inline(struct op *op, struct file_view *v)
{
	uint64_t size = MAX(inode_size(&v->inode), write_end(op));
	struct change c = { .size = size, .mtime = true, .kill_priv = op->valid & SET_KILL_PRIV };

	if (!v->is_inline)
		memset(v->bytes, 0, sizeof(v->bytes));
	payload_copy(op, v->bytes + op->off, 0, op->len);
	count_copied(op, op->len);
	return inline_store(op, v->bytes, (uint32_t)size, &c);
}

/* Everything before the blocks are complete. 1: done, it was inline. Repeated from the top when something was missing;
 * only aligning the payload is done once, since it moves runs. */
static int write_prepare(struct op *op)
{
	struct file_view v;
	int r = write_lock(op, &v);

	if (r)
		return r;
	if (stays_inline(op, &v.inode)) {
		r = write_inline(op, &v);
		return r ? r : 1;
	}
	if (op->phase < WRITE_ALIGNED) {
		r = payload_align(op);
		if (r)
			return r;
		op->phase = WRITE_ALIGNED;
	}
	r = keep_around(op, &v);
	return r ? r : write_begin(op, &v);
}

/* Phases are passed in order; each replay goes on with the one it is in. */
static int write_run(struct op *op)
{
	struct change c;
	int r = store_error(op);

	if (r)
		return r;
	if (op->phase < STORE_ALLOC)
		r = write_prepare(op);
	if (!r && op->phase < STORE_STORED)
		r = store_data(op);
	if (r)
		return r == 1 ? 0 : r;
	change_build(op, &c);
	return store_commit(op, &c);
}

/* All of it or nothing is reported: a request that commits in several transactions and then fails may have changed
 * its first part. own_errors: failures of what it waits for are judged here, not by the machine. */
int fs_write(struct op *op)
{
	int r = fs_may_write(op->worker->fs);

	if (op->phase == WRITE_NEW) {
		op->own_errors = true;
		op->phase = WRITE_LOCKED;
	}
	if (!r)
		r = inode_hold(op, true);
	if (!r && op->len)
		r = write_run(op);
	if (r == -E_PARKED)
		return r;
	store_end(op, r);
	op->result = r ? 0 : op->len;
	return r;
}
