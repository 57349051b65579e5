/* SPDX-License-Identifier: Apache-2.0 */
/* The group bitmap against a byte an element, and the layout of small and large namespaces. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "fs/alloc_core.h"

static uint64_t map[BITMAP_WORDS];
static uint8_t model[GROUP_BLOCKS];

static uint32_t model_quads(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < GROUP_BLOCKS; i += NODE_BLOCKS)
		n += !(model[i] | model[i + 1] | model[i + 2] | model[i + 3]);
	return n;
}

static void setup(void)
{
	memset(map, 0, sizeof(map));
	memset(model, 0, sizeof(model));
	srand(7);
}

START_TEST(follows_the_model)
{
	for (int step = 0; step < 3000; step++) {
		uint32_t bit = (uint32_t)rand() % GROUP_BLOCKS, n = (uint32_t)rand() % MIN(300u, GROUP_BLOCKS - bit) + 1;
		uint32_t before = model_quads(), count = 0;
		bool set = rand() & 1;

		n = MIN(n, GROUP_BLOCKS - bit);
		for (uint32_t i = bit; i < bit + n; i++)
			count += model[i];
		ck_assert_uint_eq(bitmap_count(map, bit, n), count);
		memset(model + bit, set, n);
		if (set)
			ck_assert_uint_eq(bitmap_set(map, bit, n), before - model_quads());
		else
			ck_assert_uint_eq(bitmap_clear(map, bit, n), model_quads() - before);
	}
	ck_assert_uint_eq(bitmap_quads(map), model_quads());
	for (uint32_t i = 0; i < GROUP_BLOCKS; i++)
		ck_assert_int_eq(bitmap_test(map, i), model[i]);
}
END_TEST

/* What is found is free, within the wish, and, without whole quads, in no wholly free quad. */
static void check_found(uint32_t bit, uint32_t n, bool whole_quads)
{
	for (uint32_t i = bit; i < bit + n; i++) {
		uint32_t q = i / NODE_BLOCKS * NODE_BLOCKS;

		ck_assert_uint_eq(model[i], 0);
		if (!whole_quads)
			ck_assert(model[q] | model[q + 1] | model[q + 2] | model[q + 3]);
	}
}

/* Whether the model has a run of n blocks that may be taken. */
static bool run_of(uint32_t n, bool whole_quads)
{
	uint32_t len = 0;

	for (uint32_t i = 0; i < GROUP_BLOCKS && len < n; i++) {
		uint32_t q = i / NODE_BLOCKS * NODE_BLOCKS;
		bool whole = !(model[q] | model[q + 1] | model[q + 2] | model[q + 3]);

		len = model[i] || (whole && !whole_quads) ? 0 : len + 1;
	}
	return len >= n;
}

START_TEST(finds_free_runs)
{
	for (int step = 0; step < 2000; step++) {
		uint32_t bit = (uint32_t)rand() % GROUP_BLOCKS, n = (uint32_t)rand() % MIN(80u, GROUP_BLOCKS - bit) + 1;

		n = MIN(n, GROUP_BLOCKS - bit);
		memset(model + bit, 1, n);
		bitmap_set(map, bit, n);
	}
	for (int step = 0; step < 2000; step++) {
		uint32_t from = (uint32_t)rand() % GROUP_BLOCKS, want = (uint32_t)rand() % 128 + 1, bit = 0;
		uint32_t least = (uint32_t)rand() % want + 1;
		bool whole = rand() & 1;
		uint32_t n = bitmap_find(map, from, least, want, whole, &bit);

		ck_assert_uint_le(n, want);
		ck_assert(n >= least || !run_of(least, whole));
		check_found(bit, n, whole);
	}
	for (uint32_t q; (q = bitmap_find_quad(map, (uint32_t)rand() % GROUP_BLOCKS)) < GROUP_BLOCKS;) {
		ck_assert_uint_eq(q % NODE_BLOCKS, 0);
		ck_assert_uint_eq(bitmap_count(map, q, NODE_BLOCKS), 0);
		bitmap_set(map, q, NODE_BLOCKS);
	}
	ck_assert_uint_eq(bitmap_quads(map), 0);
}
END_TEST

START_TEST(full_and_empty)
{
	uint32_t bit;

	ck_assert_uint_eq(bitmap_find(map, 5, 128, 128, true, &bit), 128);
	ck_assert_uint_eq(bit, 5);
	ck_assert_uint_eq(bitmap_find(map, 5, 128, 128, false, &bit), 0); /* all quads are whole */
	bitmap_set(map, 0, GROUP_BLOCKS);
	ck_assert_uint_eq(bitmap_find(map, 5, 1, 1, true, &bit), 0);
	ck_assert_uint_eq(bitmap_find_quad(map, 77), GROUP_BLOCKS);
	bitmap_clear(map, GROUP_BLOCKS - 1, 1);
	ck_assert_uint_eq(bitmap_find(map, 0, 9, 9, true, &bit), 1);
	ck_assert_uint_eq(bit, GROUP_BLOCKS - 1);
}
END_TEST

START_TEST(layouts)
{
	static const uint64_t sizes[] = { MIN_BLOCKS, GROUP_BLOCKS, GROUP_BLOCKS + GROUP_MIN - 1, GROUP_BLOCKS + GROUP_MIN,
					  1000 * MiB / FS_BLOCK, TiB / FS_BLOCK, 100 * TiB / FS_BLOCK, 512 * TiB / FS_BLOCK };

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct layout l;
		uint32_t free, quads;

		layout_of(sizes[i], &l);
		ck_assert_uint_le(l.nblocks, sizes[i]);
		ck_assert_uint_gt(l.nblocks + GROUP_MIN, sizes[i]);
		ck_assert_uint_le(l.nl2, L2_MAX);
		ck_assert_uint_ge(l.journal_len, JOURNAL_MIN);
		ck_assert_uint_le(l.journal_len, JOURNAL_MAX);
		ck_assert_uint_lt(JOURNAL_START + l.journal_len, l.ring_b);
		layout_counts(&l, l.ngroups - 1, &free, &quads);
		layout_bitmap(&l, l.ngroups - 1, map);
		ck_assert_uint_eq(free, GROUP_BLOCKS - bitmap_count(map, 0, GROUP_BLOCKS));
		ck_assert_uint_eq(quads, bitmap_quads(map));
		ck_assert_uint_lt(l.reserve_quads * NODE_BLOCKS, l.nblocks / 8);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bitmap");
	TCase *t = tcase_create("all");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, follows_the_model);
	tcase_add_test(t, finds_free_runs);
	tcase_add_test(t, full_and_empty);
	tcase_add_test(t, layouts);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed > 0;
}
