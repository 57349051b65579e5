/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of cache/ share: a lane that finishes I/O when the test says so, and blocks that tell who they are. */
#ifndef NVOFS_TESTS_CACHE_LANE_H
#define NVOFS_TESTS_CACHE_LANE_H

#include <check.h>
#include "base/crc.h"
#include "base/num.h"
#include "cache/cache_impl.h"

#define LANE_DEPTH 64u
#define SMALL_ARENA (4 * MiB) /* 1024 pages, one of them the zeros */

/* Stands in for transport's: keeps ios until lane_finish. */
struct lane {
	struct io *queue[LANE_DEPTH];
	unsigned n;
};

void lane_submit(struct lane *lane, struct io *io)
{
	ck_assert_uint_lt(lane->n, LANE_DEPTH);
	lane->queue[lane->n++] = io;
}

static inline uint64_t rnd(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* What the device holds in a block: every word tells the block, some the birth too. */
static inline void page_make(uint64_t *page, uint64_t block, uint64_t birth)
{
	for (unsigned i = 0; i < BLOCK_SIZE / 8; i++)
		page[i] = block << 16 ^ i;
	page[7] = birth;
}

static inline bool page_is(const struct run *run, uint32_t page, uint64_t block, uint64_t birth)
{
	const uint64_t *p = (const uint64_t *)((const uint8_t *)run->mem + (size_t)page * BLOCK_SIZE);

	return p[0] == block << 16 && p[7] == birth && p[511] == (block << 16 ^ 511);
}

static inline uint32_t crc_of(uint64_t block, uint64_t birth)
{
	uint64_t page[BLOCK_SIZE / 8];

	page_make(page, block, birth);
	return crc32c(page, BLOCK_SIZE);
}

static inline void set_crcs(struct run *run, uint64_t block, uint64_t birth)
{
	for (uint32_t i = 0; i < run->npages; i++)
		run->crcs[i] = crc_of(block + i, birth);
}

static inline struct io *lane_take(struct lane *lane, unsigned i)
{
	struct io *io = lane->queue[i];

	lane->queue[i] = lane->queue[--lane->n];
	return io;
}

static inline void io_finish(struct io *io, uint64_t birth, int status)
{
	if (io->op == IO_READ && !status)
		for (uint32_t i = 0; i < io->nblocks; i++)
			page_make((uint64_t *)((uint8_t *)io->mem + (size_t)i * BLOCK_SIZE), io->block + i, birth);
	io->done(io, status);
	if (io->stable)
		io->stable(io);
}

static inline void lane_finish(struct lane *lane, uint64_t birth)
{
	while (lane->n)
		io_finish(lane_take(lane, 0), birth, 0);
}

static inline struct cache *new_cache(size_t bytes)
{
	struct cache_conf conf = { .bytes = bytes };
	struct cache *c;

	ck_assert_int_eq(cache_new(&c, &conf), 0);
	return c;
}

static inline struct cache_stats stats_of(struct cache *c)
{
	struct cache_stats s;

	cache_stats(c, &s);
	return s;
}

static inline unsigned count_present(struct cache *c, uint64_t block, uint32_t stride, unsigned n)
{
	unsigned present = 0;

	for (unsigned i = 0; i < n; i++)
		present += !cache_missing(c, block + (uint64_t)i * stride, 1, 1);
	return present;
}

#endif
