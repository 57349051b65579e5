/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: the reply is made of pinned pages of the cache; what is missing is filled extent by extent.
 *
 *      scan (shared lock): map, find pages, make runs for what is missing, and for read-ahead
 *        -> start all fills, wait -> scan again ... -> every page VALID: the iovecs stand
 *
 *  1. All fills of a request are started before it waits for any.
 *  2. After a fill of several blocks failed, the request reads its blocks one by one, so that only who touches the bad
 *     block fails. A failed run of one block stays pinned, FAILED, as the verdict on it.
 *  3. Nothing here allocates but page frames. */
#include <string.h>
#include "fs/extent.h"
#include "fs/inode.h"
#include "fs/ops.h"
#include "fs/store.h"

#define READ_MAX MiB
#define READ_BLOCKS (READ_MAX / FS_BLOCK + 1)
#define AHEAD_MAX 2048u           /* blocks: 8 MiB, what 100 Gbit/s carry in 0.6 ms */
#define AHEAD_FILLS 32u
/* op->phase */
#define READ_STARTED 1u
#define READ_SINGLE 2u            /* block by block */
#define READ_LOOKED 4u            /* ahead */
/* op->scratch */
enum { R_AHEAD, R_AHEAD_N };

struct read {
	struct op *op;
	uint64_t left;             /* bytes still to be put into iovecs */
	size_t skip;               /* bytes of the first block before the request */
	struct run *fills[READ_BLOCKS + AHEAD_FILLS];
	unsigned nfills, ndemand;  /* the demanded ones come first */
	unsigned waits;            /* FILLING runs met */
	unsigned hint;             /* index in op->runs of the last hit */
	bool missing;
};

static struct cache *cache_of(const struct op *op)
{
	return op->worker->fs->cache;
}

/* ---- the reply ---- */

static void reply_add(struct read *rd, void *page, bool joins)
{
	struct op *op = rd->op;
	size_t n = MIN(FS_BLOCK - rd->skip, rd->left);
	uint8_t *at = (uint8_t *)page + rd->skip;
	struct iovec *last = op->niov ? &op->iov[op->niov - 1] : NULL;

	rd->skip = 0;
	rd->left -= n;
	if (joins && last && (uint8_t *)last->iov_base + last->iov_len == at) {
		last->iov_len += n;
		return;
	}
	assert(op->niov < OP_IOVS); /* READ_BLOCKS are fewer */
	op->iov[op->niov++] = (struct iovec){ .iov_base = at, .iov_len = n };
}

static void reply_zeros(struct read *rd, uint64_t nblocks)
{
	while (nblocks-- && rd->left)
		reply_add(rd, cache_zero_page(cache_of(rd->op)), false);
}

/* ---- pinned runs ---- */

static bool holds(const struct run *run, uint64_t block, uint64_t birth)
{
	return run->birth == birth && block - run->block < run->npages;
}

/* A run of an earlier round that holds the block; it is pinned still. */
static struct run *pinned_find(struct read *rd, uint64_t block, uint64_t birth)
{
	struct op *op = rd->op;

	if (rd->hint < op->nruns && holds(op->runs[rd->hint], block, birth))
		return op->runs[rd->hint];
	for (unsigned i = 0; i < op->nruns; i++) {
		if (holds(op->runs[i], block, birth)) {
			rd->hint = i;
			return op->runs[i];
		}
	}
	return NULL;
}

/* Runs of several blocks that failed are let go, and read singly from now on. */
static void sort_failed(struct op *op)
{
	unsigned n = 0;

	for (unsigned i = 0; i < op->nruns; i++) {
		struct run *run = op->runs[i];

		if (run->state == RUN_FAILED && run->npages > 1) {
			op->phase |= READ_SINGLE;
			run_unpin(run);
		} else {
			op->runs[n++] = run;
		}
	}
	op->nruns = n;
}

static bool any_failed(const struct op *op)
{
	for (unsigned i = 0; i < op->nruns; i++)
		if (op->runs[i]->state == RUN_FAILED)
			return true;
	return false;
}

/* ---- scanning ---- */

/* A new run for what is missing from block of e on, its checksums set; NULL: no frames. */
static struct run *fill_new(struct op *op, const struct extent *e, uint32_t from, uint32_t n, bool ahead)
{
	struct run *run = NULL;

	for (n = MIN(n, RUN_MAX); n && !run; n = run || n == 1 ? 0 : n / 2)
		run = run_new(cache_of(op), n);
	if (!run)
		return NULL;
	for (uint32_t i = 0; i < run->npages; i++)
		run->crcs[i] = extent_crc(e, from + i);
	run->block = e->block + from;
	run->birth = e->birth;
	run->speculative = ahead;
	return run;
}

/* Starts on [from, from+n) of e, which begins with a miss. Blocks passed; 0: look again; or an error. */
static int scan_miss(struct read *rd, const struct extent *e, uint32_t from, uint32_t n)
{
	struct op *op = rd->op;
	uint32_t m = cache_missing(cache_of(op), e->block + from, e->birth, n);
	struct run *run;

	if (!m)
		return 0;
	if (rd->nfills == READ_BLOCKS)
		return -E_NO_FRAMES;
	run = fill_new(op, e, from, op->phase & READ_SINGLE ? 1 : m, false);
	if (!run)
		return rd->nfills || rd->waits ? (int)m : op_retry_later(op, &op->result); /* first what can be had */
	rd->fills[rd->nfills++] = run;
	return (int)run->npages;
}

/* Pages of one run for the blocks [from, from+n) of e. As scan_miss. */
static int scan_pages(struct read *rd, const struct extent *e, uint32_t from, uint32_t n, uint64_t offset)
{
	struct op *op = rd->op;
	uint64_t block = e->block + from;
	struct run *run = pinned_find(rd, block, e->birth);
	uint32_t page;

	if (!run) {
		run = cache_find(cache_of(op), block, e->birth, &page, true);
		if (run && !op_pin_run(op, run)) { /* leftovers of another mapping fill the array */
			run_unpin(run);
			op_unpin_runs(op);
			return op_retry_later(op, &op->result);
		}
	}
	if (!run) {
		rd->missing = true;
		return scan_miss(rd, e, from, n);
	}
	page = (uint32_t)(block - run->block);
	n = MIN(n, run->npages - page);
	if (run->state == RUN_FAILED)
		return run->npages == 1 ? data_error(op, offset, block, run->status) : -E_AGAIN_ALONE;
	if (run->state != RUN_VALID) {
		rd->waits++;
		rd->missing = true;
	}
	for (uint32_t i = 0; i < n && !rd->missing; i++)
		reply_add(rd, (uint8_t *)run->mem + (size_t)(page + i) * FS_BLOCK, true);
	return (int)n;
}

/* The part of e in [fb, end). */
static int scan_extent(struct read *rd, const struct extent *e, uint64_t fb, uint64_t end)
{
	uint64_t stop = MIN(extent_end(e), end);

	if (e->unwritten) {
		if (!rd->missing)
			reply_zeros(rd, stop - fb);
		return 0;
	}
	while (fb < stop) {
		int n = scan_pages(rd, e, (uint32_t)(fb - e->start), (uint32_t)(stop - fb), fb * FS_BLOCK);

		if (n < 0)
			return n;
		fb += (uint32_t)n;
	}
	return 0;
}

/* File blocks [fb, end): iovecs as long as nothing is missing, runs to be filled for what is. */
static int scan_range(struct read *rd, uint64_t fb, uint64_t end)
{
	struct extent_iter it;
	struct extent e;
	int r;

	for (r = extent_first(&it, rd->op, rd->op->ino, fb, end, &e); !r; r = extent_next(&it, &e)) {
		if (e.start > fb && !rd->missing)
			reply_zeros(rd, e.start - fb);
		r = scan_extent(rd, &e, MAX(fb, e.start), end);
		if (r)
			return r;
		fb = extent_end(&e);
	}
	if (r == -ENOENT && fb < end && !rd->missing)
		reply_zeros(rd, end - fb);
	return r == -ENOENT ? 0 : r;
}

/* ---- read-ahead ---- */

/* The stream that this read continues, as closely as may be; else one that leads nowhere, else the next in turn. */
static struct readahead *stream_of(struct inode *in, uint64_t first, uint32_t n)
{
	for (unsigned i = 0; i < INODE_STREAMS; i++)
		if (in->stream[i].next == first)
			return &in->stream[i];
	for (unsigned i = 0; i < INODE_STREAMS; i++)
		if (readahead_continues(&in->stream[i], first, n))
			return &in->stream[i];
	for (unsigned i = 0; i < INODE_STREAMS; i++) {
		in->stream_next = (uint8_t)((in->stream_next + 1) % INODE_STREAMS);
		if (!in->stream[in->stream_next].window)
			break;
	}
	return &in->stream[in->stream_next];
}

static void ahead_plan(struct op *op, uint64_t first, uint32_t n, uint64_t eof)
{
	struct fs *fs = op->worker->fs;
	uint32_t window;
	size_t bytes;

	cache_memory(fs->cache, &bytes);
	window = (uint32_t)MIN(AHEAD_MAX, bytes / FS_BLOCK / 8);
	inode_lock(fs, op->inode);
	op->scratch[R_AHEAD_N] = readahead_next(stream_of(op->inode, first, n), first, n, eof, window,
						&op->scratch[R_AHEAD]);
	inode_unlock(fs, op->inode);
	op->phase |= READ_LOOKED;
}

static void ahead_extent(struct read *rd, const struct extent *e, uint64_t fb, uint64_t end)
{
	struct cache *cache = cache_of(rd->op);
	uint64_t stop = MIN(extent_end(e), end);

	while (!e->unwritten && fb < stop && rd->nfills < rd->ndemand + AHEAD_FILLS) {
		uint32_t from = (uint32_t)(fb - e->start), n = cache_missing(cache, e->block + from, e->birth,
									      (uint32_t)(stop - fb));
		struct run *run = n ? fill_new(rd->op, e, from, n, true) : NULL;

		if (n && !run)
			return;
		if (run)
			rd->fills[rd->nfills++] = run;
		fb += run ? run->npages : 1;
	}
}

/* Once per request. A node that is missing here ends the attempt (the reply may wait for it, but is not lost). */
static void ahead_scan(struct read *rd)
{
	struct op *op = rd->op;
	uint64_t fb = op->scratch[R_AHEAD], end = fb + op->scratch[R_AHEAD_N];
	struct extent_iter it;
	struct extent e;
	int r;

	if (fb == end)
		return;
	for (r = extent_first(&it, op, op->ino, fb, end, &e); !r; r = extent_next(&it, &e))
		ahead_extent(rd, &e, MAX(fb, e.start), end);
	if (r != -E_PARKED)
		op->scratch[R_AHEAD_N] = 0;
}

/* ---- filling ---- */

static bool wait_for(struct op *op, struct run *run)
{
	struct waiter *w = op_wait(op);

	if (!w)
		return true; /* there are enough to wait for */
	if (run_wait(run, w))
		return true;
	op_unwait(op, w);
	return false;
}

/* Starts all fills; keeps pins of the demanded ones. */
static void fills_start(struct read *rd)
{
	struct op *op = rd->op;

	for (unsigned i = 0; i < rd->nfills; i++) {
		struct run *run = rd->fills[i];

		if (run_fill(run, op->worker->lane, run->block, run->birth) || i >= rd->ndemand || !op_pin_run(op, run))
			run_unpin(run);
	}
}

/* Parks on whatever is being filled; 0: nothing is any more. */
static int fills_wait(struct op *op)
{
	bool any = false;

	for (unsigned i = 0; i < op->nruns; i++)
		if (op->runs[i]->state == RUN_FILLING)
			any |= wait_for(op, op->runs[i]);
	return any ? -E_PARKED : 0;
}

/* ---- the operation ---- */

/* Bytes up to the end of the file. */
static void read_cut(struct op *op, uint64_t size, struct read *rd)
{
	uint64_t len = MIN(op->len, READ_MAX);

	rd->left = op->off >= size ? 0 : MIN(len, size - op->off);
	rd->skip = op->off % FS_BLOCK;
}

static int read_inline(struct read *rd, const struct file_view *v)
{
	struct op *op = rd->op;
	struct run *run;
	int r;

	op_unpin_runs(op);
	run = page_new(op, &r);
	if (!run)
		return r;
	memcpy(run->mem, v->bytes, v->len);
	atomic_fetch_add_explicit(&op->worker->copied_read, rd->left, memory_order_relaxed);
	op_pin_run(op, run);
	reply_add(rd, run->mem, false);
	return 0;
}

/* Under the shared lock. *bytes: what the reply has when nothing is missing. */
static int read_scan(struct read *rd, uint64_t *bytes)
{
	struct op *op = rd->op;
	uint64_t first = op->off / FS_BLOCK, end;
	struct file_view v;
	int r = file_view_locked(op, &v);

	if (r)
		return r;
	op->niov = 0;
	read_cut(op, inode_size(&v.inode), rd);
	*bytes = rd->left;
	if (!rd->left)
		return 0;
	if (v.is_inline)
		return read_inline(rd, &v);
	end = DIV_UP(op->off + rd->left, FS_BLOCK);
	r = scan_range(rd, first, end);
	rd->ndemand = rd->nfills;
	if (r)
		return r;
	if (!(op->phase & READ_LOOKED))
		ahead_plan(op, first, (uint32_t)(end - first), DIV_UP(inode_size(&v.inode), FS_BLOCK));
	ahead_scan(rd);
	return 0;
}

static int read_round(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct read rd;
	uint64_t bytes = 0;
	int r;

	rd.op = op;
	rd.nfills = rd.ndemand = rd.waits = rd.hint = 0;
	rd.missing = false;
	sort_failed(op);
	fs_lock_shared(fs);
	r = read_scan(&rd, &bytes);
	fs_unlock(fs);
	if (r && !rd.ndemand)
		rd.ndemand = rd.nfills;
	fills_start(&rd);
	if (r)
		return r;
	if (!rd.missing) {
		op->result = bytes;
		return 0;
	}
	return fills_wait(op) ? -E_PARKED : -E_AGAIN_ALONE;
}

static int read_run(struct op *op)
{
	int r;

	/* A failed run is judged where its block is met; everything else is final. */
	if (op->error && !any_failed(op))
		return op->error;
	do {
		r = read_round(op);
	} while (r == -E_AGAIN_ALONE);
	return r;
}

int fs_read(struct op *op)
{
	int r;

	if (!(op->phase & READ_STARTED)) {
		op->own_errors = true;
		op->phase = READ_STARTED;
	}
	r = inode_hold(op, true);
	if (!r)
		r = read_run(op);
	if (r && r != -E_PARKED) {
		op_unpin_runs(op);
		op->niov = 0;
		op->result = 0;
	}
	return r;
}
