/* SPDX-License-Identifier: Apache-2.0 */
/* Who goes when memory is wanted. Three FIFO lists of VALID runs, after S3-FIFO, with one more for streams:
 *
 *      new --> SMALL --- used again ---> MAIN --.          evicted from the tails: PASSED, then SMALL while it has
 *                |                        ^     |          more than its share (1/4), else MAIN
 *                | its stream went on     '-----' heat left: once more round, one degree cooler
 *                '------> PASSED
 *
 *  1. Used again is: a use of a page not behind the last one used, by somebody who is not reading along with others
 *     (the run had no pin). Reading a run from front to back is one use, so a scan heats nothing.
 *  2. A run that came by read-ahead has passed when its stream first hits the run behind it. The last few stay a while:
 *     the kernel's parallel requests for one stream arrive out of order.
 *  3. What left SMALL is remembered (ghost) while one arena's worth is evicted; read again by then, it goes to MAIN.
 *  4. A pinned run stays on its list until the evictor meets it, is then taken off, and comes back with its last unpin:
 *     so hits move nothing, and each skipped run costs O(1).
 *  5. A run without pins is VALID and on a list.
 *  6. A stream goes on in the memory that it passed, which the processor's caches still hold, rather than in free memory
 *     (a cold stream of 1 MiB reads gained 10 to 20 %). What it loses by that although there was
 *     memory, is remembered as in 3: a stream that comes again goes to MAIN and has all the memory there is.
 *
 * Contiguous space: where pages are scarce the lists' tails go; where there are enough free pages but no piece is large
 * enough, the coldest of some windows of that size goes as a whole. So an allocation fails only if every window of its
 * size has a pinned page. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include "base/err.h"
#include "base/num.h"
#include "cache/cache_impl.h"

#define HEAT_MAX 3u
#define PASSED_SLACK 1024u     /* pages: 4 MiB of requests out of order */
#define PASSED_WARM 1024u      /* pages: 4 MiB, what a processor's cache holds beside other things */
#define WINDOWS_ENOUGH 8u      /* candidates to choose the coldest from */

static uint32_t ghost_buckets(uint32_t npages)
{
	return 1u << (order_up(npages) - 3); /* one ghost a page, that is for runs of one page */
}

int evict_init(struct evict *e, uint32_t npages)
{
	memset(e, 0, sizeof(*e));
	for (unsigned i = 0; i < NR_HOMES; i++)
		list_init(&e->list[i]);
	e->bucket_mask = ghost_buckets(npages) - 1;
	e->ghosts = arena_map_table(ghost_buckets(npages) * sizeof(*e->ghosts));
	return e->ghosts ? 0 : -ENOMEM;
}

void evict_exit(struct evict *e)
{
	if (e->ghosts)
		munmap(e->ghosts, (e->bucket_mask + 1ull) * sizeof(*e->ghosts));
}

static struct ghost_bucket *ghost_bucket(struct cache *c, const struct run *run, uint32_t *tag)
{
	uint64_t hash = mix64(mix64(run->block) ^ run->birth);

	*tag = (uint32_t)(hash >> 32) | 1; /* 0: empty */
	return &c->evict.ghosts[hash & c->evict.bucket_mask];
}

static uint32_t ghost_age(const struct cache *c, const struct ghost *g)
{
	return g->tag ? c->evict.evicted - g->when : UINT32_MAX;
}

static void ghost_add(struct cache *c, const struct run *run)
{
	uint32_t tag;
	struct ghost_bucket *b = ghost_bucket(c, run, &tag);
	struct ghost *oldest = &b->ghost[0];

	for (unsigned i = 1; i < ARRAY_SIZE(b->ghost); i++)
		if (ghost_age(c, &b->ghost[i]) > ghost_age(c, oldest))
			oldest = &b->ghost[i];
	*oldest = (struct ghost){ .tag = tag, .when = c->evict.evicted };
}

static bool ghost_take(struct cache *c, const struct run *run)
{
	uint32_t tag, age;
	struct ghost_bucket *b = ghost_bucket(c, run, &tag);

	for (unsigned i = 0; i < ARRAY_SIZE(b->ghost); i++)
		if (b->ghost[i].tag == tag) {
			age = ghost_age(c, &b->ghost[i]);
			b->ghost[i].tag = 0;
			return age < c->arena.npages;
		}
	return false;
}

static void list_enter(struct cache *c, struct frame *f, enum evict_home home)
{
	f->home = (uint8_t)home;
	list_push(&c->evict.list[home], &f->run.lru);
	c->evict.pages[home] += f->run.npages;
}

void evict_forget(struct cache *c, struct frame *f)
{
	if (list_empty(&f->run.lru))
		return;
	list_del(&f->run.lru);
	c->evict.pages[f->home] -= f->run.npages;
}

/* To another list, or to come back there if it is on none now. */
static void move_home(struct cache *c, struct frame *f, enum evict_home home)
{
	bool listed = !list_empty(&f->run.lru);

	evict_forget(c, f);
	f->home = (uint8_t)home;
	if (listed)
		list_enter(c, f, home);
}

void evict_idle(struct cache *c, struct frame *f)
{
	if (list_empty(&f->run.lru))
		list_enter(c, f, f->home);
}

void evict_admit(struct cache *c, struct frame *f)
{
	f->fresh = !f->run.speculative;
	if (f->run.speculative)
		stat_add(&c->stats.ra_issued, 1);
	if (ghost_take(c, &f->run))
		f->home = HOME_MAIN;
}

/* Read-ahead was right; the run before this one has been passed. */
static void stream_hit(struct cache *c, struct frame *f)
{
	struct frame *before = f->run.block ? index_get(c, f->run.block - 1) : NULL;

	f->run.speculative = false;
	f->streamed = true;
	stat_add(&c->stats.ra_hit, 1);
	if (before && before != f && before->streamed && !before->run.heat && before->home == HOME_SMALL)
		move_home(c, before, HOME_PASSED);
}

void evict_used(struct cache *c, struct frame *f, uint32_t page, bool pinned)
{
	bool again = page < f->last;

	f->last = page + 1;
	if (f->run.speculative)
		stream_hit(c, f);
	else if (again && !pinned && f->run.heat < HEAT_MAX) {
		f->run.heat++;
		if (f->home == HOME_PASSED)
			move_home(c, f, HOME_SMALL);
	}
}

static void evict(struct cache *c, struct frame *f)
{
	stat_add(&c->stats.evictions, 1);
	c->evict.evicted += f->run.npages;
	if (f->home == HOME_SMALL && !f->streamed && !f->run.speculative)
		ghost_add(c, &f->run);
	index_remove(c, f);
}

/* Invariant 6. */
static void recycle_passed(struct cache *c, uint32_t npages)
{
	struct list *passed = &c->evict.list[HOME_PASSED];

	while (c->evict.pages[HOME_PASSED] > PASSED_WARM && npages) {
		struct frame *f = frame_of(list_entry(passed->prev, struct run, lru));

		if (atomic_load_explicit(&f->run.pins, memory_order_relaxed)) {
			evict_forget(c, f);
			continue;
		}
		npages -= MIN(npages, f->run.npages);
		ghost_add(c, &f->run);
		evict(c, f);
	}
}

static enum evict_home pick_list(const struct cache *c)
{
	const struct evict *e = &c->evict;
	uint32_t npages = c->arena.npages;

	if (e->pages[HOME_PASSED] > MIN(PASSED_SLACK, npages / 32))
		return HOME_PASSED;
	if (e->pages[HOME_SMALL] && (e->pages[HOME_SMALL] > npages / 4 || !e->pages[HOME_MAIN]))
		return HOME_SMALL;
	return e->pages[HOME_MAIN] ? HOME_MAIN : HOME_PASSED;
}

/* Looks at one run. 1: evicted, 0: it was spared, -1: the lists are empty. */
static int evict_step(struct cache *c)
{
	enum evict_home home = pick_list(c);
	struct frame *f;

	if (list_empty(&c->evict.list[home]))
		return -1;
	f = frame_of(list_entry(c->evict.list[home].prev, struct run, lru));
	if (atomic_load_explicit(&f->run.pins, memory_order_relaxed)) {
		evict_forget(c, f);
		return 0;
	}
	if (!f->run.heat) {
		evict(c, f);
		return 1;
	}
	f->run.heat = home == HOME_SMALL ? 0 : f->run.heat - 1;
	move_home(c, f, HOME_MAIN);
	return 0;
}

static bool evict_one(struct cache *c)
{
	int r;

	do
		r = evict_step(c);
	while (!r);
	return r > 0;
}

/* What it would hurt to lose one of the run's pages. */
static uint32_t page_cost(const struct frame *f)
{
	return f->home == HOME_MAIN ? 4 + 4 * f->run.heat : 1 + 3 * f->run.heat;
}

/* What starts at page: *len pages that are free (NULL, *held false), a run's, or the page of zeros (NULL, *held). */
static struct frame *piece_at(struct cache *c, uint32_t page, uint32_t *len, bool *held)
{
	const struct arena *a = &c->arena;
	struct frame *f;

	*held = false;
	if (a->piece[page]) {
		*len = 1u << (a->piece[page] - 1);
		return NULL;
	}
	if (!a->owner[page]) {
		*len = 1;
		*held = true;
		return NULL;
	}
	f = frame_by_id(c, a->owner[page]);
	*len = f->run.npages;
	*held = atomic_load_explicit(&f->run.pins, memory_order_relaxed) != 0;
	return f;
}

struct window {
	uint32_t first, cost; /* cost UINT32_MAX: none */
};

/* The chunk's cheapest window of 1 << order pages into *best; returns how many windows were free of pins. */
static unsigned weigh_chunk(struct cache *c, uint32_t chunk, unsigned order, struct window *best)
{
	uint32_t base = chunk * CHUNK_PAGES, cost[CHUNK_PAGES] = { 0 }, len;
	unsigned usable = 0;

	for (uint32_t at = 0; at < CHUNK_PAGES; at += len) {
		bool held;
		struct frame *f = piece_at(c, base + at, &len, &held);

		for (uint32_t w = at >> order; w <= (at + len - 1) >> order; w++)
			if (held)
				cost[w] = UINT32_MAX;
			else if (f && cost[w] != UINT32_MAX)
				cost[w] += len * page_cost(f);
	}
	for (uint32_t w = 0; w < CHUNK_PAGES >> order; w++) {
		usable += cost[w] != UINT32_MAX;
		if (cost[w] < best->cost)
			*best = (struct window){ .first = base + (w << order), .cost = cost[w] };
	}
	return usable;
}

static struct window find_window(struct cache *c, unsigned order)
{
	uint32_t nr_chunks = c->arena.npages / CHUNK_PAGES, size = 1u << order;
	struct window best = { .cost = UINT32_MAX };
	unsigned seen = 0;

	for (uint32_t i = 0; i < nr_chunks && seen < WINDOWS_ENOUGH && best.cost > size; i++) {
		uint32_t chunk = c->evict.hand;

		c->evict.hand = (chunk + 1) % nr_chunks;
		if (c->held[chunk] + size <= CHUNK_PAGES)
			seen += weigh_chunk(c, chunk, order, &best);
	}
	return best;
}

/* Makes one free piece of 1 << order pages, whatever lies there. false: pins everywhere. */
static bool evict_window(struct cache *c, unsigned order)
{
	struct window w = find_window(c, order);
	uint32_t len;

	if (w.cost == UINT32_MAX)
		return false;
	/* Behind an evicted run its free neighbours are one piece with it; inside that, steps are one page long. */
	for (uint32_t at = ROUND_DOWN(w.first, CHUNK_PAGES); at < w.first + (1u << order); at += len) {
		bool held;
		struct frame *f = piece_at(c, at, &len, &held);

		if (f && at + len > w.first)
			evict(c, f);
	}
	return true;
}

bool evict_alloc(struct cache *c, uint32_t npages, uint32_t *first)
{
	unsigned order = order_up(npages);

	if (c->arena.free_pages >= 2u << order)
		recycle_passed(c, npages);
	while (!arena_alloc(&c->arena, npages, first)) {
		if (npages > c->arena.npages - 1 - c->held_pages)
			return false;
		if (c->arena.free_pages < 2u << order && evict_one(c))
			continue;
		if (!evict_window(c, order))
			return false;
	}
	return true;
}
