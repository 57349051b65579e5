/* SPDX-License-Identifier: Apache-2.0 */
/* What the cache's own work costs: hits, allocation, eviction, fragmentation. No I/O and no checksums; memory of
 * the arena is not touched. Prints ns per operation; each line is the median of five rounds, with the spread.
 * cache_bench [ARENA_MIB]; not a test. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/num.h"
#include "cache/cache.h"

#define ROUNDS 5

static uint32_t npages;
static uint64_t seed = 88172645463325252ull;

void lane_submit(struct lane *lane, struct io *io)
{
	abort(); /* nothing here does I/O */
}

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static struct cache *start(size_t bytes)
{
	struct cache_conf conf = { .bytes = bytes };
	struct cache *c;

	if (cache_new(&c, &conf))
		exit(1);
	npages = (uint32_t)(bytes / BLOCK_SIZE);
	return c;
}

static void put(struct cache *c, uint64_t block, uint32_t n)
{
	struct run *run = run_new(c, n);

	if (!run)
		exit(2);
	cache_insert(run, block, 1);
	run_unpin(run);
}

static int cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Runs body(arg, count) ROUNDS times. */
static void report(const char *what, void (*body)(struct cache *, unsigned, unsigned), struct cache *c, unsigned count,
		   unsigned arg)
{
	double ns[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t t = clock_now();

		body(c, count, arg);
		ns[i] = (double)(clock_now() - t) / count;
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), cmp);
	printf("%-58s %8.0f ns (%.0f to %.0f)\n", what, ns[ROUNDS / 2], ns[0], ns[ROUNDS - 1]);
}

static void hit_same(struct cache *c, unsigned count, unsigned n)
{
	uint32_t page;

	for (unsigned i = 0; i < count; i++)
		run_unpin(cache_find(c, i % n, 1, &page, true));
}

static void hit_random(struct cache *c, unsigned count, unsigned n)
{
	uint32_t page;

	for (unsigned i = 0; i < count; i++)
		run_unpin(cache_find(c, rnd() % (npages - 256), 1, &page, true));
}

static void miss(struct cache *c, unsigned count, unsigned n)
{
	uint32_t page;

	for (unsigned i = 0; i < count; i++)
		if (cache_find(c, (1ull << 40) + rnd() % (1 << 30), 1, &page, true))
			exit(3);
}

static void new_trim_free(struct cache *c, unsigned count, unsigned n)
{
	for (unsigned i = 0; i < count; i++) {
		struct run *run = run_new(c, n);

		run_trim(run, MAX(1u, n * 3 / 4));
		run_unpin(run);
	}
}

static void stream(struct cache *c, unsigned count, unsigned n)
{
	static uint64_t at = 1ull << 32;

	for (unsigned i = 0; i < count; i++, at += n)
		put(c, at, n);
}

/* Nodes of 4 pages and runs of 128, one to one in number. */
static void mixed(struct cache *c, unsigned count, unsigned n)
{
	for (unsigned i = 0; i < count; i++)
		put(c, rnd() % (1ull << 36), i % 2 ? 128 : 4);
}

static void random_sizes(struct cache *c, unsigned count, unsigned n)
{
	for (unsigned i = 0; i < count; i++)
		put(c, rnd() % (1ull << 36), 1 + (uint32_t)(rnd() % 128));
}

static void refill_single(struct cache *c, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		put(c, rnd() % (1ull << 36), 1);
}

/* The worst case: memory full of single pages in random order of age, then the longest runs. */
static void shattered(struct cache *c)
{
	uint64_t worst = 0, sum = 0;
	unsigned count = npages / 512;

	refill_single(c, 3 * npages);
	for (unsigned i = 0; i < count; i++) {
		uint64_t t = clock_now();

		put(c, rnd() % (1ull << 36), 128);
		t = clock_now() - t;
		sum += t;
		worst = MAX(worst, t);
	}
	printf("%-58s %8.0f ns (worst %.0f)\n", "insert 128 pages into memory full of single pages", (double)sum / count,
	       (double)worst);
}

static void *hitter(void *c)
{
	uint32_t page;

	for (unsigned i = 0; i < 1000000; i++)
		run_unpin(cache_find(c, i * 7919ull % (npages - 256), 1, &page, true));
	return NULL;
}

static void two_threads(struct cache *c)
{
	pthread_t t[2];
	uint64_t start_time = clock_now();

	for (unsigned i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, hitter, c);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	printf("%-58s %8.0f ns\n", "hit, 2 threads (wall time per hit of each)", (double)(clock_now() - start_time) / 1e6);
}

int main(int argc, char **argv)
{
	size_t bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 1024) * MiB;
	struct cache *c = start(bytes);

	report("run_new(1), trim, free", new_trim_free, c, 1000000, 1);
	report("run_new(128), trim to 96, free", new_trim_free, c, 1000000, 128);
	for (uint64_t at = 0; at + 32 < npages; at += 32)
		put(c, at, 32);
	report("hit, the same 64 blocks", hit_same, c, 1000000, 64);
	report("hit, random block in runs of 32", hit_random, c, 1000000, 0);
	report("miss", miss, c, 1000000, 0);
	two_threads(c);
	report("insert 128 pages, evicting the like", stream, c, npages / 32, 128);
	report("insert 32 pages, evicting the like", stream, c, npages / 8, 32);
	report("insert 4 pages, evicting the like", stream, c, npages, 4);
	report("insert 1 page, evicting the like", stream, c, npages, 1);
	report("insert 4 and 128 pages by turns", mixed, c, npages / 32, 0);
	report("insert 1 to 128 pages at random", random_sizes, c, npages / 32, 0);
	shattered(c);
	cache_free(c);
	c = start(bytes);
	for (uint64_t at = 0; at + 1 < npages; at++)
		put(c, at, 1);
	report("hit, random block in runs of 1", hit_random, c, 1000000, 0);
	cache_free(c);
	return 0;
}
