/* SPDX-License-Identifier: Apache-2.0 */
/* Block-range locks. The queue is inode->ranges (oldest first, holders and waiters alike); whoever is overlapped by
 * nobody before it holds its range. Guarded by the inode's lock. */
#include "fs/inode.h"
#include "fs/range.h"

static bool overlap(const struct op *a, const struct op *b)
{
	return a->range_first <= b->range_last && b->range_first <= a->range_last;
}

static bool range_free(const struct op *op)
{
	list_for_each(l, &op->inode->ranges) {
		const struct op *other = list_entry(l, struct op, range);

		if (other == op)
			return true;
		if (overlap(op, other))
			return false;
	}
	return true;
}

bool range_covers(const struct op *op, uint64_t first, uint64_t last)
{
	return op->range_held && op->range_first <= first && op->range_last >= last;
}

int range_lock(struct op *op, uint64_t first, uint64_t last)
{
	struct fs *fs = op->worker->fs;
	struct waiter *w;

	if (op->range_queued && (op->range_first != first || op->range_last != last))
		range_unlock(op);
	inode_lock(fs, op->inode);
	if (!op->range_queued) {
		op->range_first = first;
		op->range_last = last;
		list_append(&op->inode->ranges, &op->range);
		op->range_queued = true;
	}
	op->range_held = range_free(op);
	if (!op->range_held) {
		w = op_wait_idle(op);
		assert(w); /* nothing else is awaited this early */
		waitq_add(&op->inode->range_wait, w);
	}
	inode_unlock(fs, op->inode);
	return op->range_held ? 0 : -E_PARKED;
}

void range_unlock(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct list wake;

	if (!op->range_queued)
		return;
	list_init(&wake);
	inode_lock(fs, op->inode);
	list_del(&op->range);
	op->range_held = op->range_queued = false;
	waitq_take(&op->inode->range_wait, &wake);
	inode_unlock(fs, op->inode);
	waiters_wake(&wake, 0); /* all look again: waits are rare, and the queue keeps their order */
}
