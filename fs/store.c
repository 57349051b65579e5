/* SPDX-License-Identifier: Apache-2.0 */
/* Data on its way to the device: places, writes, and other places after a failure. store.h has the states. */
#include <string.h>
#include "base/log.h"
#include "fs/alloc.h"
#include "fs/range.h"
#include "fs/store.h"

/* run->owner: NULL (to be written), the op (in flight), or one of these. */
static char failed_mark, written_mark;

/* No runs: only a hole is to be made, so there is nothing to write and the phase is past that. */
void store_begin(struct op *op, uint64_t first, uint64_t lead)
{
	awaited_drop(op);
	op->scratch[S_FIRST] = first;
	op->scratch[S_LEAD] = lead;
	op->scratch[S_TRIES] = 0;
	op->scratch[S_NEXT] = 0;
	for (unsigned i = 0; i < op->nruns; i++) {
		op->runs[i]->block = 0;
		op->runs[i]->owner = NULL;
	}
	op->phase = op->nruns ? STORE_ALLOC : STORE_STORED;
}

/* Cuts run i in two behind its first n pages; the rest becomes run i+1. */
static int run_cut(struct op *op, unsigned i, uint32_t n)
{
	struct run *rest;

	if (op->nruns == OP_RUNS)
		return -E_NO_SPACE; /* a megabyte in more pieces than blocks: never with payloads of that size */
	rest = run_split(op->runs[i], n);
	rest->block = 0;
	rest->owner = NULL;
	memmove(&op->runs[i + 2], &op->runs[i + 1], (op->nruns - i - 1) * sizeof(op->runs[0]));
	op->runs[i + 1] = rest;
	op->nruns++;
	return 0;
}

/* A place for run i, near *goal; a smaller one cuts the run. Exclusive lock. */
static int place_run(struct op *op, unsigned i, uint64_t *goal)
{
	struct fs *fs = op->worker->fs;
	struct run *run = op->runs[i];
	uint64_t block;
	uint32_t got;
	int r = alloc_data(op, *goal, run->npages, &block, &got);

	if (r)
		return r;
	if (got < run->npages) {
		r = run_cut(op, i, got);
		if (r) {
			alloc_cancel(fs, block, got);
			return r;
		}
	}
	run->block = block;
	run->birth = fs->gen;
	*goal = block + got;
	return 0;
}

/* Continues where it was interrupted: a parked attempt keeps the places it got. Near the file's previous block, so that
 * a file written piece by piece lies in one piece. */
static int place_all(struct op *op)
{
	uint64_t goal = 0;
	int r = fs_wait_writable(op);

	if (!r && !op->runs[0]->block && op->scratch[S_FIRST])
		r = extent_goal(op, op->ino, op->scratch[S_FIRST] - 1, &goal);
	for (unsigned i = 0; !r && i < op->nruns; i++) {
		if (op->runs[i]->block)
			goal = op->runs[i]->block + op->runs[i]->npages;
		else
			r = place_run(op, i, &goal);
	}
	return r;
}

/* Another place for a run whose write failed; the old one is kept until then, so that it cannot be the same. */
static int replace_run(struct op *op, unsigned i)
{
	struct fs *fs = op->worker->fs;
	struct run *run = op->runs[i];
	uint64_t old = run->block, goal = old + run->npages;
	uint32_t npages = run->npages;
	int r = place_run(op, i, &goal);

	if (r)
		return r;
	if (run->npages < npages) { /* cut: the rest still lies at the old place, and failed */
		op->runs[i + 1]->block = old + run->npages;
		op->runs[i + 1]->birth = run->birth;
		op->runs[i + 1]->owner = &failed_mark;
	}
	alloc_cancel(fs, old, run->npages);
	run->owner = NULL;
	return 0;
}

/* Only failed runs move; the others are on the device already. May park half-way: runs that have their new place
 * are not marked any more. */
static int replace_failed(struct op *op)
{
	int r = fs_wait_writable(op);

	for (unsigned i = 0; !r && i < op->nruns; i++)
		if (op->runs[i]->owner == &failed_mark)
			r = replace_run(op, i);
	return r;
}

/* On the op's own thread, like run(): the counter needs no lock. */
static void put_one(struct op *op)
{
	if (--op->scratch[S_LEFT] == 0) {
		struct waiter *w = (struct waiter *)(uintptr_t)op->scratch[S_WAITER];

		w->wake(w, 0);
	}
}

/* Call-back of the lane, on the worker's thread. Only remembered here: judge() looks when all have come. */
static void run_written(struct run *run, int status)
{
	struct op *op = run->owner;

	if (status)
		log_debug("a write to block %llu failed: %s", (unsigned long long)run->block, err_text(status));
	run->status = status;
	run->owner = status ? &failed_mark : &written_mark;
	put_one(op);
}

/* Starts the writes of all runs that are not there yet. S_LEFT counts one for this loop, so that a write which ends
 * inside run_write cannot wake the op too soon. */
static void write_all(struct op *op)
{
	struct waiter *w = op_wait_idle(op);

	assert(w); /* nothing else is awaited in this phase */
	op->scratch[S_WAITER] = (uint64_t)(uintptr_t)w;
	op->scratch[S_LEFT] = 1;
	for (unsigned i = 0; i < op->nruns; i++) {
		struct run *run = op->runs[i];

		if (run->owner)
			continue;
		run_checksum(run);
		run->owner = op;
		op->scratch[S_LEFT]++;
		run_write(run, op->worker->lane, run->block, 0, run_written);
	}
	put_one(op);
}

/* All writes have ended. 0: all good; 1: some are to be written again, elsewhere; or the error. A file system that
 * somebody else owns now is not written to again. */
static int judge(struct op *op)
{
	int bad = 0;

	for (unsigned i = 0; i < op->nruns; i++) {
		if (op->runs[i]->owner == &failed_mark)
			bad = op->runs[i]->status;
	}
	if (!bad)
		return 0;
	return ++op->scratch[S_TRIES] < STORE_TRIES && bad != -E_NOT_OURS ? 1 : bad;
}

/* Freshly written data is likely to be read soon, and it is in memory anyway. */
static void insert_all(struct op *op)
{
	for (unsigned i = 0; i < op->nruns; i++) {
		struct run *run = op->runs[i];

		run->owner = NULL;
		cache_insert(run, run->block, run->birth);
	}
}

/* -E_PARKED while writes are under way; store.h has the phases. The lock is held for finding places only. */
int store_data(struct op *op)
{
	struct fs *fs = op->worker->fs;
	int r;

	if (op->phase == STORE_WRITING) {
		r = judge(op);
		if (r < 0)
			return r;
		if (!r) {
			insert_all(op);
			op->phase = STORE_STORED;
			return 0;
		}
		op->phase = STORE_ALLOC;
	}
	fs_lock_excl(fs);
	r = op->scratch[S_TRIES] ? replace_failed(op) : place_all(op);
	fs_unlock(fs);
	if (r)
		return r;
	op->phase = STORE_WRITING;
	write_all(op);
	return -E_PARKED;
}

/* File block of a run. Counted anew each time, since a run may have been cut in between. */
static uint64_t run_first(const struct op *op, unsigned index)
{
	uint64_t fb = op->scratch[S_FIRST];
	bool lead = op->scratch[S_LEAD] != STORE_NO_LEAD;

	if (lead && !index)
		return op->scratch[S_LEAD];
	for (unsigned i = lead; i < index; i++)
		fb += op->runs[i]->npages;
	return fb;
}

/* Blocks of one run that no transaction named: S_NEXT is how far the commits got. Exclusive lock. */
static void cancel_run(struct op *op, unsigned i)
{
	struct fs *fs = op->worker->fs;
	struct run *run = op->runs[i];
	uint64_t fb = run_first(op, i), done = MAX(fb, op->scratch[S_NEXT]) - fb;

	if (!run->block || done >= run->npages)
		return;
	cache_drop(fs->cache, run->block + done, (uint32_t)(run->npages - done));
	alloc_cancel(fs, run->block + done, (uint32_t)(run->npages - done));
}

/* Places first, then runs and range: whoever waits for the range may look for space at once. */
void store_end(struct op *op, int status)
{
	struct fs *fs = op->worker->fs;

	awaited_drop(op);
	if (status && op->phase >= STORE_ALLOC && op->nruns) {
		fs_lock_excl(fs);
		for (unsigned i = 0; i < op->nruns; i++)
			cancel_run(op, i);
		fs_unlock(fs);
	}
	op_unpin_runs(op);
	range_unlock(op);
}
