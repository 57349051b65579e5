/* SPDX-License-Identifier: Apache-2.0 */
/* cache/: the buddy allocator's invariants, the index against a model, runs through their states with a lane that
 * finishes I/O when the test says so, pins, read-ahead, and all of it by several threads. Eviction: test_evict.c. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/num.h"
#include "cache/cache_impl.h"
#include "tests/unit/cache_lane.h"

/* Invariants 1 to 3 of arena.c, and that used[] and the free pieces cover each page once. */
static void check_arena(const struct arena *a, const uint8_t *used)
{
	uint8_t *seen = calloc(1, a->npages);
	uint32_t total = 0;

	for (unsigned order = 0; order < NR_ORDERS; order++) {
		uint32_t prev = PAGE_NONE, size = 1u << order;

		for (uint32_t p = a->head[order]; p != PAGE_NONE; prev = p, p = a->link[p].next) {
			ck_assert_uint_eq(p % size, 0);
			ck_assert_uint_eq(a->piece[p], order + 1);
			ck_assert_uint_eq(a->link[p].prev, prev);
			if (order < CHUNK_ORDER)
				ck_assert_uint_ne(a->piece[p ^ size], order + 1);
			for (uint32_t i = 0; i < size; i++) {
				ck_assert(!seen[p + i] && (!used || !used[p + i]));
				ck_assert(!i || !a->piece[p + i]);
				seen[p + i] = 1;
			}
			total += size;
		}
	}
	ck_assert_uint_eq(total, a->free_pages);
	for (uint32_t p = 0; used && p < a->npages; p++)
		ck_assert(seen[p] || used[p]);
	free(seen);
}

START_TEST(buddy_random)
{
	struct arena a;
	struct { uint32_t first, n; } live[1024];
	uint8_t used[1024] = { 0 };
	unsigned nr = 0;
	uint64_t seed = 0x1234567 + (uint64_t)_i;

	ck_assert_int_eq(arena_init(&a, SMALL_ARENA, false), 0);
	ck_assert_uint_eq(a.npages, 1024);
	for (unsigned step = 0; step < 4000; step++) {
		uint32_t n = 1 + (uint32_t)(rnd(&seed) % (step / 500 % 2 ? 128 : 9)), first;

		if (rnd(&seed) % 9 < 5 && arena_alloc(&a, n, &first)) {
			ck_assert_uint_eq(first / 128, (first + n - 1) / 128);
			for (uint32_t i = 0; i < n; i++)
				ck_assert(!used[first + i]++);
			live[nr].first = first;
			live[nr++].n = n;
		} else if (nr) { /* all of one, or its tail */
			unsigned k = (unsigned)(rnd(&seed) % nr);
			uint32_t keep = rnd(&seed) % 4 ? 0 : (uint32_t)(rnd(&seed) % live[k].n);

			arena_free(&a, live[k].first + keep, live[k].n - keep);
			memset(used + live[k].first + keep, 0, live[k].n - keep);
			live[k].n = keep;
			if (!keep)
				live[k] = live[--nr];
		}
		if (step % 16 == 0)
			check_arena(&a, used);
	}
	while (nr--)
		arena_free(&a, live[nr].first, live[nr].n);
	for (uint32_t p = 0; p < a.npages; p += 128)
		ck_assert_uint_eq(a.piece[p], CHUNK_ORDER + 1);
	arena_exit(&a);
}
END_TEST

START_TEST(memory)
{
	struct cache *c = new_cache(7 * MiB);
	struct run *a, *b;
	uint8_t *mem, zeros[BLOCK_SIZE] = { 0 };
	size_t len;

	mem = cache_memory(c, &len);
	ck_assert_uint_eq(len, 6 * MiB);
	ck_assert_uint_eq((uintptr_t)mem % (2 * MiB), 0);
	ck_assert(!memcmp(cache_zero_page(c), zeros, BLOCK_SIZE));
	ck_assert((uint8_t *)cache_zero_page(c) >= mem && (uint8_t *)cache_zero_page(c) < mem + len);
	a = run_new(c, 77);
	b = run_new(c, 128);
	ck_assert(a && b && a->npages == 77 && b->npages == 128);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 205 * BLOCK_SIZE);
	memset(a->mem, 1, 77 * BLOCK_SIZE);
	memset(b->mem, 2, 128 * BLOCK_SIZE);
	run_trim(b, 3);
	run_trim(b, 3);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 80 * BLOCK_SIZE);
	ck_assert_uint_eq(stats_of(c).free_bytes, len - 81 * BLOCK_SIZE);
	run_pin(a);
	run_unpin(a);
	ck_assert_uint_eq(((uint8_t *)a->mem)[77 * BLOCK_SIZE - 1], 1);
	run_unpin(a);
	run_unpin(b);
	ck_assert_uint_eq(stats_of(c).free_bytes, len - BLOCK_SIZE);
	ck_assert(!memcmp(cache_zero_page(c), zeros, BLOCK_SIZE));
	check_arena(&c->arena, NULL);
	cache_free(c);
}
END_TEST

START_TEST(split)
{
	struct cache *c = new_cache(4 * MiB);
	struct run *a, *b, *d;
	size_t len;

	cache_memory(c, &len);
	a = run_new(c, 128);
	b = run_split(a, 1);
	d = run_split(b, 100);
	ck_assert(a->npages == 1 && b->npages == 100 && d->npages == 27);
	ck_assert_ptr_eq((uint8_t *)a->mem + BLOCK_SIZE, b->mem);
	ck_assert(d->mem == (uint8_t *)b->mem + 100 * BLOCK_SIZE && d->crcs == b->crcs + 100);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 128 * BLOCK_SIZE);
	cache_insert(b, 1000, 7);
	run_unpin(a), run_unpin(d);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 100 * BLOCK_SIZE);
	run_unpin(b);
	cache_drop(c, 1000, 100);
	ck_assert_uint_eq(stats_of(c).free_bytes, len - BLOCK_SIZE);
	check_arena(&c->arena, NULL);
	cache_free(c);
}
END_TEST

START_TEST(huge_pages)
{
	struct cache_conf conf = { .bytes = 8 * MiB, .huge_pages = true };
	struct cache *c;
	size_t len;

	ck_assert_int_eq(cache_new(&c, &conf), 0);
	memset(cache_memory(c, &len), 0, 8 * MiB);
	ck_assert_uint_eq(len, 8 * MiB);
	cache_free(c);
}
END_TEST

struct test_waiter {
	struct waiter w;
	int status;
	unsigned woken, order;
};

static unsigned wake_order;

static void woken(struct waiter *w, int status)
{
	struct test_waiter *t = container_of(w, struct test_waiter, w);

	t->status = status;
	t->woken++;
	t->order = ++wake_order;
}

START_TEST(fill_and_wait)
{
	struct cache *c = new_cache(SMALL_ARENA);
	struct lane lane = { 0 };
	struct test_waiter w[3] = { { .w.wake = woken }, { .w.wake = woken }, { .w.wake = woken } };
	struct run *run = run_new(c, 8), *other = run_new(c, 4), *found;
	uint32_t page;

	ck_assert_ptr_null(cache_find(c, 1000, 5, &page, true));
	ck_assert_uint_eq(cache_missing(c, 1000, 5, 100), 100);
	set_crcs(run, 1000, 5);
	ck_assert_int_eq(run_fill(run, &lane, 1000, 5), 0);
	ck_assert_uint_eq(lane.n, 1);
	ck_assert(lane.queue[0]->op == IO_READ && lane.queue[0]->block == 1000 && lane.queue[0]->nblocks == 8);
	ck_assert_int_eq(run_fill(other, &lane, 1005, 5), -EEXIST);
	ck_assert_int_eq(run_fill(other, &lane, 997, 5), -EEXIST);
	ck_assert(atomic_load(&other->state) == RUN_OWNED);
	ck_assert_uint_eq(cache_missing(c, 990, 5, 100), 10);
	ck_assert_uint_eq(cache_missing(c, 1007, 5, 100), 0);
	ck_assert_uint_eq(cache_missing(c, 1007, 6, 100), 100);
	found = cache_find(c, 1003, 5, &page, true);
	ck_assert(found == run && page == 3 && atomic_load(&found->state) == RUN_FILLING);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(run_wait(run, &w[i].w));
	lane_finish(&lane, 5);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(w[i].woken == 1 && w[i].status == 0 && w[i].order == i + 1);
	ck_assert(!run_wait(run, &w[0].w));
	ck_assert(atomic_load(&run->state) == RUN_VALID && page_is(found, 3, 1003, 5));
	ck_assert_ptr_null(cache_find(c, 1003, 4, &page, true));
	run_unpin(found);
	run_unpin(run);
	run_unpin(other);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 0);
	cache_free(c);
}
END_TEST

START_TEST(fill_fails)
{
	struct cache *c = new_cache(SMALL_ARENA);
	struct lane lane = { 0 };
	struct test_waiter w = { .w.wake = woken };
	int status = _i ? -E_MEDIA : -E_CHECKSUM;
	struct run *run = run_new(c, 8), *again;
	uint32_t page;

	set_crcs(run, 64, 1);
	if (!_i)
		run->crcs[6] ^= 1;
	ck_assert_int_eq(run_fill(run, &lane, 64, 1), 0);
	ck_assert(cache_find(c, 64, 1, &page, true) == run);
	ck_assert(run_wait(run, &w.w));
	io_finish(lane_take(&lane, 0), 1, _i ? status : 0);
	ck_assert(w.woken == 1 && w.status == status && run->status == status);
	ck_assert(atomic_load(&run->state) == RUN_FAILED);
	ck_assert(_i || run->bad_page == 6);
	ck_assert_uint_eq(stats_of(c).checksum_errors, !_i);
	ck_assert_ptr_null(cache_find(c, 64, 1, &page, true));
	again = run_new(c, 8); /* the next reader reads again, while the failed one is still looked at */
	set_crcs(again, 64, 1);
	ck_assert_int_eq(run_fill(again, &lane, 64, 1), 0);
	run_unpin(run);
	run_unpin(run);
	lane_finish(&lane, 1);
	ck_assert(cache_find(c, 66, 1, &page, true) == again && page_is(again, 2, 66, 1));
	run_unpin(again);
	run_unpin(again);
	ck_assert_uint_eq(stats_of(c).free_bytes, SMALL_ARENA - 9 * BLOCK_SIZE);
	cache_free(c);
}
END_TEST

static int done_status;
static unsigned done_count;

static void owner_done(struct run *run, int status)
{
	done_status = status;
	done_count++;
}

static void unpin_done(struct run *run, int status)
{
	done_count++;
	run_unpin(run);
}

START_TEST(write_until_stable)
{
	struct cache *c = new_cache(SMALL_ARENA);
	struct lane lane = { 0 };
	struct run *run = run_new(c, 2), *found;
	struct io *io;
	uint32_t page;

	page_make(run->mem, 300, 9);
	page_make((uint64_t *)run->mem + 512, 301, 9);
	run_checksum(run);
	ck_assert_uint_eq(run->crcs[1], crc_of(301, 9));
	done_count = 0;
	run_write(run, &lane, 300, IO_FUA, owner_done);
	io = lane_take(&lane, 0);
	ck_assert(io->op == IO_WRITE && io->block == 300 && io->nblocks == 2 && io->flags == IO_FUA && io->mem == run->mem);
	ck_assert_ptr_null(cache_find(c, 300, 9, &page, true));
	io->done(io, 0);
	ck_assert_uint_eq(done_count, 1);
	cache_insert(run, 300, 9);
	run_unpin(run);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 2 * BLOCK_SIZE); /* not flushed yet */
	cache_drop(c, 300, 2);
	ck_assert_ptr_null(cache_find(c, 300, 9, &page, true));
	ck_assert(page_is(run, 1, 301, 9));
	io->stable(io);
	ck_assert_uint_eq(stats_of(c).free_bytes, SMALL_ARENA - BLOCK_SIZE);

	run = run_new(c, 1); /* stable before the owner lets go */
	run_write(run, &lane, 400, 0, owner_done);
	io_finish(lane_take(&lane, 0), 0, -E_MEDIA);
	ck_assert(done_status == -E_MEDIA && atomic_load(&run->state) == RUN_OWNED);
	run_unpin(run);
	run = run_new(c, 1); /* the owner lets go within done */
	run_read(run, &lane, 401, IO_URGENT, unpin_done);
	io_finish(lane_take(&lane, 0), 1, 0);
	ck_assert_uint_eq(done_count, 3);
	found = run_new(c, 128);
	run_unpin(found);
	ck_assert_uint_eq(stats_of(c).free_bytes, SMALL_ARENA - BLOCK_SIZE);
	cache_free(c);
}
END_TEST

START_TEST(drop_and_replace)
{
	struct cache *c = new_cache(SMALL_ARENA);
	struct lane lane = { 0 };
	struct run *old = run_new(c, 16), *new = run_new(c, 4), *found;
	uint64_t base = SMALL_ARENA - BLOCK_SIZE;
	uint32_t page;

	set_crcs(old, 100, 1);
	ck_assert_int_eq(run_fill(old, &lane, 100, 1), 0);
	cache_insert(new, 108, 2); /* newer birth in its middle, while it is being filled */
	lane_finish(&lane, 1);
	ck_assert(cache_find(c, 107, 1, &page, true) == old && page == 7);
	ck_assert(cache_find(c, 112, 1, &page, true) == old && page == 12);
	ck_assert_ptr_null(cache_find(c, 108, 1, &page, true));
	ck_assert(cache_find(c, 109, 2, &page, true) == new && page == 1);
	run_unpin(old);
	run_unpin(old);
	run_unpin(old);
	run_unpin(new);
	run_unpin(new);
	ck_assert_uint_eq(stats_of(c).free_bytes, base - 20 * BLOCK_SIZE);
	found = cache_find(c, 100, 1, &page, true);
	cache_drop(c, 96, 12);
	cache_drop(c, 112, 4);
	ck_assert_uint_eq(cache_missing(c, 96, 1, 64), 64);
	ck_assert_uint_eq(stats_of(c).free_bytes, base - 20 * BLOCK_SIZE);
	ck_assert(page_is(found, 15, 115, 1)); /* the pin keeps the memory */
	run_unpin(found);
	ck_assert_uint_eq(stats_of(c).free_bytes, base - 4 * BLOCK_SIZE);
	cache_drop(c, 0, 100000);
	ck_assert_uint_eq(stats_of(c).free_bytes, base);
	cache_free(c);
}
END_TEST

#define MODEL_BLOCKS 600u

/* Random births, lengths and drops against an array; the arena is large enough for nothing to be evicted. */
START_TEST(index_model)
{
	struct cache *c = new_cache(64 * MiB);
	struct { uint64_t birth; struct run *run; } model[MODEL_BLOCKS + RUN_MAX] = { 0 };
	uint64_t seed = 99 + (uint64_t)_i, far = 1ull << 40;

	for (unsigned step = 1; step < 20000; step++) {
		uint64_t block = rnd(&seed) % MODEL_BLOCKS;
		uint32_t n = 1 + (uint32_t)(rnd(&seed) % (rnd(&seed) % 3 ? 20 : 128)), page, i;
		struct run *run;

		switch (rnd(&seed) % 5) {
		case 0:
			run = run_new(c, n);
			ck_assert_ptr_nonnull(run);
			cache_insert(run, far + block, step);
			run_unpin(run);
			for (i = 0; i < n; i++) {
				model[block + i].birth = step;
				model[block + i].run = run;
			}
			break;
		case 1:
			cache_drop(c, far + block, n);
			memset(&model[block], 0, n * sizeof(model[0]));
			break;
		case 2:
			for (i = 0; i < n && (!model[block + i].run || model[block + i].birth != model[block].birth); i++)
				;
			ck_assert_uint_eq(cache_missing(c, far + block, model[block].birth, n), i);
			break;
		default:
			run = cache_find(c, far + block, model[block].birth, &page, true);
			ck_assert_ptr_eq(run, model[block].run);
			if (run) {
				ck_assert(run->block + page == far + block && run->birth == model[block].birth);
				run_unpin(run);
			}
			ck_assert_ptr_null(cache_find(c, far + block, step + 1, &page, true));
		}
	}
	cache_drop(c, far, MODEL_BLOCKS + RUN_MAX);
	ck_assert_uint_eq(stats_of(c).free_bytes, 64 * MiB - BLOCK_SIZE);
	ck_assert_uint_eq(stats_of(c).evictions, 0);
	check_arena(&c->arena, NULL);
	cache_free(c);
}
END_TEST

START_TEST(all_pinned)
{
	struct cache *c = new_cache(SMALL_ARENA);
	struct run *run[1024], *r;
	uint32_t page;

	for (unsigned i = 0; i < 1023; i++) {
		run[i] = run_new(c, 1);
		ck_assert_ptr_nonnull(run[i]);
		if (i % 2)
			cache_insert(run[i], i, 1);
	}
	ck_assert_ptr_null(run_new(c, 1));
	run_unpin(run[501]);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 1022 * BLOCK_SIZE);
	ck_assert_ptr_null(run_new(c, 2));
	ck_assert(cache_find(c, 501, 1, &page, true) == run[501]);
	ck_assert_ptr_null(run_new(c, 1));
	run_unpin(run[501]);
	r = run_new(c, 1);
	ck_assert_ptr_nonnull(r);
	ck_assert_ptr_null(cache_find(c, 501, 1, &page, true));
	run_unpin(r);
	for (unsigned i = 0; i < 1023; i++)
		if (i != 501)
			run_unpin(run[i]);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 0);
	cache_free(c);
}
END_TEST

/* Single pages everywhere, a few of them pinned: the longest run finds its place, until every window has a pin. */
START_TEST(fragmentation)
{
	struct cache *c = new_cache(SMALL_ARENA);
	struct run *pinned[8] = { 0 }, *r;
	unsigned nr = 0;

	for (unsigned i = 0; i < 1023; i++) {
		uint32_t chunk;

		r = run_new(c, 1);
		ck_assert_ptr_nonnull(r);
		chunk = frame_of(r)->first / CHUNK_PAGES;
		cache_insert(r, 10 * i, 1);
		if (chunk >= 2 && !pinned[chunk] && ++nr)
			pinned[chunk] = r;
		else
			run_unpin(r);
	}
	ck_assert_uint_eq(nr, 6);
	r = run_new(c, 128); /* chunk 0 has the page of zeros, chunk 1 has no pin */
	ck_assert_ptr_nonnull(r);
	ck_assert_uint_eq(frame_of(r)->first, 128);
	ck_assert_uint_ge(count_present(c, 0, 10, 1023), 1023 - 3 * 128);
	ck_assert_ptr_null(run_new(c, 65));
	ck_assert_uint_ge(count_present(c, 0, 10, 1023), 1023 - 4 * 128); /* and did not throw out all in vain */
	check_arena(&c->arena, NULL);
	for (unsigned i = 0; i < 7; i++) {
		struct run *half = run_new(c, 64);

		ck_assert_ptr_nonnull(half);
		pinned[0] = pinned[0] ? (run_unpin(half), pinned[0]) : half;
	}
	for (unsigned i = 0; i < 8; i++)
		if (pinned[i])
			run_unpin(pinned[i]);
	run_unpin(r);
	cache_free(c);
}
END_TEST

/* Random sizes, pins, trims and drops: never NULL while a third at most is pinned, and the arena stays whole. */
START_TEST(churn)
{
	struct cache *c = new_cache(16 * MiB);
	struct run *pinned[8] = { 0 };
	uint64_t seed = 4711 + (uint64_t)_i;
	uint32_t page;

	for (unsigned step = 0; step < 30000; step++) {
		uint32_t n = 1 + (uint32_t)(rnd(&seed) % (rnd(&seed) % 4 ? 6 : 128));
		uint64_t block = rnd(&seed) % 20000;
		unsigned slot = (unsigned)(rnd(&seed) % 8);
		struct run *run = cache_find(c, block, 1, &page, true);

		if (!run) {
			run = run_new(c, n);
			ck_assert_ptr_nonnull(run);
			ck_assert_uint_eq(run->npages, n);
			run_trim(run, 1 + (uint32_t)(rnd(&seed) % n));
			if (rnd(&seed) % 8)
				cache_insert(run, block, 1);
		}
		if (pinned[slot])
			run_unpin(pinned[slot]);
		pinned[slot] = run;
		if (rnd(&seed) % 64 == 0)
			cache_drop(c, block, n);
		if (step % 512 == 0)
			check_arena(&c->arena, NULL);
	}
	for (unsigned i = 0; i < 8; i++)
		run_unpin(pinned[i]);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 0);
	for (uint32_t i = 1; i < c->arena.npages / CHUNK_PAGES; i++)
		ck_assert_uint_eq(c->held[i], 0);
	ck_assert_uint_eq(c->held[0], 1);
	cache_drop(c, 0, 21000);
	ck_assert_uint_eq(stats_of(c).free_bytes, 16 * MiB - BLOCK_SIZE);
	cache_free(c);
}
END_TEST

START_TEST(read_ahead)
{
	struct readahead ra = { 0 };
	uint64_t start = 0, asked = 0, eof = 10000;
	uint32_t n, longest = 0;

	n = readahead_next(&ra, 0, 8, eof, 256, &start);
	ck_assert(n == 32 && start == 8);
	asked = start + n;
	for (uint64_t at = 8; at < eof; at += 8) {
		ck_assert_uint_ge(asked, MIN(at + 8, eof)); /* always ahead of the reader, without gaps */
		n = readahead_next(&ra, at, 8, eof, 256, &start);
		if (n) {
			ck_assert_uint_eq(start, asked);
			asked += n;
			longest = MAX(longest, n);
		}
	}
	ck_assert(asked == eof && longest >= 128 && longest <= 256);

	/* A large window is filled up in batches of 1 MiB, and never lets the wire run dry. */
	ra = (struct readahead){ 0 };
	for (uint64_t at = 0; at < eof; at += 8) {
		uint32_t window = ra.window;

		n = readahead_next(&ra, at, 8, eof, 2048, &start);
		ck_assert(window < 2048 || n <= 256 + 8);
		ck_assert(window < 2048 || ra.ahead - ra.next >= 2048 - 256 || ra.ahead == eof);
	}

	ra = (struct readahead){ 0 };
	ck_assert_uint_eq(readahead_next(&ra, 500, 8, eof, 256, &start), 0);
	ck_assert_uint_eq(readahead_next(&ra, 100, 8, eof, 256, &start), 0);
	ck_assert(readahead_next(&ra, 108, 8, eof, 256, &start) == 32 && start == 116); /* sequential from here */
	readahead_next(&ra, 124, 8, eof, 256, &start); /* two requests of one reader change places */
	ck_assert_uint_eq(ra.window != 0, 1);
	readahead_next(&ra, 116, 8, eof, 256, &start);
	ck_assert(ra.window && ra.next == 132);
	ck_assert_uint_eq(readahead_next(&ra, 7000, 8, eof, 256, &start), 0);
	ck_assert_uint_eq(ra.window, 0);
	ck_assert_uint_eq(readahead_next(&ra, 7008, 8, 7016, 256, &start), 0); /* nothing behind the end */
	ck_assert_uint_eq(readahead_next(&ra, 7016, 8, eof, 0, &start), 0);
}
END_TEST

/* ---- threads ---- */

#define THREADS 4
#define THREAD_STEPS 6000u

struct worker {
	struct cache *c;
	struct lane lane;
	uint64_t seed;
	struct waiter w;
	_Atomic bool woken;
};

static void worker_wake(struct waiter *w, int status)
{
	atomic_store(&container_of(w, struct worker, w)->woken, true);
}

/* Waits for another's fill as a worker does: by going on with its own I/O. */
static void worker_await(struct worker *me, struct run *run)
{
	atomic_store(&me->woken, false);
	if (!run_wait(run, &me->w))
		return;
	while (!atomic_load(&me->woken)) {
		lane_finish(&me->lane, 1);
		sched_yield();
	}
}

static void worker_fill(struct worker *me, uint64_t block, uint32_t n, uint64_t salt)
{
	struct run *run = run_new(me->c, n);

	if (!run)
		return;
	set_crcs(run, block, 1);
	if (salt % 50 == 0)
		run->crcs[n - 1] ^= 1; /* fails; others may be waiting for it */
	run->speculative = salt % 3 == 0;
	run_fill(run, &me->lane, block, 1);
	run_unpin(run);
	if (me->lane.n > 4)
		io_finish(lane_take(&me->lane, (unsigned)(salt % me->lane.n)), 1, 0);
}

static void nobody_done(struct run *run, int status) { }

static void worker_write(struct worker *me, uint64_t block, uint32_t n)
{
	struct run *run = run_new(me->c, n);

	if (!run)
		return;
	for (uint32_t i = 0; i < n; i++)
		page_make((uint64_t *)run->mem + i * 512u, block + i, 1);
	run_checksum(run);
	run_write(run, &me->lane, block, 0, nobody_done);
	cache_insert(run, block, 1);
	run_unpin(run);
}

static void *worker_main(void *arg)
{
	struct worker *me = arg;

	for (unsigned i = 0; i < THREAD_STEPS; i++) {
		uint64_t r = rnd(&me->seed), block = (r >> 8) % 3000;
		uint32_t n = 1 + (uint32_t)((r >> 40) % 16), page;
		struct run *run = cache_find(me->c, block, 1, &page, r % 2);

		if (run) {
			worker_await(me, run);
			if (atomic_load(&run->state) == RUN_VALID && !page_is(run, page, block, 1))
				abort();
			run_pin(run);
			run_unpin(run);
			run_unpin(run);
		} else if (r % 16 == 3) {
			worker_write(me, block, n);
		} else {
			worker_fill(me, block, n, r >> 20);
		}
		if (r % 97 == 0)
			cache_drop(me->c, block, n);
		if (me->lane.n > 40)
			lane_finish(&me->lane, 1);
	}
	lane_finish(&me->lane, 1);
	return NULL;
}

START_TEST(threads_agree)
{
	struct cache *c = new_cache(SMALL_ARENA);
	struct worker w[THREADS];
	pthread_t t[THREADS];

	memset(w, 0, sizeof(w));
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].c = c;
		w[i].seed = 1000 + i;
		w[i].w.wake = worker_wake;
		ck_assert_int_eq(pthread_create(&t[i], NULL, worker_main, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_eq(stats_of(c).pinned_bytes, 0);
	ck_assert_uint_gt(stats_of(c).evictions, 1000);
	ck_assert_uint_gt(stats_of(c).checksum_errors, 10);
	check_arena(&c->arena, NULL);
	cache_drop(c, 0, 4000);
	ck_assert_uint_eq(stats_of(c).free_bytes, SMALL_ARENA - BLOCK_SIZE);
	cache_free(c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache");
	TCase *tc = tcase_create("cache");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, buddy_random, 0, 4);
	tcase_add_test(tc, memory);
	tcase_add_test(tc, split);
	tcase_add_test(tc, huge_pages);
	tcase_add_test(tc, fill_and_wait);
	tcase_add_loop_test(tc, fill_fails, 0, 2);
	tcase_add_test(tc, write_until_stable);
	tcase_add_test(tc, drop_and_replace);
	tcase_add_loop_test(tc, index_model, 0, 3);
	tcase_add_test(tc, all_pinned);
	tcase_add_test(tc, fragmentation);
	tcase_add_loop_test(tc, churn, 0, 3);
	tcase_add_test(tc, read_ahead);
	tcase_add_test(tc, threads_agree);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
