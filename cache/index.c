/* SPDX-License-Identifier: Apache-2.0 */
/* The index: device block -> the run that holds it. A hash of leaves, each for 16 neighbouring blocks.
 *
 * Why leaves of 16: I/O comes in stretches, so inserting 128 blocks touches 9 leaves and not 128 hash buckets; when
 * every block is far from every other a leaf costs 80 bytes for its one page, 2 % of the memory it names. The entry
 * is a run's number; the page follows from the run's first block, and the birth is the run's.
 *
 *  1. A block has one entry at most: of two births the one that was put in last, because there is one content on the
 *     device. Asking for another birth is a miss.
 *  2. frame.indexed is the number of entries that name the frame. VALID and without entries: freed with its last pin.
 *  3. A leaf in a chain has at least one entry, so there are never more leaves than pages. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include "base/err.h"
#include "base/num.h"
#include "cache/cache_impl.h"

static uint32_t head_count(uint32_t npages)
{
	return 1u << (order_up(npages) - 1);
}

int index_init(struct index *x, uint32_t npages)
{
	memset(x, 0, sizeof(*x));
	x->head_mask = head_count(npages) - 1;
	x->head = arena_map_table(head_count(npages) * sizeof(*x->head));
	x->leaf = arena_map_table(npages * sizeof(*x->leaf));
	if (x->head && x->leaf)
		return 0;
	index_exit(x, npages);
	return -ENOMEM;
}

void index_exit(struct index *x, uint32_t npages)
{
	if (x->head)
		munmap(x->head, head_count(npages) * sizeof(*x->head));
	if (x->leaf)
		munmap(x->leaf, npages * sizeof(*x->leaf));
}

static uint32_t *leaf_head(struct index *x, uint64_t key)
{
	return &x->head[mix64(key) >> 16 & x->head_mask];
}

static struct leaf *leaf_get(struct index *x, uint64_t key)
{
	uint32_t id = *leaf_head(x, key);

	while (id && x->leaf[id - 1].key != key)
		id = x->leaf[id - 1].next;
	return id ? &x->leaf[id - 1] : NULL;
}

static struct leaf *leaf_new(struct index *x, uint64_t key)
{
	uint32_t *head = leaf_head(x, key), id = x->free_leaf;
	struct leaf *leaf;

	if (!id)
		id = ++x->nr_leaves;
	leaf = &x->leaf[id - 1];
	if (x->free_leaf)
		x->free_leaf = leaf->next;
	*leaf = (struct leaf){ .key = key, .next = *head };
	*head = id;
	return leaf;
}

static void leaf_free(struct index *x, struct leaf *leaf)
{
	uint32_t *at = leaf_head(x, leaf->key), id = (uint32_t)(leaf - x->leaf) + 1;

	while (*at != id)
		at = &x->leaf[*at - 1].next;
	*at = leaf->next;
	leaf->next = x->free_leaf;
	x->free_leaf = id;
}

/* Takes the entry from whoever has it. The leaf stays, even when it is empty. */
static void entry_clear(struct cache *c, struct leaf *leaf, unsigned slot)
{
	uint32_t id = leaf->frame[slot];
	struct frame *f;

	if (!id)
		return;
	f = frame_by_id(c, id);
	leaf->frame[slot] = 0;
	leaf->used--;
	if (!--f->indexed && !atomic_load(&f->run.pins))
		frame_free(c, f);
}

struct frame *index_get(struct cache *c, uint64_t block)
{
	struct leaf *leaf = leaf_get(&c->index, block >> LEAF_SHIFT);
	uint32_t id = leaf ? leaf->frame[block % LEAF_BLOCKS] : 0;

	return id ? frame_by_id(c, id) : NULL;
}

/* Blocks of [block, end) in the leaf that block is in. */
static uint32_t leaf_part(uint64_t block, uint64_t end)
{
	return (uint32_t)MIN(end - block, LEAF_BLOCKS - block % LEAF_BLOCKS);
}

void index_insert(struct cache *c, struct frame *f)
{
	uint64_t block = f->run.block, end = block + f->run.npages;
	uint32_t id = frame_id(f), n;

	for (; block < end; block += n) {
		struct leaf *leaf = leaf_get(&c->index, block >> LEAF_SHIFT);

		n = leaf_part(block, end);
		if (!leaf)
			leaf = leaf_new(&c->index, block >> LEAF_SHIFT);
		for (uint32_t i = 0; i < n; i++) {
			entry_clear(c, leaf, block % LEAF_BLOCKS + i);
			leaf->frame[block % LEAF_BLOCKS + i] = id;
		}
		leaf->used += n;
		f->indexed += n;
	}
}

/* Clears the entries of [block, end): all, or only those that name the frame with this id. */
static void index_clear(struct cache *c, uint64_t block, uint64_t end, uint32_t only)
{
	uint32_t n;

	for (; block < end; block += n) {
		struct leaf *leaf = leaf_get(&c->index, block >> LEAF_SHIFT);

		n = leaf_part(block, end);
		for (uint32_t i = 0; leaf && i < n; i++)
			if (!only || leaf->frame[block % LEAF_BLOCKS + i] == only)
				entry_clear(c, leaf, block % LEAF_BLOCKS + i);
		if (leaf && !leaf->used)
			leaf_free(&c->index, leaf);
	}
}

void index_remove(struct cache *c, struct frame *f)
{
	index_clear(c, f->run.block, f->run.block + f->run.npages, frame_id(f));
}

static uint32_t missing(struct cache *c, uint64_t block, uint64_t birth, uint32_t max)
{
	uint64_t at = block, end = block + max;
	uint32_t n;

	for (; at < end; at += n) {
		struct leaf *leaf = leaf_get(&c->index, at >> LEAF_SHIFT);

		n = leaf_part(at, end);
		for (uint32_t i = 0; leaf && i < n; i++) {
			uint32_t id = leaf->frame[at % LEAF_BLOCKS + i];

			if (id && frame_by_id(c, id)->run.birth == birth)
				return (uint32_t)(at + i - block);
		}
	}
	return max;
}

uint32_t cache_missing(struct cache *c, uint64_t block, uint64_t birth, uint32_t max)
{
	uint32_t n;

	pthread_mutex_lock(&c->lock);
	n = missing(c, block, birth, max);
	pthread_mutex_unlock(&c->lock);
	return n;
}

static void count_use(struct cache *c, struct frame *f)
{
	if (atomic_load_explicit(&f->run.state, memory_order_relaxed) != RUN_VALID)
		return; /* the reader waits and finds it again */
	if (!f->fresh)
		stat_add(&c->stats.hits, 1);
	f->fresh = false;
}

struct run *cache_find(struct cache *c, uint64_t block, uint64_t birth, uint32_t *page, bool heat)
{
	struct frame *f;
	bool pinned;

	pthread_mutex_lock(&c->lock);
	f = index_get(c, block);
	if (f && f->run.birth != birth)
		f = NULL;
	if (f) {
		*page = (uint32_t)(block - f->run.block);
		pinned = frame_pin(c, f);
		if (heat) {
			evict_used(c, f, *page, pinned);
			count_use(c, f);
		}
	} else if (heat) {
		stat_add(&c->stats.misses, 1);
	}
	pthread_mutex_unlock(&c->lock);
	return f ? &f->run : NULL;
}

/* OWNED -> FILLING or VALID under a name. */
static void name_run(struct cache *c, struct run *run, uint64_t block, uint64_t birth, enum run_state state)
{
	run->block = block;
	run->birth = birth;
	atomic_store_explicit(&run->state, state, memory_order_release);
	index_insert(c, frame_of(run));
}

bool index_begin_fill(struct run *run, uint64_t block, uint64_t birth)
{
	struct cache *c = run->cache;
	bool absent;

	assert(atomic_load(&run->state) == RUN_OWNED);
	pthread_mutex_lock(&c->lock);
	absent = missing(c, block, birth, run->npages) == run->npages;
	if (absent) {
		name_run(c, run, block, birth, RUN_FILLING);
		evict_admit(c, frame_of(run));
	}
	pthread_mutex_unlock(&c->lock);
	return absent;
}

void cache_insert(struct run *run, uint64_t block, uint64_t birth)
{
	struct cache *c = run->cache;

	assert(atomic_load(&run->state) == RUN_OWNED);
	pthread_mutex_lock(&c->lock);
	name_run(c, run, block, birth, RUN_VALID);
	pthread_mutex_unlock(&c->lock);
}

void cache_drop(struct cache *c, uint64_t block, uint32_t nblocks)
{
	pthread_mutex_lock(&c->lock);
	index_clear(c, block, block + nblocks, 0);
	pthread_mutex_unlock(&c->lock);
}
