/* SPDX-License-Identifier: Apache-2.0 */
/* A run's I/O: fills with their checksums, private reads, writes, and who waits.
 *
 *      run_fill --> FILLING --> lane --> io.done: checksums, no lock --> VALID | FAILED --> waiters; io.stable: unpin
 *
 *  1. From submit to io.stable() the run has a pin of its own, so that neither done() nor a waiter, giving back theirs,
 *     can free what the lane still looks at.
 *  2. While FILLING only the lane and then io.done touch the memory; nobody else may read before VALID.
 *  3. Waiters are called without the lock, and each is forgotten before it is called: it may free itself. */
#include <assert.h>
#include "base/crc.h"
#include "base/err.h"
#include "cache/cache_impl.h"

static uint32_t page_crc(const struct run *run, uint32_t page)
{
	return crc32c((const uint8_t *)run->mem + (size_t)page * BLOCK_SIZE, BLOCK_SIZE);
}

void run_checksum(struct run *run)
{
	for (uint32_t i = 0; i < run->npages; i++)
		run->crcs[i] = page_crc(run, i);
}

static int verify(struct run *run)
{
	for (uint32_t i = 0; i < run->npages; i++)
		if (page_crc(run, i) != run->crcs[i]) {
			run->bad_page = i;
			return -E_CHECKSUM;
		}
	return 0;
}

bool run_wait(struct run *run, struct waiter *w)
{
	struct cache *c = run->cache;
	bool filling;

	pthread_mutex_lock(&c->lock);
	filling = atomic_load_explicit(&run->state, memory_order_relaxed) == RUN_FILLING;
	if (filling)
		list_append(&run->waiters, &w->link);
	pthread_mutex_unlock(&c->lock);
	return filling;
}

/* FILLING -> VALID or FAILED; moves the waiters to *waiters. */
static void settle(struct run *run, int status, struct list *waiters)
{
	struct cache *c = run->cache;

	pthread_mutex_lock(&c->lock);
	stat_add(&c->stats.fills, 1);
	if (status == -E_CHECKSUM)
		stat_add(&c->stats.checksum_errors, 1);
	if (status)
		index_remove(c, frame_of(run));
	run->status = status;
	atomic_store_explicit(&run->state, status ? RUN_FAILED : RUN_VALID, memory_order_release);
	list_splice(waiters, &run->waiters);
	pthread_mutex_unlock(&c->lock);
}

static void fill_done(struct io *io, int status)
{
	struct run *run = container_of(io, struct run, io);
	struct list waiters, *l;

	list_init(&waiters);
	if (!status)
		status = verify(run);
	settle(run, status, &waiters);
	while ((l = list_pop(&waiters))) {
		struct waiter *w = list_entry(l, struct waiter, link);

		w->wake(w, status);
	}
}

static void owner_done(struct io *io, int status)
{
	struct run *run = container_of(io, struct run, io);

	run->done(run, status);
}

static void io_stable(struct io *io)
{
	run_unpin(container_of(io, struct run, io));
}

static void submit(struct run *run, struct lane *lane, enum io_op op, uint64_t block, unsigned flags,
		   void (*done)(struct io *, int))
{
	run_pin(run);
	run->io = (struct io){
		.op = op,
		.flags = flags,
		.block = block,
		.nblocks = run->npages,
		.mem = run->mem,
		.done = done,
		.stable = io_stable,
	};
	list_init(&run->io.link);
	lane_submit(lane, &run->io);
}

int run_fill(struct run *run, struct lane *lane, uint64_t block, uint64_t birth)
{
	if (!index_begin_fill(run, block, birth))
		return -EEXIST;
	submit(run, lane, IO_READ, block, 0, fill_done);
	return 0;
}

void run_read(struct run *run, struct lane *lane, uint64_t block, unsigned flags, void (*done)(struct run *, int))
{
	assert(atomic_load(&run->state) == RUN_OWNED);
	run->done = done;
	submit(run, lane, IO_READ, block, flags, owner_done);
}

void run_write(struct run *run, struct lane *lane, uint64_t block, unsigned flags, void (*done)(struct run *, int))
{
	run->done = done;
	submit(run, lane, IO_WRITE, block, flags, owner_done);
}
