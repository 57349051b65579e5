/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe/TCP front of nvofs-target on a socket pair: every shape of PDU that a host may ask for carries the same
 * data, and a host that breaks the protocol is told so. */
#include <check.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/crc.h"
#include "base/num.h"
#include "tools/target/tcp.h"

#define NQN "nqn.2026-11.io.nvofs:test"
#define LEN (256 * KiB)

static struct target target;
static struct tcp_server server;
static uint8_t out[LEN], back[LEN];

/* One queue as a host has it. */
struct host {
	int fd;
	struct tcp_conn *conn;
	struct tcp_pdu_limits rx;
	struct tcp_pdu_conf tx;
	uint32_t max_h2c;
	union tcp_pdu_wire head;   /* of the PDU received last */
	struct tcp_pdu pdu;
	bool no_flow, spoil_digest, dribble;
};

static void *serve(void *arg)
{
	struct tcp_conn *conn = arg;

	tcp_conn_run(conn);
	close(conn->fd);
	return NULL;
}

static void open_conn(struct host *h)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	*h = (struct host){ .fd = fds[0], .rx = { .dir = TCP_PDU_TO_HOST, .max_data = UINT32_MAX } };
	h->conn = calloc(1, sizeof(*h->conn));
	h->conn->server = &server;
	h->conn->fd = fds[1];
	ck_assert_int_eq(pthread_create(&h->conn->thread, NULL, serve, h->conn), 0);
}

static void close_conn(struct host *h)
{
	close(h->fd);
	pthread_join(h->conn->thread, NULL);
	free(h->conn);
}

static void setup(void)
{
	struct target_conf conf = { .nqn = NQN, .lba_size = 4096, .mdts = LEN, .incapsule = 8192, .max_queues = 4,
				    .queue_size = 32, .vwc = -1 };
	char *backing = (char *)"ram:1M", why[200];

	ck_assert_int_eq(target_init(&target, &conf, &backing, 1, why, sizeof(why)), 0);
	server = (struct tcp_server){ .target = &target,
				      .conf = { .hdr_digest = true, .data_digest = true, .max_h2c = LEN,
						.r2t_len = LEN, .c2h_len = LEN } };
	for (unsigned i = 0; i < LEN; i++)
		out[i] = (uint8_t)(i * 31 + i / 4096);
}

static void teardown(void)
{
	ck_assert(list_empty(&target.ctrls));
	target_exit(&target);
}

/* In one piece, or byte by byte. */
static void put(struct host *h, const void *bytes, size_t len)
{
	size_t step = h->dribble && len < 2000 ? 1 : len;

	for (size_t i = 0; i < len; i += step)
		ck_assert_int_eq(send(h->fd, (const uint8_t *)bytes + i, step, MSG_NOSIGNAL), (ssize_t)step);
}

static bool get(struct host *h, void *bytes, size_t len)
{
	return !len || recv(h->fd, bytes, len, MSG_WAITALL) == (ssize_t)len;
}

static void put_data(struct host *h, const void *bytes, uint32_t len)
{
	le32 crc = put32(crc32c(bytes, len) ^ h->spoil_digest);

	put(h, bytes, len);
	if (h->tx.ddgst)
		put(h, &crc, sizeof(crc));
}

static void get_data(struct host *h, void *bytes)
{
	le32 crc;

	ck_assert(get(h, bytes, h->pdu.data_len));
	if (!h->pdu.ddgst)
		return;
	ck_assert(get(h, &crc, sizeof(crc)));
	ck_assert_uint_eq(get32(crc), crc32c(bytes, h->pdu.data_len));
}

/* The next PDU's header and padding. */
static void get_pdu(struct host *h)
{
	uint8_t padding[128];

	ck_assert(get(h, h->head.bytes, TCP_PDU_CH_LEN));
	ck_assert_int_eq(tcp_pdu_check_common(&h->rx, h->head.bytes, &h->pdu), 0);
	ck_assert(get(h, h->head.bytes + TCP_PDU_CH_LEN, h->pdu.header_len - TCP_PDU_CH_LEN));
	ck_assert_int_eq(tcp_pdu_check(&h->rx, h->head.bytes, h->pdu.header_len, &h->pdu), 0);
	ck_assert(get(h, padding, h->pdu.data_off - h->pdu.header_len));
}

static void initialize(struct host *h, uint8_t hpda, uint8_t dgst, uint32_t maxr2t)
{
	union tcp_pdu_wire w;

	put(h, &w, tcp_pdu_build_ic_req(&w, hpda, dgst, maxr2t));
	get_pdu(h);
	ck_assert_int_eq(tcp_pdu_check_ic(&h->head.ic, &h->pdu), 0);
	ck_assert_uint_eq(h->head.ic.dgst, dgst);
	h->max_h2c = get32(h->head.ic.max);
	h->rx.connected = true;
	h->rx.pda = hpda;
	h->tx.pda = h->head.ic.pda;
	h->rx.hdgst = h->tx.hdgst = dgst & TCP_PDU_DIGEST_HDR;
	h->rx.ddgst = h->tx.ddgst = dgst & TCP_PDU_DIGEST_DATA;
}

static void put_cmd(struct host *h, struct sqe_wire sqe, const void *capsule, uint32_t len)
{
	union tcp_pdu_wire w;

	sqe.flags = NVME_SQE_PSDT_SGL;
	put(h, &w, tcp_pdu_build_cmd(&w, &h->tx, &sqe, len));
	if (len)
		put_data(h, capsule, len);
}

static void answer_r2t(struct host *h)
{
	uint32_t off = get32(h->head.r2t.r2to), left = get32(h->head.r2t.r2tl);
	uint16_t cid = get16(h->head.r2t.cccid), ttag = get16(h->head.r2t.ttag);

	ck_assert(range_fits(off, left, LEN));
	while (left) {
		uint32_t n = MIN(left, h->max_h2c);
		union tcp_pdu_wire w;

		put(h, &w, tcp_pdu_build_h2c_data(&w, &h->tx, cid, ttag, off, n, n == left));
		put_data(h, out + off, n);
		off += n;
		left -= n;
	}
}

/* Serves a command until it is answered; its status. */
static uint16_t finish(struct host *h)
{
	for (;;) {
		get_pdu(h);
		if (h->pdu.type == TCP_PDU_RESP)
			return NVME_STATUS_CODE(cqe_status(&h->head.resp.cqe));
		if (h->pdu.type == TCP_PDU_R2T) {
			answer_r2t(h);
			continue;
		}
		ck_assert_uint_eq(h->pdu.type, TCP_PDU_C2H_DATA);
		ck_assert(range_fits(get32(h->head.data.datao), h->pdu.data_len, LEN));
		get_data(h, back + get32(h->head.data.datao));
		if (h->head.ch.flags & TCP_PDU_F_SUCCESS) {
			ck_assert(h->no_flow);
			return 0;
		}
	}
}

static uint16_t connect_queue(struct host *h, uint16_t qid, uint16_t cntlid)
{
	struct connect_data_wire data = { .cntlid = put16(cntlid), .subnqn = NQN, .hostnqn = "nqn.2026-11.io.nvofs:host" };
	struct sqe_wire sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_CONNECT };

	sqe.connect.qid = put16(qid);
	sqe.connect.sqsize = put16(31);
	sqe.connect.cattr = h->no_flow ? NVME_CATTR_NO_SQ_FLOW : 0;
	sqe.sgl = (struct sgl_wire){ .id = NVME_SGL_ID_INCAPSULE, .len = put32(sizeof(data)) };
	put_cmd(h, sqe, &data, sizeof(data));
	ck_assert_uint_eq(finish(h), 0);
	return get16(h->head.resp.cqe.connect.cntlid);
}

static uint16_t connect_admin(struct host *h)
{
	struct sqe_wire sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_PROPERTY_SET };
	uint16_t cntlid;

	open_conn(h);
	initialize(h, 0, 0, 0);
	cntlid = connect_queue(h, 0, NVME_CNTLID_DYNAMIC);
	sqe.prop.offset = put32(NVME_PROP_CC);
	sqe.prop.value = put64(NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT);
	put_cmd(h, sqe, NULL, 0);
	ck_assert_uint_eq(finish(h), 0);
	return cntlid;
}

static struct sqe_wire rw(uint8_t opcode, uint32_t len, uint8_t sgl)
{
	struct sqe_wire sqe = { .opcode = opcode, .nsid = put32(1), .cid = put16(5) };

	sqe.rw.nlb = put16((uint16_t)(len / 4096 - 1));
	sqe.sgl = (struct sgl_wire){ .id = sgl, .len = put32(len) };
	return sqe;
}

static void write_and_read(struct host *h)
{
	put_cmd(h, rw(NVME_IO_WRITE, LEN, NVME_SGL_ID_TRANSPORT), NULL, 0);
	ck_assert_uint_eq(finish(h), 0);
	memset(back, 0, LEN);
	put_cmd(h, rw(NVME_IO_READ, LEN, NVME_SGL_ID_TRANSPORT), NULL, 0);
	ck_assert_uint_eq(finish(h), 0);
	ck_assert(!memcmp(out, back, LEN));
	memset(out, 0x33, 8192);
	put_cmd(h, rw(NVME_IO_WRITE, 8192, NVME_SGL_ID_INCAPSULE), out, 8192);
	ck_assert_uint_eq(finish(h), 0);
	put_cmd(h, rw(NVME_IO_READ, 8192, NVME_SGL_ID_TRANSPORT), NULL, 0);
	ck_assert_uint_eq(finish(h), 0);
	ck_assert(!memcmp(out, back, 8192));
}

/* All combinations of digests, alignments, splitting, flow control. */
START_TEST(shapes)
{
	struct host admin, io;
	uint16_t cntlid = connect_admin(&admin);
	uint8_t pda = _i & 4 ? 31 : 0;

	server.conf.cpda = pda;
	if (_i & 8) {
		server.conf.r2t_len = 64 * KiB;
		server.conf.c2h_len = 32 * KiB;
		server.conf.max_h2c = 16 * KiB;
	}
	open_conn(&io);
	io.no_flow = _i & 16;
	io.dribble = _i & 32;
	initialize(&io, pda, _i & 3, 2);
	ck_assert_uint_eq(connect_queue(&io, 1, cntlid), cntlid);
	write_and_read(&io);
	close_conn(&io);
	close_conn(&admin);
}
END_TEST

/* A full queue of large writes at once: more than there are buffers for. */
START_TEST(many_writes)
{
	struct host admin, io;
	uint16_t cntlid = connect_admin(&admin);
	unsigned done = 0;

	open_conn(&io);
	initialize(&io, 0, TCP_PDU_DIGEST_DATA, 0);
	connect_queue(&io, 1, cntlid);
	for (uint16_t i = 0; i < 31; i++) {
		struct sqe_wire sqe = rw(NVME_IO_WRITE, LEN, NVME_SGL_ID_TRANSPORT);

		sqe.cid = put16(i);
		put_cmd(&io, sqe, NULL, 0);
	}
	for (; done < 31; done++)
		ck_assert_uint_eq(finish(&io), 0);
	close_conn(&io);
	close_conn(&admin);
}
END_TEST

START_TEST(wrong_data_digest)
{
	struct host admin, io;
	uint16_t cntlid = connect_admin(&admin);

	open_conn(&io);
	initialize(&io, 0, TCP_PDU_DIGEST_DATA, 0);
	connect_queue(&io, 1, cntlid);
	io.spoil_digest = true;
	put_cmd(&io, rw(NVME_IO_WRITE, LEN, NVME_SGL_ID_TRANSPORT), NULL, 0);
	ck_assert_uint_eq(finish(&io), NVME_SC_TRANSIENT_TRANSPORT);
	put_cmd(&io, rw(NVME_IO_WRITE, 4096, NVME_SGL_ID_INCAPSULE), out, 4096);
	ck_assert_uint_eq(finish(&io), NVME_SC_TRANSIENT_TRANSPORT);
	io.spoil_digest = false;
	put_cmd(&io, rw(NVME_IO_READ, LEN, NVME_SGL_ID_TRANSPORT), NULL, 0);
	ck_assert_uint_eq(finish(&io), 0);
	for (unsigned i = 0; i < LEN; i++)
		ck_assert_uint_eq(back[i], 0); /* nothing of it was written */
	close_conn(&io);
	close_conn(&admin);
}
END_TEST

/* The host gets a TermReq with this status, then the end of the stream. */
static void terminated(struct host *h, uint16_t fes)
{
	uint8_t rest[256];

	do {
		get_pdu(h);
		ck_assert(h->pdu.type == TCP_PDU_C2H_TERM || h->pdu.type == TCP_PDU_R2T);
	} while (h->pdu.type != TCP_PDU_C2H_TERM);
	ck_assert_uint_eq(get16(h->head.term.fes), fes);
	while (get(h, rest, 1))
		;
	close_conn(h);
}

START_TEST(violations)
{
	struct host admin, io;
	union tcp_pdu_wire w;
	unsigned len;

	open_conn(&io); /* a command before ICReq */
	put_cmd(&io, rw(NVME_IO_READ, 4096, NVME_SGL_ID_TRANSPORT), NULL, 0);
	terminated(&io, TCP_FES_SEQUENCE);
	open_conn(&io); /* a version that does not exist */
	len = tcp_pdu_build_ic_req(&w, 0, 0, 0);
	w.ic.pfv = put16(3);
	put(&io, &w, len);
	terminated(&io, TCP_FES_UNSUPPORTED);
	open_conn(&io); /* a wrong header digest */
	initialize(&io, 0, TCP_PDU_DIGEST_HDR, 0);
	len = tcp_pdu_build_cmd(&w, &io.tx, &(struct sqe_wire){ 0 }, 0);
	w.bytes[20] ^= 1;
	put(&io, &w, len);
	terminated(&io, TCP_FES_HEADER_DIGEST);
	open_conn(&io); /* too much data in a capsule */
	initialize(&io, 0, 0, 0);
	put(&io, &w, tcp_pdu_build_cmd(&w, &io.tx, &(struct sqe_wire){ 0 }, 8196));
	terminated(&io, TCP_FES_OUT_OF_RANGE);
	open_conn(&io); /* data that nobody asked for */
	initialize(&io, 0, 0, 0);
	put(&io, &w, tcp_pdu_build_h2c_data(&w, &io.tx, 1, 7, 0, 4096, true));
	terminated(&io, TCP_FES_HEADER_FIELD);
	connect_admin(&admin); /* data elsewhere than asked for */
	open_conn(&io);
	initialize(&io, 0, 0, 0);
	connect_queue(&io, 1, 1);
	put_cmd(&io, rw(NVME_IO_WRITE, LEN, NVME_SGL_ID_TRANSPORT), NULL, 0);
	get_pdu(&io);
	put(&io, &w, tcp_pdu_build_h2c_data(&w, &io.tx, 5, get16(io.head.r2t.ttag), 4096, 4096, true));
	terminated(&io, TCP_FES_OUT_OF_RANGE);
	close_conn(&admin);
}
END_TEST

/* The admin connection goes: the I/O queue's is closed. */
START_TEST(association_ends)
{
	struct host admin, io;
	uint16_t cntlid = connect_admin(&admin);
	uint8_t byte;

	open_conn(&io);
	initialize(&io, 0, 0, 0);
	connect_queue(&io, 1, cntlid);
	close_conn(&admin);
	ck_assert(!get(&io, &byte, 1));
	close_conn(&io);
}
END_TEST

/* Any bytes, at every point of a conversation, end a connection and nothing else. */
START_TEST(garbage)
{
	uint32_t seed = (uint32_t)_i * 2654435761u + 7;

	for (unsigned round = 0; round < 40; round++) {
		struct host h;
		uint8_t bytes[512];

		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
		open_conn(&h);
		if (_i & 1)
			initialize(&h, 0, _i & 2 ? TCP_PDU_DIGEST_DATA : 0, 0);
		if (round % 3) { /* a header that is nearly right */
			bytes[0] = (uint8_t[]){ TCP_PDU_IC_REQ, TCP_PDU_CMD, TCP_PDU_H2C_DATA, TCP_PDU_H2C_TERM }[round % 4];
			bytes[1] = 0;
			bytes[2] = (uint8_t[]){ 128, 72, 24, 24 }[round % 4];
			bytes[5] &= 1;
			bytes[6] = bytes[7] = 0;
		}
		ck_assert_int_eq(send(h.fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
		shutdown(h.fd, SHUT_WR);
		close_conn(&h);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("target_tcp");
	TCase *c = tcase_create("tcp");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 60);
	tcase_add_loop_test(c, shapes, 0, 64);
	tcase_add_test(c, many_writes);
	tcase_add_test(c, wrong_data_digest);
	tcase_add_test(c, violations);
	tcase_add_test(c, association_ends);
	tcase_add_loop_test(c, garbage, 0, 4);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
