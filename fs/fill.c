/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fill.h"

#include <pthread.h>
#include <stdlib.h>
#include "fs/fs_core.h"
#include "fs/inode.h"
#include "fs/pressure.h"

#define FILLS 64u

struct fills {
	struct fs *fs;
	pthread_mutex_t mutex;     /* active, idle, each fill's waiters */
	struct list active, idle;
	struct fill fill[FILLS];
};

int fills_new(struct fills **out, struct fs *fs)
{
	struct fills *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->fs = fs;
	pthread_mutex_init(&f->mutex, NULL);
	list_init(&f->active);
	list_init(&f->idle);
	for (unsigned i = 0; i < FILLS; i++)
		list_append(&f->idle, &f->fill[i].link);
	*out = f;
	return 0;
}

void fills_free(struct fills *f)
{
	if (!f)
		return;
	list_for_each_safe(l, &f->active) /* abandoned: what is in flight never comes */
		run_unpin(list_entry(l, struct fill, link)->run);
	pthread_mutex_destroy(&f->mutex);
	free(f);
}

static void arrived(struct run *run, int status)
{
	struct fill *fill = run->owner;
	struct fs *fs = fill->worker->fs;
	struct fills *f = fs->fills;
	struct list waiters;

	if (!status)
		status = fill->judge(fs, fill, run->mem);
	fs_lock_excl(fs);
	fill->install(fs, fill, status);
	/* Taken off while the lock is held: an op that misses the block after this finds it installed. */
	pthread_mutex_lock(&f->mutex);
	list_init(&waiters);
	list_splice(&waiters, &fill->waiters);
	list_del(&fill->link);
	fill->run = NULL;
	list_append(&f->idle, &fill->link);
	pthread_mutex_unlock(&f->mutex);
	fs_unlock(fs);
	run_unpin(run);
	waiters_wake(&waiters, status);
}

static struct fill *find_active(struct fills *f, uint64_t block)
{
	list_for_each(l, &f->active) {
		struct fill *fill = list_entry(l, struct fill, link);

		if (fill->block == block)
			return fill;
	}
	return NULL;
}

/* Mutex held. A started fill of *wanted, or NULL if there is no memory for it now. */
static struct fill *begin(struct fills *f, struct worker *w, const struct fill *wanted)
{
	struct fill *fill;
	struct run *run;

	if (list_empty(&f->idle))
		return NULL;
	run = run_new(f->fs->cache, wanted->nblocks);
	if (!run)
		return NULL;
	fill = list_entry(list_pop(&f->idle), struct fill, link);
	*fill = *wanted;
	list_init(&fill->link);
	list_init(&fill->waiters);
	fill->worker = w;
	fill->run = run;
	fill->status = 0;
	run->owner = fill;
	list_append(&f->active, &fill->link);
	return fill;
}

static int start(struct worker *w, struct op *op, const struct fill *wanted)
{
	struct fills *f = w->fs->fills;
	struct waiter *waiter = op ? op_wait(op) : NULL;
	struct fill *fill, *fresh = NULL;

	pthread_mutex_lock(&f->mutex);
	fill = find_active(f, wanted->block);
	if (!fill) {
		fill = fresh = begin(f, w, wanted);
		/* All are busy, or the arena is: wait for any, then look again. */
		if (!fill && !list_empty(&f->active))
			fill = list_entry(f->active.next, struct fill, link);
	}
	if (fill && waiter)
		list_append(&fill->waiters, &waiter->link);
	pthread_mutex_unlock(&f->mutex);
	if (fresh)
		run_read(fresh->run, w->lane, fresh->block, IO_URGENT, arrived);
	if (!fill && waiter)
		op_unwait(op, waiter);
	return fill ? -E_PARKED : -E_NO_FRAMES;
}

int fill_start(struct op *op, const struct fill *wanted)
{
	int err = start(op->worker, op, wanted);

	if (err != -E_NO_FRAMES)
		return err;
	pressure_check(op->worker, true);
	return op_retry_later(op, &op->patience);
}

int fill_start_nowait(struct worker *w, const struct fill *wanted)
{
	int err = start(w, NULL, wanted);

	return err == -E_PARKED ? 0 : err;
}
