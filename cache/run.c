/* SPDX-License-Identifier: Apache-2.0 */
/* Runs as memory: making, trimming, pins. cache.h has the states.
 *
 *  1. Pins rise from 0 only under the lock (cache_find), and reach 0 only under the lock; all other changes are atomic
 *     additions. So a run that is seen without pins under the lock stays so while the lock is held.
 *  2. cache->held counts a run's pages exactly while it has pins. */
#include <assert.h>
#include <string.h>
#include "base/num.h"
#include "cache/cache_impl.h"

/* There is a frame for every page, and every live run has a page. */
static struct frame *frame_alloc(struct cache *c)
{
	struct frame *f;

	if (!c->free_frame) {
		assert(c->nr_frames < c->arena.npages);
		return &c->frame[c->nr_frames++];
	}
	f = frame_by_id(c, c->free_frame);
	c->free_frame = f->next_free;
	return f;
}

static void hold_pages(struct cache *c, const struct frame *f, uint32_t npages)
{
	c->held[f->first / CHUNK_PAGES] += (uint16_t)npages;
	c->held_pages += npages;
}

static void unhold_pages(struct cache *c, const struct frame *f, uint32_t npages)
{
	c->held[f->first / CHUNK_PAGES] -= (uint16_t)npages;
	c->held_pages -= npages;
}

static void frame_init(struct cache *c, struct frame *f, uint32_t first, uint32_t npages)
{
	memset(f, 0, sizeof(*f));
	f->first = first;
	f->home = HOME_SMALL;
	f->run.mem = c->arena.mem + (size_t)first * BLOCK_SIZE;
	f->run.crcs = c->crcs + first;
	f->run.npages = npages;
	f->run.cache = c;
	atomic_init(&f->run.pins, 1);
	atomic_init(&f->run.state, RUN_OWNED);
	list_init(&f->run.lru);
	list_init(&f->run.waiters);
}

struct run *run_new(struct cache *c, uint32_t npages)
{
	struct frame *f = NULL;
	uint32_t first;

	assert(npages >= 1 && npages <= RUN_MAX);
	pthread_mutex_lock(&c->lock);
	if (evict_alloc(c, npages, &first)) {
		f = frame_alloc(c);
		frame_init(c, f, first, npages);
		c->arena.owner[first] = frame_id(f);
		hold_pages(c, f, npages);
	}
	pthread_mutex_unlock(&c->lock);
	return f ? &f->run : NULL;
}

void run_trim(struct run *run, uint32_t npages)
{
	struct cache *c = run->cache;
	struct frame *f = frame_of(run);
	uint32_t rest = run->npages - npages;

	assert(atomic_load(&run->state) == RUN_OWNED && npages >= 1 && npages <= run->npages);
	if (!rest)
		return;
	pthread_mutex_lock(&c->lock);
	unhold_pages(c, f, rest);
	arena_free(&c->arena, f->first + npages, rest);
	run->npages = npages;
	pthread_mutex_unlock(&c->lock);
}

struct run *run_split(struct run *run, uint32_t npages)
{
	struct cache *c = run->cache;
	struct frame *f = frame_of(run), *rest;
	uint32_t n = run->npages - npages;

	assert(atomic_load(&run->state) == RUN_OWNED && npages >= 1 && n >= 1);
	pthread_mutex_lock(&c->lock);
	unhold_pages(c, f, n);
	rest = frame_alloc(c);
	frame_init(c, rest, f->first + npages, n);
	c->arena.owner[rest->first] = frame_id(rest);
	hold_pages(c, rest, n);
	run->npages = npages;
	pthread_mutex_unlock(&c->lock);
	return &rest->run;
}

void frame_free(struct cache *c, struct frame *f)
{
	assert(!atomic_load(&f->run.pins) && !f->indexed && list_empty(&f->run.waiters));
	evict_forget(c, f);
	if (f->run.speculative && atomic_load(&f->run.state) == RUN_VALID)
		stat_add(&c->stats.ra_wasted, 1);
	atomic_store_explicit(&f->run.state, RUN_FREE, memory_order_relaxed);
	c->arena.owner[f->first] = 0;
	arena_free(&c->arena, f->first, f->run.npages);
	f->next_free = c->free_frame;
	c->free_frame = frame_id(f);
}

bool frame_pin(struct cache *c, struct frame *f)
{
	bool pinned = atomic_fetch_add_explicit(&f->run.pins, 1, memory_order_relaxed) != 0;

	if (!pinned)
		hold_pages(c, f, f->run.npages);
	return pinned;
}

void run_pin(struct run *run)
{
	uint32_t before = atomic_fetch_add_explicit(&run->pins, 1, memory_order_relaxed);

	assert(before);
}

static void unpin_locked(struct cache *c, struct frame *f)
{
	if (atomic_fetch_sub_explicit(&f->run.pins, 1, memory_order_acq_rel) != 1)
		return;
	unhold_pages(c, f, f->run.npages);
	assert(atomic_load_explicit(&f->run.state, memory_order_relaxed) != RUN_FILLING);
	if (f->indexed)
		evict_idle(c, f);
	else
		frame_free(c, f);
}

void run_unpin(struct run *run)
{
	struct cache *c = run->cache;
	uint32_t pins = atomic_load_explicit(&run->pins, memory_order_relaxed);

	while (pins > 1)
		if (atomic_compare_exchange_weak_explicit(&run->pins, &pins, pins - 1, memory_order_release,
							  memory_order_relaxed))
			return;
	assert(pins == 1);
	pthread_mutex_lock(&c->lock);
	unpin_locked(c, frame_of(run));
	pthread_mutex_unlock(&c->lock);
}
