/* SPDX-License-Identifier: Apache-2.0 */
/* Commands as bytes, and what statuses mean. */
#include <check.h>
#include <string.h>
#include "base/err.h"
#include "base/num.h"
#include "transport/fabrics.h"

static const uint8_t *bytes_of(const struct sqe_wire *s)
{
	return (const uint8_t *)s;
}

static uint32_t dword(const struct sqe_wire *s, unsigned n)
{
	le32 v;

	memcpy(&v, bytes_of(s) + 4 * n, 4);
	return get32(v);
}

START_TEST(connect)
{
	struct connect_data_wire data;
	struct sqe_wire s;
	struct ns_addr a;

	ns_addr_init(&a);
	strcpy(a.nqn, "nqn.sub");
	strcpy(a.hostnqn, "nqn.host");
	memset(a.hostid, 7, 16);
	fabrics_build_connect(&s, 3, 128, 5000);
	fabrics_build_connect_data(&data, &a, 0x1234);
	ck_assert(bytes_of(&s)[0] == 0x7f && bytes_of(&s)[4] == 1);
	ck_assert_uint_eq(dword(&s, 10), 3u << 16);
	ck_assert_uint_eq(dword(&s, 11), 127); /* 0-based */
	ck_assert_uint_eq(dword(&s, 12), 5000);
	ck_assert(data.hostid[15] == 7 && get16(data.cntlid) == 0x1234);
	ck_assert_str_eq((char *)&data + 256, "nqn.sub");
	ck_assert_str_eq((char *)&data + 512, "nqn.host");
}
END_TEST

START_TEST(properties)
{
	struct sqe_wire s;

	fabrics_build_property_get(&s, NVME_PROP_CAP);
	ck_assert(bytes_of(&s)[4] == 4 && (dword(&s, 10) & 7) == 1 && dword(&s, 11) == 0);
	fabrics_build_property_get(&s, NVME_PROP_CSTS);
	ck_assert((dword(&s, 10) & 7) == 0 && dword(&s, 11) == 0x1c);
	fabrics_build_property_set(&s, NVME_PROP_CC, 0x460001);
	ck_assert(bytes_of(&s)[4] == 0 && dword(&s, 11) == 0x14 && dword(&s, 12) == 0x460001 && dword(&s, 13) == 0);
}
END_TEST

START_TEST(admin)
{
	struct sqe_wire s;

	admin_build_identify(&s, NVME_CNS_CSI_CTRL, 9, 2);
	ck_assert(bytes_of(&s)[0] == 6 && dword(&s, 1) == 9 && dword(&s, 10) == 6 && dword(&s, 11) == 2u << 24);
	admin_build_set_feature(&s, NVME_FEAT_NUM_QUEUES, 0x30003);
	ck_assert(bytes_of(&s)[0] == 9 && dword(&s, 10) == 7 && dword(&s, 11) == 0x30003);
	admin_build_get_log(&s, NVME_LOG_DISCOVERY, 0, 0x100000400ull, 1024 * 1024);
	ck_assert(bytes_of(&s)[0] == 2 && dword(&s, 10) == (0xffffu << 16 | 0x70) && dword(&s, 11) == 3);
	ck_assert(dword(&s, 12) == 0x400 && dword(&s, 13) == 1);
	admin_build_simple(&s, NVME_ADMIN_KEEP_ALIVE);
	ck_assert(bytes_of(&s)[0] == 0x18);
}
END_TEST

START_TEST(io)
{
	struct dsm_range_wire range;
	struct sqe_wire s;

	io_build_rw(&s, NVME_IO_WRITE, 2, 0x123456789ull, 65536, true);
	ck_assert(bytes_of(&s)[0] == 1 && dword(&s, 1) == 2 && dword(&s, 10) == 0x23456789 && dword(&s, 11) == 1);
	ck_assert_uint_eq(dword(&s, 12), 1u << 30 | 0xffff);
	io_build_rw(&s, NVME_IO_READ, 2, 5, 1, false);
	ck_assert(bytes_of(&s)[0] == 2 && dword(&s, 12) == 0);
	io_build_flush(&s, 4);
	ck_assert(bytes_of(&s)[0] == 0 && dword(&s, 1) == 4);
	io_build_deallocate(&s, &range, 1, 77, 88);
	ck_assert(bytes_of(&s)[0] == 9 && dword(&s, 10) == 0 && dword(&s, 11) == 4);
	ck_assert(get64(range.slba) == 77 && get32(range.nlb) == 88);
}
END_TEST

static const struct {
	uint16_t status;
	enum status_verdict verdict;
	int code;
} verdicts[] = {
	{ 0, STATUS_OK, 0 },
	{ NVME_SC_LBA_RANGE | NVME_STATUS_DNR, STATUS_FINAL, -E_NVME_STATUS },
	{ NVME_SC_READ_ERROR, STATUS_RETRY, -E_MEDIA },
	{ NVME_SC_READ_ERROR | NVME_STATUS_DNR, STATUS_FINAL, -E_MEDIA },
	{ 0x2ff, STATUS_RETRY, -E_MEDIA },
	{ NVME_SC_INTERNAL, STATUS_RETRY, -E_NVME_STATUS },
	{ NVME_SC_NS_NOT_READY, STATUS_WAIT, -E_NVME_STATUS },
	{ NVME_SC_ANA_TRANSITION, STATUS_WAIT, -E_NVME_STATUS },
	{ 0x3ee, STATUS_WAIT, -E_NVME_STATUS },
	{ 0x3ee | NVME_STATUS_DNR, STATUS_FINAL, -E_NVME_STATUS },
	{ NVME_SC_RESERVATION_CONFLICT, STATUS_FINAL, -E_IN_USE },
	{ NVME_SC_CAPACITY, STATUS_FINAL, -E_NO_SPACE },
	{ NVME_SC_NS_WRITE_PROTECTED, STATUS_FINAL, -EROFS },
	{ 0x7aa, STATUS_RETRY, -E_NVME_STATUS },
};

START_TEST(judgement)
{
	int code = 1;

	ck_assert_int_eq(status_judge(verdicts[_i].status, &code), verdicts[_i].verdict);
	ck_assert_int_eq(code, verdicts[_i].code);
}
END_TEST

START_TEST(refusals)
{
	struct cqe_wire c = { .connect_bad = { .ipo = put16(256), .iattr = 1 } };
	struct ns_addr a;
	char why[512];

	ns_addr_init(&a);
	strcpy(a.nqn, "nqn.sub");
	strcpy(a.hostnqn, "nqn.host");
	cqe_set_status(&c, NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR);
	ck_assert_int_eq(fabrics_connect_refused(&c, &a, why, sizeof(why)), -E_BAD_NQN);
	ck_assert_ptr_nonnull(strstr(why, "no subsystem \"nqn.sub\""));
	c.connect_bad.ipo = put16(512);
	ck_assert_int_eq(fabrics_connect_refused(&c, &a, why, sizeof(why)), -E_BAD_NQN);
	ck_assert_ptr_nonnull(strstr(why, "nqn.host"));
	cqe_set_status(&c, NVME_SC_CONNECT_INVALID_HOST | NVME_STATUS_DNR);
	ck_assert_int_eq(fabrics_connect_refused(&c, &a, why, sizeof(why)), -E_BAD_NQN);
	ck_assert_ptr_nonnull(strstr(why, "nqn.host"));
	cqe_set_status(&c, NVME_SC_CONNECT_BUSY);
	ck_assert_int_eq(fabrics_connect_refused(&c, &a, why, sizeof(why)), -E_CONNECT_REFUSED);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fabrics");
	TCase *t = tcase_create("fabrics");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, connect);
	tcase_add_test(t, properties);
	tcase_add_test(t, admin);
	tcase_add_test(t, io);
	tcase_add_loop_test(t, judgement, 0, (int)ARRAY_SIZE(verdicts));
	tcase_add_test(t, refusals);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
