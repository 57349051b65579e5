/* SPDX-License-Identifier: Apache-2.0 */
/* Single blocks of old content, for changes that cover a part of one. */
#include <string.h>
#include "base/log.h"
#include "fs/ops.h"
#include "fs/store.h"

int data_error(struct op *op, uint64_t offset, uint64_t block, int code)
{
	char path[512];

	log_error("%s in %s at offset %llu (block %llu)", err_text(code), fs_path(op->worker->fs, op->ino, path, sizeof(path)),
		  (unsigned long long)offset, (unsigned long long)block);
	return code;
}

struct run *page_new(struct op *op, int *r)
{
	struct run *run = run_new(op->worker->fs->cache, 1);

	*r = run ? 0 : op_retry_later(op, &op->result);
	if (run)
		memset(run->mem, 0, FS_BLOCK);
	return run;
}

struct place {
	uint64_t block, birth;
	uint32_t crc;
	bool hole;
};

static int block_map(struct op *op, uint64_t fb, struct place *p)
{
	struct fs *fs = op->worker->fs;
	struct extent_iter it;
	struct extent e;
	int r;

	fs_lock_shared(fs);
	r = extent_first(&it, op, op->ino, fb, fb + 1, &e);
	p->hole = r == -ENOENT || (!r && e.unwritten);
	if (!r && !p->hole) {
		p->block = e.block + (fb - e.start);
		p->birth = e.birth;
		p->crc = extent_crc(&e, (uint32_t)(fb - e.start));
	}
	fs_unlock(fs);
	return p->hole ? 0 : r;
}

/* The run with a block's content, pinned, in any state but FREE and OWNED; NULL and *r = 0: look again. A miss starts
 * the fill of just this block, so that its failure is nobody else's. */
static struct run *block_find(struct op *op, const struct place *p, uint32_t *page, int *r)
{
	struct cache *cache = op->worker->fs->cache;
	struct run *run = cache_find(cache, p->block, p->birth, page, true);

	*r = 0;
	if (run)
		return run;
	run = run_new(cache, 1);
	if (!run) {
		*r = op_retry_later(op, &op->result);
		return NULL;
	}
	run->crcs[0] = p->crc;
	*page = 0;
	if (run_fill(run, op->worker->lane, p->block, p->birth) == 0)
		return run;
	run_unpin(run);
	return NULL;
}

static struct run *awaited(const struct op *op)
{
	return (struct run *)(uintptr_t)op->scratch[S_AWAITED];
}

/* The run that was awaited, with its pin, if it is the one for p; its state tells what became of it. */
static struct run *awaited_take(struct op *op, const struct place *p, uint32_t *page)
{
	struct run *run = awaited(op);

	if (!run || run->birth != p->birth || p->block - run->block >= run->npages)
		return NULL;
	op->scratch[S_AWAITED] = 0;
	*page = (uint32_t)(p->block - run->block);
	return run;
}

void awaited_drop(struct op *op)
{
	if (awaited(op))
		run_unpin(awaited(op));
	op->scratch[S_AWAITED] = 0;
}

int store_error(const struct op *op)
{
	const struct run *run = awaited(op);

	return run && run->state != RUN_VALID ? 0 : op->error;
}

/* Waits for a FILLING run, keeping its pin; false: it is not filling any more. */
static bool block_await(struct op *op, struct run *run)
{
	struct waiter *w = op_wait(op);

	assert(w); /* one block at a time */
	if (!run_wait(run, w)) {
		op_unwait(op, w);
		return false;
	}
	awaited_drop(op);
	op->scratch[S_AWAITED] = (uint64_t)(uintptr_t)run;
	return true;
}

int block_read(struct op *op, uint64_t fb, struct run **out, uint32_t *page)
{
	struct place p;
	struct run *run;
	int r;

	*out = NULL;
	for (;;) {
		r = block_map(op, fb, &p);
		if (r || p.hole)
			return r;
		run = awaited_take(op, &p, page);
		if (!run)
			run = block_find(op, &p, page, &r);
		if (r)
			return r;
		if (!run)
			continue;
		if (run->state == RUN_FILLING && block_await(op, run))
			return -E_PARKED;
		if (run->state == RUN_VALID) {
			*out = run;
			return 0;
		}
		r = run->npages == 1 ? run->status : 0; /* of a longer one, another block may be the bad one */
		run_unpin(run);
		if (r)
			return data_error(op, fb * FS_BLOCK, p.block, r);
	}
}
