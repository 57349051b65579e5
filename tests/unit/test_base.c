/* SPDX-License-Identifier: Apache-2.0 */
/* base/: known answers of the checksums, parsing at its borders, errors, the mailbox across threads. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/le.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/num.h"
#include "base/siphash.h"
#include "base/spin.h"
#include "base/uuid.h"

START_TEST(crc_known)
{
	uint8_t zero[32] = { 0 };

	ck_assert_uint_eq(crc32c("123456789", 9), 0xe3069283u);
	ck_assert_uint_eq(crc32c(zero, 32), 0x8a9136aau); /* RFC 3720 B.4 */
	ck_assert_uint_eq(crc32c(zero, 0), 0);
}
END_TEST

/* Every split of a buffer gives the same checksum, continued as well as combined. */
START_TEST(crc_splits)
{
	uint8_t buf[300];
	uint32_t whole;

	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 7 + 3);
	whole = crc32c(buf, sizeof(buf));
	for (size_t n = 0; n <= sizeof(buf); n++) {
		uint32_t a = crc32c(buf, n), b = crc32c(buf + n, sizeof(buf) - n);

		ck_assert_uint_eq(crc32c_more(a, buf + n, sizeof(buf) - n), whole);
		ck_assert_uint_eq(crc32c_combine(a, b, sizeof(buf) - n), whole);
	}
}
END_TEST

START_TEST(siphash_known)
{
	uint8_t key[16], data[15];

	for (unsigned i = 0; i < 16; i++)
		key[i] = (uint8_t)i;
	for (unsigned i = 0; i < 15; i++)
		data[i] = (uint8_t)i;
	ck_assert(siphash24(key, data, 15) == 0xa129ca6149be45e5ull); /* the paper's appendix A */
	ck_assert(siphash24(key, data, 0) == 0x726fdb47dd0e0e31ull);
}
END_TEST

START_TEST(numbers)
{
	uint64_t v;
	char buf[32];

	ck_assert_int_eq(size_parse("64M", &v), 0);
	ck_assert(v == 64 * MiB);
	ck_assert_int_eq(size_parse("4096", &v), 0);
	ck_assert(v == 4096);
	ck_assert_int_eq(size_parse("2T", &v), 0);
	ck_assert(v == 2 * TiB);
	ck_assert_int_ne(size_parse("1.5G", &v), 0);
	ck_assert_int_ne(size_parse("", &v), 0);
	ck_assert_int_ne(size_parse("-1", &v), 0);
	ck_assert_int_ne(size_parse("99999999999999999999", &v), 0);
	ck_assert_int_ne(size_parse("17179869184G", &v), 0); /* 2^64 */
	ck_assert_int_eq(u64_parse("100", 100, &v), 0);
	ck_assert_int_ne(u64_parse("101", 100, &v), 0);
	ck_assert_int_ne(u64_parse("1x", 100, &v), 0);
	ck_assert_str_eq(size_print(1536 * MiB, buf, sizeof(buf)), "1.5 GiB");
	ck_assert(range_fits(UINT64_MAX - 1, 1, UINT64_MAX) && !range_fits(UINT64_MAX, 2, UINT64_MAX));
	ck_assert_uint_eq(order_up(1), 0);
	ck_assert_uint_eq(order_up(5), 3);
}
END_TEST

START_TEST(errors)
{
	ck_assert_int_eq(err_errno(0), 0);
	ck_assert_int_eq(err_errno(-ENOENT), -ENOENT);
	ck_assert_int_eq(err_errno(-E_CHECKSUM), -EIO);
	ck_assert_str_eq(err_name(-E_NO_SPACE), "E_NO_SPACE");
	for (int code = NVOFS_ERROR_BASE + 1; code < NVOFS_ERROR_END; code++) {
		ck_assert_int_lt(err_errno(-code), 0);
		ck_assert_int_gt(err_errno(-code), -4096);
		ck_assert(strlen(err_text(-code)) > 5);
	}
	ck_assert_ptr_nonnull(err_text(123456));
}
END_TEST

START_TEST(uuids)
{
	uint8_t a[16], b[16];
	char text[UUID_TEXT];

	uuid_random(a);
	ck_assert_int_eq(uuid_parse(uuid_print(a, text), b), 0);
	ck_assert_mem_eq(a, b, 16);
	ck_assert_int_ne(uuid_parse("no uuid", b), 0);
	text[35] = 'g';
	ck_assert_int_ne(uuid_parse(text, b), 0);
}
END_TEST

START_TEST(little_endian)
{
	le32 v = put32(0x01020304);

	ck_assert_int_eq(v.b[0], 4);
	ck_assert_uint_eq(get32(v), 0x01020304);
	ck_assert(get64(put64(0x1122334455667788ull)) == 0x1122334455667788ull);
	ck_assert_uint_eq(get16(put16(0xbeef)), 0xbeef);
}
END_TEST

/* n waits for an answer that comes after ns[way]; idle: nobody else wants the CPU meanwhile, so that giving way takes no time,
 * else it takes till then. How many of them gave way. */
static unsigned waits(struct spin *s, unsigned n, const uint64_t ns[2], bool idle)
{
	static uint64_t now = 1;
	unsigned gave_way = 0;

	while (n--) {
		bool gives = spin_again(s, now);

		ck_assert(s->since == now);
		gave_way += gives;
		if (gives && idle && ns[1] > SPIN_NS)
			ck_assert(!spin_again(s, now + SPIN_NS));
		now += ns[gives];
		spin_end(s, now);
		ck_assert(!s->since);
	}
	return gave_way;
}

/* The better way is found, the other tried ever more rarely, and found again when things change. */
START_TEST(spin_ways)
{
	static const uint64_t fast[2] = { 30000, 20000 }, hog[2] = { 30000, 3000000 }, slow[2] = { 200000, 200000 },
			      very_slow[2] = { 5000000, 5000000 };
	struct spin s = { 0 };

	ck_assert_uint_ge(waits(&s, 1000, fast, true), 950);
	waits(&s, 10000, hog, false); /* notices */
	ck_assert_uint_le(waits(&s, 10240, hog, false), 11);
	ck_assert_uint_ge(waits(&s, 10240, hog, false), 9);
	waits(&s, 100000, fast, true);
	ck_assert_uint_ge(waits(&s, 10240, fast, true), 10240 - 11);
	waits(&s, 10000, slow, true);
	ck_assert_uint_le(waits(&s, 10240, slow, true), 11); /* would cost CPU time for nothing */
	waits(&s, 10000, very_slow, true);
	ck_assert_uint_le(waits(&s, 10240, very_slow, true), 11);
	waits(&s, 200, fast, true); /* waits are of another kind now: soon noticed */
	ck_assert_uint_ge(waits(&s, 1000, fast, true), 950);
	waits(&s, 100000, slow, false);
	ck_assert_uint_ge(waits(&s, 10240, slow, false), 10240 - 11); /* those who work on the answer want the CPU */
}
END_TEST

START_TEST(spin_is_short)
{
	struct spin s = { .until_try = 2 };

	ck_assert(spin_again(&s, 1000));
	ck_assert(spin_again(&s, 1000 + SPIN_NS - 1));
	ck_assert(!spin_again(&s, 1000 + SPIN_NS));
	spin_end(&s, 1000 + 2 * SPIN_NS);
	ck_assert_uint_eq(s.cost[SPIN_GIVE_WAY], 3 * SPIN_NS); /* with SPIN_NS of CPU time */
	spin_end(&s, 1); /* nothing was waited for */
	ck_assert_uint_eq(s.cost[SPIN_SLEEP], 0);
	ck_assert_uint_eq(s.cost[SPIN_GIVE_WAY], 3 * SPIN_NS);
}
END_TEST

START_TEST(virtual_clock)
{
	clock_virtual_set(5);
	clock_virtual_add(NS_PER_S);
	ck_assert(clock_now() == NS_PER_S + 5);
	clock_virtual_set(0);
	ck_assert(clock_now() != NS_PER_S + 5);
}
END_TEST

/* What came out of the log so far, in text; how many lines. */
static unsigned log_lines(int fd, char *text, size_t len)
{
	ssize_t n = pread(fd, text, len - 1, 0);
	unsigned lines = 0;

	ck_assert_int_ge(n, 0);
	text[n] = 0;
	for (char *p = text; *p; p++)
		lines += *p == '\n';
	return lines;
}

START_TEST(log_limited)
{
	char text[4096];
	FILE *file = tmpfile();
	int fd;

	ck_assert_ptr_nonnull(file);
	fd = fileno(file);
	clock_virtual_set(1000 * NS_PER_S);
	log_init("test", LOG_L_INFO);
	log_to_fd(fd);
	log_limit(5);
	for (unsigned i = 0; i < 20; i++)
		log_warn("line %u", i);
	ck_assert_uint_eq(log_lines(fd, text, sizeof(text)), 5);
	clock_virtual_add(NS_PER_S);
	log_warn("and on");
	ck_assert_uint_eq(log_lines(fd, text, sizeof(text)), 7);
	ck_assert_ptr_nonnull(strstr(text, "15 lines were left out here\ntest: and on\n"));
	log_limit(0);
	log_to_fd(STDERR_FILENO);
	clock_virtual_set(0);
	fclose(file);
}
END_TEST

enum { LETTERS = 20000 };
struct numbered {
	struct letter letter;
	unsigned n;
};
static unsigned delivered;

static void deliver(struct letter *l)
{
	struct numbered *m = container_of(l, struct numbered, letter);

	ck_assert_uint_eq(m->n, delivered); /* oldest first */
	delivered++;
}

struct sender {
	struct mailbox *box;
	struct numbered *letters;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;

	for (unsigned i = 0; i < LETTERS; i++) {
		s->letters[i].n = i;
		s->letters[i].letter.deliver = deliver;
		mailbox_post(s->box, &s->letters[i].letter);
	}
	return NULL;
}

START_TEST(mailbox_threads)
{
	struct mailbox box;
	struct sender s = { &box, calloc(LETTERS, sizeof(struct numbered)) };
	pthread_t thread;

	ck_assert_int_eq(mailbox_init(&box), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_all, &s), 0);
	while (delivered < LETTERS)
		mailbox_deliver(&box);
	pthread_join(thread, NULL);
	ck_assert(!mailbox_deliver(&box));
	mailbox_exit(&box);
	free(s.letters);
}
END_TEST

START_TEST(lists)
{
	struct list head, other, a, b, c;

	list_init(&head);
	list_init(&other);
	list_append(&head, &a);
	list_append(&head, &b);
	list_push(&other, &c);
	list_splice(&head, &other);
	ck_assert(list_empty(&other));
	ck_assert_ptr_eq(list_pop(&head), &a);
	list_del(&c);
	ck_assert_ptr_eq(list_pop(&head), &b);
	ck_assert_ptr_null(list_pop(&head));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base");
	TCase *tc = tcase_create("base");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, crc_known);
	tcase_add_test(tc, crc_splits);
	tcase_add_test(tc, siphash_known);
	tcase_add_test(tc, numbers);
	tcase_add_test(tc, errors);
	tcase_add_test(tc, uuids);
	tcase_add_test(tc, little_endian);
	tcase_add_test(tc, spin_ways);
	tcase_add_test(tc, spin_is_short);
	tcase_add_test(tc, virtual_clock);
	tcase_add_test(tc, log_limited);
	tcase_add_test(tc, mailbox_threads);
	tcase_add_test(tc, lists);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
