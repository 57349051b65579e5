/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP PDU headers: what is built is accepted with the same meaning, and every field out of its range is refused
 * with the fatal error status that the specification names. */
#include <check.h>
#include "base/crc.h"
#include "base/err.h"
#include "transport/tcp_pdu.h"

static const struct tcp_pdu_limits to_ctrl = { .dir = TCP_PDU_TO_CTRL, .connected = true, .max_incapsule = 8192,
					       .max_data = 131072 };
static const struct tcp_pdu_limits to_host = { .dir = TCP_PDU_TO_HOST, .connected = true, .max_data = UINT32_MAX };
static const struct tcp_pdu_conf plain;

static struct tcp_pdu good(struct tcp_pdu_limits lim, const union tcp_pdu_wire *w, unsigned len)
{
	struct tcp_pdu pdu;

	ck_assert_int_eq(tcp_pdu_check(&lim, w->bytes, len, &pdu), 0);
	return pdu;
}

static void refused(struct tcp_pdu_limits lim, const union tcp_pdu_wire *w, uint16_t fes, uint32_t fei)
{
	struct tcp_pdu pdu;
	int err = tcp_pdu_check(&lim, w->bytes, sizeof(*w), &pdu);

	ck_assert_int_eq(err, fes == TCP_FES_HEADER_DIGEST ? -E_HEADER_DIGEST : -E_BAD_PDU);
	ck_assert_uint_eq(pdu.fes, fes);
	ck_assert_uint_eq(pdu.fei, fei);
}

START_TEST(cmd_round_trip)
{
	bool hdgst = _i & 1, ddgst = _i & 2;
	uint8_t pda = _i & 4 ? 31 : 0;
	uint32_t data = _i & 8 ? 4096 : 0;
	struct tcp_pdu_conf conf = { hdgst, ddgst, pda };
	struct tcp_pdu_limits lim = to_ctrl;
	struct sqe_wire sqe = { .opcode = NVME_IO_WRITE, .cid = put16(0x1234) };
	union tcp_pdu_wire w;
	unsigned len = tcp_pdu_build_cmd(&w, &conf, &sqe, data);
	struct tcp_pdu pdu;

	lim.hdgst = hdgst;
	lim.ddgst = ddgst;
	lim.pda = pda;
	pdu = good(lim, &w, len);
	ck_assert_uint_eq(pdu.header_len, 72 + (hdgst ? 4 : 0));
	ck_assert_uint_eq(pdu.data_off, data && pda ? 128 : pdu.header_len);
	ck_assert_uint_eq(pdu.data_len, data);
	ck_assert_uint_eq(pdu.data_off, len);
	ck_assert_uint_eq(pdu.plen, len + data + (data && ddgst ? 4 : 0));
	ck_assert_int_eq(pdu.ddgst, data && ddgst);
	ck_assert_uint_eq(get16(w.cmd.sqe.cid), 0x1234);
	if (!hdgst)
		return;
	w.bytes[20] ^= 1;
	ck_assert_int_eq(tcp_pdu_check(&lim, w.bytes, len, &pdu), -E_HEADER_DIGEST);
	ck_assert_uint_eq(pdu.fes, TCP_FES_HEADER_DIGEST);
}
END_TEST

START_TEST(others_round_trip)
{
	struct cqe_wire cqe = { .cid = put16(7) };
	union tcp_pdu_wire w;
	struct tcp_pdu pdu;

	pdu = good(to_host, &w, tcp_pdu_build_resp(&w, &plain, &cqe));
	ck_assert_uint_eq(pdu.type, TCP_PDU_RESP);
	pdu = good(to_host, &w, tcp_pdu_build_r2t(&w, &plain, 1, 2, 4096, 8192));
	ck_assert_uint_eq(get32(w.r2t.r2to), 4096);
	ck_assert_uint_eq(get32(w.r2t.r2tl), 8192);
	pdu = good(to_ctrl, &w, tcp_pdu_build_h2c_data(&w, &plain, 1, 2, 4096, 512, true));
	ck_assert_uint_eq(pdu.data_len, 512);
	ck_assert_uint_eq(pdu.flags, TCP_PDU_F_LAST);
	pdu = good(to_host, &w,
		   tcp_pdu_build_c2h_data(&w, &plain, 9, 0, 1 << 20, TCP_PDU_F_LAST | TCP_PDU_F_SUCCESS));
	ck_assert_uint_eq(pdu.data_len, 1 << 20);
	ck_assert_uint_eq(pdu.plen, (1 << 20) + 24);
}
END_TEST

START_TEST(initialization)
{
	struct tcp_pdu_limits lim = { .dir = TCP_PDU_TO_CTRL };
	union tcp_pdu_wire w;
	struct tcp_pdu pdu = good(lim, &w, tcp_pdu_build_ic_req(&w, 0, TCP_PDU_DIGEST_HDR, 3));

	ck_assert_int_eq(tcp_pdu_check_ic(&w.ic, &pdu), 0);
	w.ic.pfv = put16(1);
	ck_assert_int_eq(tcp_pdu_check_ic(&w.ic, &pdu), -E_BAD_PDU);
	ck_assert_uint_eq(pdu.fes, TCP_FES_UNSUPPORTED);
	w.ic.pfv = put16(0);
	w.ic.pda = 32;
	ck_assert_int_eq(tcp_pdu_check_ic(&w.ic, &pdu), -E_BAD_PDU);
	ck_assert_uint_eq(pdu.fei, 10);
	refused(to_ctrl, &w, TCP_FES_SEQUENCE, 0); /* a second time */
	tcp_pdu_build_cmd(&w, &plain, &(struct sqe_wire){ 0 }, 0);
	refused(lim, &w, TCP_FES_SEQUENCE, 0); /* before it */
	lim.dir = TCP_PDU_TO_HOST;
	pdu = good(lim, &w, tcp_pdu_build_ic_resp(&w, 0, 0, 4096));
	ck_assert_int_eq(tcp_pdu_check_ic(&w.ic, &pdu), 0);
	w.ic.max = put32(4095);
	ck_assert_int_eq(tcp_pdu_check_ic(&w.ic, &pdu), -E_BAD_PDU);
}
END_TEST

START_TEST(wrong_fields)
{
	union tcp_pdu_wire w;
	struct tcp_pdu_limits lim = to_ctrl;

#define REFUSED(change, fes, fei) \
	do { \
		tcp_pdu_build_h2c_data(&w, &plain, 1, 2, 0, 4096, true); \
		change; \
		refused(lim, &w, fes, fei); \
	} while (0)
	REFUSED(w.ch.type = 0x0a, TCP_FES_HEADER_FIELD, 0);
	REFUSED(w.ch.type = 0x08, TCP_FES_HEADER_FIELD, 0);
	REFUSED(w.ch.type = TCP_PDU_C2H_DATA, TCP_FES_HEADER_FIELD, 0); /* wrong way */
	REFUSED(w.ch.flags |= 0x10, TCP_FES_HEADER_FIELD, 1);
	REFUSED(w.ch.flags |= TCP_PDU_F_HDGST, TCP_FES_HEADER_FIELD, 1);
	REFUSED(w.ch.flags |= TCP_PDU_F_DDGST, TCP_FES_HEADER_FIELD, 1);
	REFUSED(w.ch.hlen = 23, TCP_FES_HEADER_FIELD, 2);
	REFUSED(w.ch.pdo = 23, TCP_FES_HEADER_FIELD, 3);
	REFUSED(w.ch.pdo = 26, TCP_FES_HEADER_FIELD, 3);
	REFUSED(w.ch.plen = put32(0), TCP_FES_HEADER_FIELD, 4);
	REFUSED(w.ch.plen = put32(23), TCP_FES_HEADER_FIELD, 4);
	REFUSED(w.ch.plen = put32(24), TCP_FES_HEADER_FIELD, 16); /* no data */
	REFUSED(w.ch.plen = put32(24 + 4095), TCP_FES_HEADER_FIELD, 16);
	REFUSED(w.data.datal = put32(0), TCP_FES_HEADER_FIELD, 16);
	REFUSED(w.data.datao = put32(0xffffffff), TCP_FES_HEADER_FIELD, 12);
	lim.max_data = 4095;
	REFUSED(, TCP_FES_OUT_OF_RANGE, 0);
	lim = to_ctrl;
	lim.hdgst = true;
	REFUSED(, TCP_FES_HEADER_FIELD, 1); /* digest missing */
	lim = to_ctrl;
	lim.ddgst = true;
	REFUSED(, TCP_FES_HEADER_FIELD, 1);
	tcp_pdu_build_cmd(&w, &plain, &(struct sqe_wire){ 0 }, 8196);
	refused(to_ctrl, &w, TCP_FES_OUT_OF_RANGE, 0);
	tcp_pdu_build_c2h_data(&w, &plain, 1, 0, 4096, TCP_PDU_F_SUCCESS); /* without LAST */
	refused(to_host, &w, TCP_FES_HEADER_FIELD, 1);
}
END_TEST

START_TEST(short_reads)
{
	union tcp_pdu_wire w;
	struct tcp_pdu pdu;
	unsigned len = tcp_pdu_build_r2t(&w, &plain, 1, 2, 0, 4096);

	ck_assert_int_eq(tcp_pdu_check(&to_host, w.bytes, 7, &pdu), -EAGAIN);
	ck_assert_int_eq(tcp_pdu_check(&to_host, w.bytes, len - 1, &pdu), -EAGAIN);
	ck_assert_uint_eq(pdu.header_len, 24);
}
END_TEST

START_TEST(term)
{
	uint8_t out[24 + TCP_PDU_TERM_DATA_MAX], header[200] = { 1, 2, 3 };
	struct tcp_pdu pdu;
	unsigned len = tcp_pdu_build_term(out, TCP_PDU_TO_HOST, TCP_FES_HEADER_DIGEST, 0xabcd, header, sizeof(header));

	ck_assert_uint_eq(len, 24 + 128);
	ck_assert_int_eq(tcp_pdu_check(&to_host, out, 24, &pdu), 0);
	ck_assert_uint_eq(pdu.data_len, 128);
	ck_assert_uint_eq(pdu.type, TCP_PDU_C2H_TERM);
	ck_assert_mem_eq(out + 24, header, 128);
	((struct tcp_ch_wire *)out)->plen = put32(24 + 129);
	ck_assert_int_eq(tcp_pdu_check(&to_host, out, 24, &pdu), -E_BAD_PDU);
	len = tcp_pdu_build_term(out, TCP_PDU_TO_CTRL, TCP_FES_SEQUENCE, 0, NULL, 0);
	ck_assert_uint_eq(len, 24);
}
END_TEST

/* Whatever the bytes: no header is accepted whose parts do not add up (invariant 1). */
START_TEST(any_bytes)
{
	struct tcp_pdu_limits lim = _i & 1 ? to_ctrl : to_host;
	uint32_t seed = (uint32_t)_i * 2654435761u + 1;
	union tcp_pdu_wire w;
	struct tcp_pdu pdu;

	lim.ddgst = _i & 2;
	for (int round = 0; round < 20000; round++) {
		for (unsigned i = 0; i < sizeof(w); i++)
			w.bytes[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
		w.ch.type = w.bytes[100] & 0xf;
		w.ch.flags &= 0xe;
		w.ch.hlen = w.ch.type == TCP_PDU_CMD ? 72 : 24;
		w.ch.plen = put32(get32(w.ch.plen) & 0x1fff);
		if (tcp_pdu_check(&lim, w.bytes, sizeof(w), &pdu))
			continue;
		ck_assert_uint_ge(pdu.data_off, pdu.header_len);
		ck_assert_uint_eq(pdu.data_off + pdu.data_len + (pdu.ddgst ? 4 : 0), pdu.plen);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp_pdu");
	TCase *c = tcase_create("pdu");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(c, cmd_round_trip, 0, 16);
	tcase_add_test(c, others_round_trip);
	tcase_add_test(c, initialization);
	tcase_add_test(c, wrong_fields);
	tcase_add_test(c, short_reads);
	tcase_add_test(c, term);
	tcase_add_loop_test(c, any_bytes, 0, 4);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
