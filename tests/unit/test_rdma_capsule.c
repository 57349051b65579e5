/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/RDMA bytes against what the Linux host (drivers/nvme/host/rdma.c, fabrics.c, core.c) puts on the wire for the same
 * thing. The one difference that is meant: for transfers it lets the target invalidate the key (subtype Fh), which a
 * registration that stays would not survive; ours is the plain keyed form (0h) that Linux uses with a global key. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "transport/fabrics.h"
#include "transport/rdma_capsule.h"

#define BASE 0x7f1122330000ull

static struct wire_key key = { .base = BASE, .len = 1 << 20, .lkey = 0x11, .rkey = 0xa1b2c3d4 };

static struct slot slot_of(enum slot_dir dir, uint64_t addr, uint32_t len)
{
	return (struct slot){ .dir = dir, .mem = (void *)(uintptr_t)addr, .len = len, .key = &key };
}

static void same(const void *got, const void *want, size_t len)
{
	const uint8_t *g = got, *w = want;

	for (size_t i = 0; i < len; i++)
		ck_assert_msg(g[i] == w[i], "byte %zu is %02x, not %02x", i, g[i], w[i]);
}

START_TEST(request)
{
	static const uint8_t admin[32] = { 0, 0, 0, 0, 32, 0, 31, 0 }, io[32] = { 0, 0, 3, 0, 128, 0, 127, 0, 0x34, 0x12 };
	struct rdma_request_wire w;

	rdma_build_request(&w, 0, 32, 0xffff);
	same(&w, admin, 32);
	rdma_build_request(&w, 3, 128, 0x1234);
	same(&w, io, 32);
}
END_TEST

START_TEST(accept_and_reject)
{
	uint8_t accept[32] = { 0, 0, 128, 0 };
	uint16_t n = 0;

	ck_assert_int_eq(rdma_check_accept(accept, 32, &n), 0);
	ck_assert_uint_eq(n, 128);
	ck_assert_int_eq(rdma_check_accept(accept, 4, &n), 0); /* iWARP does not pad */
	ck_assert_int_eq(rdma_check_accept(accept, 3, &n), -E_BAD_CAPSULE);
	ck_assert_int_eq(rdma_check_accept(NULL, 0, &n), -E_BAD_CAPSULE);
	accept[0] = 1;
	ck_assert_int_eq(rdma_check_accept(accept, 32, &n), -E_BAD_CAPSULE);

	ck_assert(strstr(rdma_reject_text("\0\0\6\0", 4), "resources"));
	ck_assert(strstr(rdma_reject_text("\0\0\3\0", 4), "queue number"));
	ck_assert_ptr_null(rdma_reject_text("\0\0\0\0", 4));
	ck_assert_ptr_null(rdma_reject_text("\0\0\11\0", 4));
	ck_assert_ptr_null(rdma_reject_text("\1\0\6\0", 4));
	ck_assert_ptr_null(rdma_reject_text("\0\0\6", 3));
	ck_assert_ptr_null(rdma_reject_text(NULL, 0));
	for (uint8_t s = 1; s <= 8; s++)
		ck_assert_ptr_nonnull(rdma_reject_text((uint8_t[]){ 0, 0, s, 0 }, 4));
}
END_TEST

START_TEST(without_data)
{
	static const uint8_t want[64] = { 0x18, 0x40, 7, 0, [39] = 0x40 }; /* Keep Alive */
	struct slot s = slot_of(SLOT_NONE, 0, 0);

	admin_build_simple(&s.sqe, NVME_ADMIN_KEEP_ALIVE);
	s.sqe.cid = put16(7);
	ck_assert(!rdma_build_sgl(&s, 4096));
	same(&s.sqe, want, 64);
}
END_TEST

START_TEST(connect_command)
{
	/* KATO only on the admin queue; 1024 bytes, keyed on the admin queue whatever fits the capsule there */
	static const uint8_t want[64] = { 0x7f, 0x40, 0, 0, 0x01,
		[24] = 0, 0x10, 0x33, 0x22, 0x11, 0x7f, 0, 0, 0, 4, 0, 0xd4, 0xc3, 0xb2, 0xa1, 0x40,
		[42] = 0, 0, 31, 0, [48] = 0x88, 0x13 };
	struct slot s = slot_of(SLOT_TO_CTRL, BASE + 0x1000, 1024);

	fabrics_build_connect(&s.sqe, 0, 32, 5000);
	ck_assert(!rdma_build_sgl(&s, 0));
	same(&s.sqe, want, 64);
}
END_TEST

START_TEST(read_and_write)
{
	static const uint8_t read_bytes[64] = { 0x02, 0x40, 0x2a, 0, 1,
		[24] = 0, 0x20, 0x33, 0x22, 0x11, 0x7f, 0, 0, 0, 0, 2, 0xd4, 0xc3, 0xb2, 0xa1, 0x40,
		[40] = 0x88, 0x77, 0x66, 0x55, 0x44, [48] = 31 };
	static const uint8_t write_bytes[64] = { 0x01, 0x40, 0x2b, 0, 1,
		[24] = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0x01,
		[40] = 0x10, [48] = 0, 0, 0, 0x40 };
	struct slot s = slot_of(SLOT_TO_HOST, BASE + 0x2000, 128 * 1024);

	io_build_rw(&s.sqe, NVME_IO_READ, 1, 0x4455667788, 32, false);
	s.sqe.cid = put16(0x2a);
	ck_assert(!rdma_build_sgl(&s, 128 * 1024)); /* a read never is in the capsule */
	same(&s.sqe, read_bytes, 64);

	s = slot_of(SLOT_TO_CTRL, BASE + 0x3000, 4096);
	io_build_rw(&s.sqe, NVME_IO_WRITE, 1, 16, 1, true);
	s.sqe.cid = put16(0x2b);
	ck_assert(rdma_build_sgl(&s, 4096));
	same(&s.sqe, write_bytes, 64);
	ck_assert(!rdma_build_sgl(&s, 4095));
	ck_assert_uint_eq(s.sqe.sgl.keyed_id, 0x40);
	ck_assert_uint_eq(get64(s.sqe.sgl.addr), BASE + 0x3000);
}
END_TEST

START_TEST(again) /* a slot that is sent again keeps nothing of the old SGL */
{
	struct slot s = slot_of(SLOT_TO_CTRL, BASE, 4096), t = s;

	ck_assert(rdma_build_sgl(&s, 8192));
	ck_assert(!rdma_build_sgl(&s, 0));
	ck_assert(!rdma_build_sgl(&t, 0));
	same(&s.sqe, &t.sqe, 64);
}
END_TEST

START_TEST(outside_of_the_key)
{
	struct slot s = slot_of(SLOT_TO_HOST, BASE + (1 << 20) - 4096, 8192);

	rdma_build_sgl(&s, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rdma_capsule");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, request);
	tcase_add_test(tc, accept_and_reject);
	tcase_add_test(tc, without_data);
	tcase_add_test(tc, connect_command);
	tcase_add_test(tc, read_and_write);
	tcase_add_test(tc, again);
	tcase_add_test_raise_signal(tc, outside_of_the_key, 6);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
