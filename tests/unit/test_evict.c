/* SPDX-License-Identifier: Apache-2.0 */
/* Who stays in the cache: scans, warm pages, ghosts, streams. */
#include "tests/unit/cache_lane.h"

/* As a reader does: find, else fill and find again. true: it was there. */
static bool read_block(struct cache *c, uint64_t block, uint32_t npages, bool speculative)
{
	struct lane lane = { 0 };
	uint32_t page;
	struct run *run = cache_find(c, block, 1, &page, !speculative);
	bool hit = run != NULL;

	if (!hit) {
		run = run_new(c, npages);
		ck_assert_ptr_nonnull(run);
		set_crcs(run, block, 1);
		run->speculative = speculative;
		ck_assert_int_eq(run_fill(run, &lane, block, 1), 0);
		lane_finish(&lane, 1);
		run_unpin(run);
		if (speculative)
			return false;
		run = cache_find(c, block, 1, &page, true);
		ck_assert_ptr_nonnull(run);
	}
	ck_assert(page_is(run, page, block, 1));
	run_unpin(run);
	return hit;
}

/* Half of the arena is used twice; then a scan of ten arenas in runs of _i pages. */
START_TEST(scan_resistance)
{
	struct cache *c = new_cache(8 * MiB);
	uint64_t scan = 1000000;

	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 256; i++)
			ck_assert(read_block(c, 4 * i, 4, false) == (round == 1));
	for (uint32_t done = 0; done < 10 * 2048; done += (uint32_t)_i, scan += (uint32_t)_i)
		ck_assert(!read_block(c, scan, (uint32_t)_i, false));
	ck_assert_uint_eq(count_present(c, 0, 4, 256), 256);
	ck_assert_uint_ge(stats_of(c).evictions, 9 * 2048 / (unsigned)_i);
	cache_free(c);
}
END_TEST

/* Warm pages strewn among cold ones: long runs need whole windows and cost some of them, once; then the scan recycles
 * its own. */
START_TEST(scattered_warm_pages)
{
	struct cache *c = new_cache(16 * MiB);
	unsigned warm = 0, left;

	for (unsigned i = 0; i < 4095; i++)
		read_block(c, 3 * i, 1, false);
	for (unsigned i = 0; i < 4095; i += 2, warm++)
		ck_assert(read_block(c, 3 * i, 1, false));
	for (unsigned i = 0; i < 40 * 32; i++)
		ck_assert(!read_block(c, 1000000 + 128 * i, 128, false));
	left = count_present(c, 0, 6, warm);
	ck_assert_uint_ge(left, warm * 6 / 10);
	cache_free(c);
}
END_TEST

/* What fell out of SMALL and is wanted soon again goes to MAIN, and survives a scan then. */
START_TEST(ghosts)
{
	struct cache *c = new_cache(SMALL_ARENA);
	uint64_t scan = 1000000;
	unsigned i;

	for (i = 0; i < 200; i++)
		read_block(c, i, 1, false);
	for (i = 0; i < 1100; i++)
		read_block(c, scan++, 1, false);
	ck_assert_uint_eq(count_present(c, 0, 1, 200), 0);
	for (i = 0; i < 200; i++)
		ck_assert(!read_block(c, i, 1, false));
	for (i = 0; i < 5000; i++)
		read_block(c, scan++, 1, false);
	ck_assert_uint_ge(count_present(c, 0, 1, 200), 190); /* a full bucket forgets */
	cache_free(c);
}
END_TEST

/* A stream through read-ahead takes its own passed runs, not others' that were read once. */
START_TEST(streams_pass)
{
	struct cache *c = new_cache(32 * MiB);
	uint64_t at = 1000000;

	for (unsigned i = 0; i < 1000; i++)
		read_block(c, i, 1, false);
	for (unsigned i = 0; i < 1000; i++, at += 64) {
		read_block(c, at + 64, 64, true);
		for (unsigned page = 0; i && page < 64; page += 16)
			ck_assert(read_block(c, at + page, 64, false));
	}
	ck_assert_uint_eq(count_present(c, 0, 1, 1000), 1000);
	ck_assert_uint_eq(stats_of(c).ra_issued, 1000);
	ck_assert_uint_eq(stats_of(c).ra_hit, 999);
	ck_assert_uint_eq(stats_of(c).ra_wasted, 0);
	cache_drop(c, at - 128, 256);
	ck_assert_uint_eq(stats_of(c).ra_wasted, 1);
	cache_free(c);
}
END_TEST

static unsigned stream_once(struct cache *c, uint64_t at, unsigned nruns)
{
	unsigned hits = 0;

	for (unsigned i = 0; i < nruns; i++, at += 64) {
		hits += read_block(c, at, 64, true);
		read_block(c, at, 64, false);
	}
	return hits;
}

/* A long stream goes on in the memory that it passed although there is more; one that comes again may have that. */
START_TEST(streams_stay_warm)
{
	struct cache *c = new_cache(64 * MiB);
	const uint64_t all = 64 * MiB - BLOCK_SIZE;

	ck_assert_uint_eq(stream_once(c, 0, 128), 0);
	ck_assert_uint_ge(stats_of(c).free_bytes, all - 6 * MiB);
	ck_assert_uint_lt(stats_of(c).free_bytes, all - 3 * MiB);
	stream_once(c, 0, 128);
	ck_assert_uint_le(stats_of(c).free_bytes, all - 30 * MiB);
	ck_assert_uint_ge(stream_once(c, 0, 128), 110);
	cache_free(c);
}
END_TEST

int main(void)
{
	static const int scan_sizes[] = { 1, 4, 32, 128 };
	Suite *suite = suite_create("evict");
	TCase *tc = tcase_create("evict");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	for (unsigned i = 0; i < ARRAY_SIZE(scan_sizes); i++)
		tcase_add_loop_test(tc, scan_resistance, scan_sizes[i], scan_sizes[i] + 1);
	tcase_add_test(tc, scattered_warm_pages);
	tcase_add_test(tc, ghosts);
	tcase_add_test(tc, streams_pass);
	tcase_add_test(tc, streams_stay_warm);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
