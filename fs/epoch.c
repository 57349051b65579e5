/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/epoch.h"

#include <assert.h>
#include "fs/fs_core.h"

#define SLOTS 4u

static bool occupied(struct fs *fs, uint64_t epoch)
{
	for (unsigned i = 0; i < fs->conf.nworkers; i++)
		if (atomic_load_explicit(&fs->workers[i].active[epoch % SLOTS], memory_order_acquire))
			return true;
	return false;
}

void epoch_enter(struct op *op)
{
	struct fs *fs = op->worker->fs;

	if (op->in_epoch)
		return;
	/* A stale value is harmless: what was freed meanwhile is out of the tree before the op can look it up. */
	op->epoch = atomic_load_explicit(&fs->op_epoch, memory_order_acquire);
	atomic_fetch_add_explicit(&op->worker->active[op->epoch % SLOTS], 1, memory_order_acq_rel);
	op->in_epoch = true;
}

void epoch_leave(struct op *op)
{
	if (!op->in_epoch)
		return;
	op->in_epoch = false;
	atomic_fetch_sub_explicit(&op->worker->active[op->epoch % SLOTS], 1, memory_order_acq_rel);
}

uint64_t epoch_stamp(struct fs *fs)
{
	uint64_t now = atomic_load_explicit(&fs->op_epoch, memory_order_relaxed);

	if (!occupied(fs, now + 1))
		atomic_store_explicit(&fs->op_epoch, now + 1, memory_order_release);
	return now;
}

uint64_t epoch_oldest(struct fs *fs)
{
	uint64_t now;

	(void)epoch_stamp(fs); /* nobody may have advanced for long */
	now = atomic_load_explicit(&fs->op_epoch, memory_order_relaxed);
	for (uint64_t e = now - (SLOTS - 1); e < now; e++)
		if (occupied(fs, e))
			return e;
	return now;
}
