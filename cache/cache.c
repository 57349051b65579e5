/* SPDX-License-Identifier: Apache-2.0 */
/* The cache's life, its counters, and the page of zeros. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/err.h"
#include "base/num.h"
#include "cache/cache_impl.h"

/* Tables beside the arena, one entry a page (held: one a chunk). Mapped, not allocated: untouched parts of a large
 * cache take no memory. On failure tables_exit undoes what was got. */
static int tables_init(struct cache *c)
{
	uint32_t npages = c->arena.npages;

	c->frame = arena_map_table(npages * sizeof(*c->frame));
	c->crcs = arena_map_table(npages * sizeof(*c->crcs));
	c->held = arena_map_table(npages / CHUNK_PAGES * sizeof(*c->held));
	return c->frame && c->crcs && c->held ? 0 : -ENOMEM;
}

static void tables_exit(struct cache *c)
{
	uint32_t npages = c->arena.npages;

	if (c->frame)
		munmap(c->frame, npages * sizeof(*c->frame));
	if (c->crcs)
		munmap(c->crcs, npages * sizeof(*c->crcs));
	if (c->held)
		munmap(c->held, npages / CHUNK_PAGES * sizeof(*c->held));
}

/* Fresh anonymous memory is zero, and nobody writes this page. held counts it among the pages of its chunk that
 * cannot be evicted. */
static void zero_page_init(struct cache *c)
{
	uint32_t page;

	if (!arena_alloc(&c->arena, 1, &page))
		assert(!"an arena without pages");
	c->zero_page = c->arena.mem + (size_t)page * BLOCK_SIZE;
	c->held[page / CHUNK_PAGES]++;
}

/* Adaptive: spins before it sleeps. */
static void lock_init(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP); /* held for less than a sleep costs */
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

/* conf is not kept. Nothing is registered here: the caller gives cache_memory to the namespace. */
int cache_new(struct cache **out, const struct cache_conf *conf)
{
	struct cache *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	err = arena_init(&c->arena, conf->bytes, conf->huge_pages);
	if (err)
		goto out_free;
	err = tables_init(c);
	if (err)
		goto out_tables;
	err = index_init(&c->index, c->arena.npages);
	if (err)
		goto out_tables;
	err = evict_init(&c->evict, c->arena.npages);
	if (err)
		goto out_index;
	lock_init(&c->lock);
	zero_page_init(c);
	*out = c;
	return 0;
out_index:
	index_exit(&c->index, c->arena.npages);
out_tables:
	tables_exit(c);
	arena_exit(&c->arena);
out_free:
	free(c);
	return err;
}

/* After the namespace is closed: until its wires are stopped a target may still write to the arena. */
void cache_free(struct cache *c)
{
	assert(!c->held_pages);
	pthread_mutex_destroy(&c->lock);
	evict_exit(&c->evict);
	index_exit(&c->index, c->arena.npages);
	tables_exit(c);
	arena_exit(&c->arena);
	free(c);
}

/* Borrowed; it neither moves nor grows while the cache lives. */
void *cache_memory(const struct cache *c, size_t *len)
{
	*len = c->arena.bytes;
	return c->arena.mem;
}

/* Read only: replies for holes of many files point at it at once. */
void *cache_zero_page(const struct cache *c)
{
	return c->zero_page;
}

static uint64_t stat_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Each is exact, together they are not: workers go on counting meanwhile. */
static void copy_counters(const struct cache_stats *from, struct cache_stats *to)
{
	to->hits = stat_get(&from->hits);
	to->misses = stat_get(&from->misses);
	to->fills = stat_get(&from->fills);
	to->evictions = stat_get(&from->evictions);
	to->ra_issued = stat_get(&from->ra_issued);
	to->ra_hit = stat_get(&from->ra_hit);
	to->ra_wasted = stat_get(&from->ra_wasted);
	to->checksum_errors = stat_get(&from->checksum_errors);
}

/* The lock is for the page counts, which the mutex guards; const for the caller, who sees no change. */
void cache_stats(const struct cache *c, struct cache_stats *out)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&c->lock;

	pthread_mutex_lock(lock);
	copy_counters(&c->stats, out);
	out->bytes = c->arena.bytes;
	out->free_bytes = (uint64_t)c->arena.free_pages * BLOCK_SIZE;
	out->pinned_bytes = (uint64_t)c->held_pages * BLOCK_SIZE;
	pthread_mutex_unlock(lock);
}
