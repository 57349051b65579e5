/* SPDX-License-Identifier: Apache-2.0 */
/* The slotted page against a sorted array, and against bytes that a device could hand out. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "fs/node.h"

struct pair {
	struct key key;
	uint8_t val[600];
	uint32_t len;
};

static struct pair model[1000];
static unsigned count;
static struct node_disk *page;
static struct node node;
static const uint8_t uuid[16] = "nvofs page test";
static const struct ptr self = { .block = 4096, .birth = 9 };

static void blank(struct node *n, struct node_disk *m)
{
	memset(m, 0, NODE_SIZE);
	m->magic = put32(NODE_MAGIC);
	memcpy(m->uuid, uuid, sizeof(m->uuid));
	m->block = put64(self.block);
	m->birth = put64(self.birth);
	m->low = put16(NODE_SIZE);
	n->mem = m;
}

static void setup(void)
{
	page = aligned_alloc(FS_BLOCK, NODE_SIZE);
	blank(&node, page);
	count = 0;
	srand(11);
}

static void teardown(void)
{
	free(page);
}

static void compare(void)
{
	ck_assert_uint_eq(node_nitems(&node), count);
	for (unsigned i = 0; i < count; i++) {
		struct item it;

		node_item(&node, i, &it);
		ck_assert_int_eq(key_compare(&it.key, &model[i].key), 0);
		ck_assert_uint_eq(it.len, model[i].len);
		ck_assert_mem_eq(it.val, model[i].val, it.len);
	}
}

static struct key random_key(void)
{
	return KEY((uint64_t)rand() % 5, (uint8_t)(rand() % 3), (uint64_t)rand() % 40);
}

static void insert(uint32_t at, const struct key *k)
{
	struct pair p = { .key = *k, .len = (uint32_t)rand() % 600 };
	uint32_t head = p.len ? (uint32_t)rand() % p.len : 0;

	if (node_room(&node) < node_need(p.len))
		return;
	memset(p.val, rand(), p.len);
	node_insert(&node, at, k, p.val, head, p.val + head, p.len - head);
	memmove(&model[at + 1], &model[at], (count - at) * sizeof(*model));
	model[at] = p;
	count++;
}

static void erase(uint32_t at)
{
	node_remove(&node, at);
	memmove(&model[at], &model[at + 1], (count - at - 1) * sizeof(*model));
	count--;
}

static void churn(int steps)
{
	while (steps--) {
		struct key k = random_key();
		bool exact;
		uint32_t at = node_search(&node, &k, &exact);

		ck_assert(at <= count);
		if (at < count)
			ck_assert_int_ge(key_compare(&model[at].key, &k), 0);
		if (at > 0)
			ck_assert_int_lt(key_compare(&model[at - 1].key, &k), 0);
		if (exact)
			erase(at);
		else
			insert(at, &k);
	}
}

static int judge(void)
{
	struct ptr p = self;

	p.crc = node_seal(&node);
	return node_check(page, uuid, &p);
}

START_TEST(follows_the_model)
{
	for (int round = 0; round < 200; round++) {
		churn(50);
		compare();
		ck_assert_int_eq(judge(), 0);
	}
	ck_assert_uint_gt(count, 0);
}
END_TEST

START_TEST(moves_halves)
{
	struct node_disk *m = aligned_alloc(FS_BLOCK, NODE_SIZE);
	struct node right;
	uint32_t used;

	churn(400);
	used = node_used(&node);
	blank(&right, m);
	node_move(&node, count / 2, &right);
	ck_assert_uint_eq(node_nitems(&node), count / 2);
	ck_assert_uint_eq(node_used(&node) + node_used(&right), used);
	node_move(&right, 0, &node);
	compare();
	free(m);
}
END_TEST

START_TEST(fields_are_checked)
{
	struct ptr p = self;

	churn(300);
	p.crc = node_seal(&node);
	ck_assert_int_eq(node_check(page, uuid, &p), 0);
	p.crc++;
	ck_assert_int_eq(node_check(page, uuid, &p), -E_CHECKSUM);
	p.crc--;
	p.birth++;
	ck_assert_int_eq(node_check(page, uuid, &p), -E_BAD_NODE);
	p.birth--;
	p.block += NODE_BLOCKS;
	ck_assert_int_eq(node_check(page, uuid, &p), -E_BAD_NODE);
	p.block = self.block;
	p.level = 1;
	ck_assert_int_eq(node_check(page, uuid, &p), -E_BAD_NODE);
}
END_TEST

/* Whatever the bytes, with a right checksum: refused, or every item can be read within the page. */
START_TEST(hostile_bytes)
{
	unsigned refused = 0;

	churn(300);
	for (int round = 0; round < 20000; round++) {
		uint8_t *bytes = (uint8_t *)page;
		uint32_t at = 37 + (uint32_t)rand() % (rand() & 1 ? 40 : 2000); /* header tail and items */
		uint8_t old = bytes[at];

		bytes[at] = (uint8_t)rand();
		if (judge()) {
			refused++;
		} else {
			for (uint32_t i = 0; i < node_nitems(&node); i++) {
				struct item it;

				node_item(&node, i, &it);
				ck_assert(it.val >= bytes && it.val + it.len <= bytes + NODE_SIZE);
			}
		}
		bytes[at] = old;
	}
	ck_assert_uint_gt(refused, 5000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("node_page");
	TCase *t = tcase_create("all");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, follows_the_model);
	tcase_add_test(t, moves_halves);
	tcase_add_test(t, fields_are_checked);
	tcase_add_test(t, hostile_bytes);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed > 0;
}
